"""Progress bars and log lines."""

import logging
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

from learn2talk_core.run import processes

log = logging.getLogger("learn2talk")
T = TypeVar("T")


def progress(items: Iterable[T], description: str, *, total: int | None = None, unit: str = "it") -> "tqdm[T]":
    """A progress bar over `items` on standard error, with rate and time left."""
    return tqdm(items, desc=description, total=total, unit=unit, dynamic_ncols=True, mininterval=1.0, smoothing=0.1,
                disable=processes.rank() > 0)  # fmt: skip
