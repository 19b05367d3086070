"""The viewer's HTTP server: serves this machine only, and only clients that know the address; no other web pages.

Every address begins with a random token, new for each run. `Host` must be this machine's own address, which refuses DNS
rebinding; requests caused by other pages are refused by `Origin` and `Sec-Fetch-Site`.

A client without the token can occupy at most `MOST` connections, each for `DEADLINE` seconds, and no further threads or
memory.
"""

import io
import json
import logging
import re
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from learn2talk.viewer.app import App, largest_body
from learn2talk.viewer.messages import JSON, Refused, Request, Response
from learn2talk_core.run.errors import BadInput

HOST = "127.0.0.1"
MOST = 64  # concurrent connections; a browser opens six
DEADLINE = 30  # seconds to send a header (counted from the last answer), to send a body, and to receive an answer
FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}
log = logging.getLogger("learn2talk.view")


class ViewServer(ThreadingHTTPServer):
    """Serves `app` at `address`; `serve_forever` until `shutdown`."""

    daemon_threads = True

    def __init__(self, app: App, port: int = 0) -> None:
        self.app, self.token = app, secrets.token_urlsafe(16)
        self._free = threading.BoundedSemaphore(MOST)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            fix = "Give another --port; 0 chooses a free one."
            raise BadInput("--port", expected="a free port", found=f"{port} ({error})", fix=fix) from error

    @property
    def address(self) -> str:
        """The address of the first page."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection; refuse it if there are too many."""
        if not self._free.acquire(blocking=False):
            request.setblocking(False)
            with suppress(OSError):
                request.send(FULL)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log errors, except that the browser has closed the connection."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            log.exception("viewer")


class _InTime(io.RawIOBase):
    """Reads from a connection until a fixed deadline, which slow senders cannot extend."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._end = connection, 0.0

    def start(self) -> None:
        """Set the deadline to `DEADLINE` seconds from now."""
        self._end = time.monotonic() + DEADLINE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(DEADLINE)


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Learn2Talk", ""
    timeout = DEADLINE

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._incoming = _InTime(self.connection)
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self) -> None:
        self._incoming.start()
        super().handle_one_request()

    def do_GET(self) -> None:
        self._answer("GET")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer(self.command)

    do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = do_PUT

    def log_message(self, *_: object) -> None:
        """Do not log requests to the terminal."""

    def _answer(self, method: str) -> None:
        try:
            path, query = self._checked_address()
            request = Request(query, self._body(path), self._gone)
            self._send(200, self.server.app.answer(method, path, request))
        except Refused as error:
            self._send_error(error.status, error.text)
        except BadInput as error:
            self._send_error(422, str(error))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            log.exception("viewer: %s", urlsplit(self.path).path.rpartition("/")[2])
            self._send_error(500, "Internal error; see the terminal for details.")

    def _checked_address(self) -> tuple[str, dict[str, str]]:
        """Path below the token, and query; refuses requests that do not come from our own page."""
        port = self.server.server_port
        hosts = (f"{HOST}:{port}", f"localhost:{port}")
        host, origin = self.headers.get_all("Host") or [], self.headers.get("Origin")
        if len(host) != 1 or host[0] not in hosts:
            raise Refused(403, f"The Host header must be {hosts[0]}.")
        site = self.headers.get("Sec-Fetch-Site", "none")
        foreign = origin is not None and origin != f"http://{host[0]}"
        if foreign or site not in ("same-origin", "none") or (self.command == "POST" and origin is None):
            raise Refused(403, "Requests from other pages are refused.")
        try:
            parts = urlsplit(self.path)
        except ValueError:
            raise Refused(400, "The address is not valid.") from None
        token, _, path = unquote(parts.path).removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(403, "The address is not the one that was printed when the server started.")
        return path or "index.html", dict(parse_qsl(parts.query))

    def _body(self, path: str) -> bytes:
        if self.headers.get("Transfer-Encoding") is not None:
            raise Refused(411, "A Content-Length header is required.")
        told = self.headers.get_all("Content-Length") or (["0"] if self.command != "POST" else [])
        if len(told) != 1 or not re.fullmatch(r"\d{1,15}", told[0]):
            raise Refused(411, "A Content-Length header is required.")
        length, most = int(told[0]), largest_body(path)
        if length > most:
            raise Refused(413, f"At most {most / 2**20:.3g} MiB are accepted, this has {length / 2**20:.3g}.")
        self._incoming.start()
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError
        return body

    def _gone(self) -> bool:
        """Whether the browser has closed the connection."""
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _send(self, status: int, response: Response) -> None:
        body, total = memoryview(response.body), len(response.body)
        asked = self.headers.get("Range") if status == 200 and response.kind.startswith("audio/") else None
        part = _range(asked, total) if asked else None
        self.send_response(206 if part else status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", response.kind)
        self.send_header("Cache-Control", "private, max-age=86400, immutable" if response.immutable else "no-store")
        if response.kind.startswith("audio/"):
            self.send_header("Accept-Ranges", "bytes")
        if part:
            self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{total}")
            body = body[part.start : part.stop]
        if status >= 400:
            self.close_connection = True  # the rest of the request was not read
            self.send_header("Connection", "close")
        if status == 405:
            self.send_header("Allow", "GET, HEAD, POST")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_error(self, status: int, text: str) -> None:
        try:
            self._send(status, Response(json.dumps({"error": text}).encode(), JSON))
        except OSError:
            self.close_connection = True


def _range(header: str, total: int) -> range | None:
    """The bytes that a `Range` header requests (RFC 9110 §14.1.2); None if it is ignored, such as several ranges."""
    match = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", header)
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    start, stop = (total - int(last), total) if first == "" else (int(first), int(last) + 1 if last else total)
    part = range(max(0, start), min(stop, total))
    if not part:
        raise Refused(416, f"The range is outside the {total} bytes of the file.")
    return part


def serve(app: App, *, port: int = 0, page: str = "", open_page: Callable[[str], object] | None = None) -> None:
    """Print the address of `page`, open it with `open_page`, and serve until Ctrl-C."""
    with ViewServer(app, port) as server:
        print(server.address + page, flush=True)
        print("Ctrl-C stops it.", file=sys.stderr)
        if open_page is not None:
            open_page(server.address + page)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)
