"""Progress bars and log lines."""

import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from learn2talk_core.run import processes
from learn2talk_core.run.errors import printable

log = logging.getLogger("learn2talk")
T = TypeVar("T")
_hidden = False  # inside `without_bars`
# tqdm's own lock excludes other processes too, and where one is killed the system's semaphore is reported as leaked
tqdm.set_lock(threading.RLock())


def progress(
    items: Iterable[T], description: str, *, total: int | None = None, start: int = 0, unit: str = "it"
) -> "tqdm[T]":
    """A progress bar over `items` on standard error, with rate and remaining time; shown only on a terminal.

    Args:
        items: what is iterated over.
        description: the label.
        total: the number of items, if `items` has no length.
        start: how many of `total` were done before.
        unit: what an item is.
    """
    stream = sys.stderr
    quiet = _hidden or processes.rank() > 0 or not stream.isatty()
    bare = getattr(stream, "stream", stream)  # unescaped: a bar moves the cursor with control characters
    return tqdm(items, desc=printable(description), total=total, initial=start, unit=unit, file=bare, disable=quiet,
                dynamic_ncols=True, mininterval=1.0, smoothing=0.1)  # fmt: skip


@contextmanager
def without_bars() -> Iterator[None]:
    """Inside the block, `progress` shows nothing: another process has the terminal."""
    global _hidden
    before, _hidden = _hidden, True
    try:
        yield
    finally:
        _hidden = before
