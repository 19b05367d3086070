"""What goes between the pages and the server, as values."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

BINARY, JSON, WAV = "application/octet-stream", "application/json", "audio/wav"


class Refused(Exception):
    """A request that is not answered: an HTTP status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        super().__init__(text)


@dataclass(frozen=True)
class Request:
    """What was asked. `gone` says whether nobody waits for the answer any more."""

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
            raise Refused(400, "A JSON object is expected.")
        return value

    def refuse_if_gone(self) -> None:
        """Do no more work that nobody waits for."""
        if self.gone():
            raise Refused(499, "Cancelled.")


class Response(NamedTuple):
    """What is sent back."""

    body: bytes | memoryview
    kind: str = JSON
    immutable: bool = False  # its address will never mean anything else


def as_json(value: Any) -> Response:
    """Plain data."""
    return Response(json.dumps(value, allow_nan=False).encode())


def as_numbers(array: np.ndarray) -> Response:
    """Float32 of any shape, row after row."""
    return Response(np.ascontiguousarray(array, "<f4").tobytes(), BINARY)


def remember(shelf: dict[str, Any], thing: Any, most: int) -> str:
    """Put a thing on a shelf, under a key that nobody can guess; the oldest of more than `most` are forgotten."""
    key = secrets.token_urlsafe(9)
    shelf[key] = thing
    while len(shelf) > most:
        shelf.pop(next(iter(shelf)), None)
    return key
