"""A dataset on its way into the canonical corpus."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from learn2talk_core.corpus.format import Recording
from learn2talk_core.mesh.topology import Topology

AHEAD = 2  # one item may wait for the disk while another is being processed

T = TypeVar("T")
R = TypeVar("R")

ClipKey = tuple[str, str]  # speaker and sentence


@dataclass(frozen=True)
class Source:
    """A dataset on its way into the canonical corpus: the arguments of `write_corpus`."""

    recordings: Iterable[Recording]  # from `read_ahead`: three clips in memory at a time
    topology: Topology
    templates: Mapping[str, np.ndarray]  # speaker → (V, 3) float32
    train_speakers: tuple[str, ...]  # order of the style one-hot
    fps: float
    mm_per_unit: float
    recipe: str  # e.g. "vocaset", "biwi-codetalker", "biwi-metric", "folder"


def read_ahead(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """map(read, items), but the next `AHEAD` items are read in threads while the caller processes the current one.

    An exception of `read` is raised when its item is due; the items after it can still be read.
    """
    return map(Future.result, _reading(read, items))


def _reading(read: Callable[[T], R], items: Iterable[T]) -> Iterator["Future[R]"]:
    waiting: deque[Future[R]] = deque()
    threads = ThreadPoolExecutor(AHEAD)
    try:
        for item in items:
            waiting.append(threads.submit(read, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        yield from waiting
    finally:
        # Without waiting: the garbage collector may close this generator while Python starts a thread, and to wait for
        # another one then needs the lock that is held.
        threads.shutdown(wait=False, cancel_futures=True)
