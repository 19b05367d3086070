"""Requests and responses between the pages and the server."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

BINARY, JSON, WAV = "application/octet-stream", "application/json", "audio/wav"


class Refused(Exception):
    """A request that is refused, with an HTTP status and an explanation."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        super().__init__(text)


@dataclass(frozen=True)
class Request:
    """A request. `gone` tells whether the client has closed the connection."""

    query: Mapping[str, str]
    body: bytes = b""
    gone: Callable[[], bool] = lambda: False

    def object(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Refused(400, "The request body must be a JSON object.")
        return value

    def refuse_if_gone(self) -> None:
        """Stop working on a request whose client has gone."""
        if self.gone():
            raise Refused(499, "Cancelled.")


class Response(NamedTuple):
    """A response."""

    body: bytes | memoryview
    kind: str = JSON
    immutable: bool = False  # the content at its address never changes


def as_json(value: Any) -> Response:
    """A JSON response."""
    return Response(json.dumps(value, allow_nan=False).encode())


def as_numbers(array: np.ndarray) -> Response:
    """A float32 array of any shape, in row-major order."""
    return Response(np.ascontiguousarray(array, "<f4").tobytes(), BINARY)


def remember(shelf: dict[str, Any], thing: Any, most: int) -> str:
    """Store a thing under an unguessable key, which is returned; keep only the newest `most` things."""
    key = secrets.token_urlsafe(9)
    shelf[key] = thing
    while len(shelf) > most:
        shelf.pop(next(iter(shelf)), None)
    return key
