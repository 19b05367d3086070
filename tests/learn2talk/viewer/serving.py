"""A viewer server running in a thread, and a client for it."""

import http.client
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from learn2talk.viewer.app import App
from learn2talk.viewer.server import ViewServer
from learn2talk.viewer.sources import find_viewer_clips, sound_clip
from learn2talk_core.animation.loading import load_animator
from tests.learn2talk.viewer.scene import toy_run


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Sends requests as our own page does, unless other headers are given."""

    def __init__(self, server: ViewServer) -> None:
        self.server, self.port, self.token = server, server.server_port, server.token

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str | None) -> Answer:
        """`path` is below the token, or whole if it begins with a slash; header names have _ for -."""
        own = {"Host": f"127.0.0.1:{self.port}", "Origin": f"http://127.0.0.1:{self.port}"}
        sent = {**own, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path if path.startswith("/") else f"/{self.token}/{path}", skip_host=True)
            if body is not None and "Content-Length" not in sent:
                sent["Content-Length"] = str(len(body))
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def post(self, path: str, value: object) -> Answer:
        return self.ask(path, "POST", value if isinstance(value, bytes) else json.dumps(value).encode())


@contextmanager
def served(app: App) -> Iterator[Client]:
    """Serves `app` while the block runs."""
    with ViewServer(app) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Client(server)
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving(folder: Path, *sounds: Path) -> Iterator[Client]:
    """Serves `toy_run` in `folder`, and these sounds for the live page; preferences go to `folder/out`."""
    data = toy_run(folder)
    app = App(
        [*find_viewer_clips([data]), *map(sound_clip, sounds)],
        lambda: load_animator(data / "models/students/learn2talk", corpus=data / "corpus"),
        out=folder / "out",
        rng=random.Random(5),
    )
    with served(app) as client:
        yield client
