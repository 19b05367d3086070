"""Compiled kernels, spread over the frames of a batch."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np

# Without Python's lock, so that threads run side by side; compiled once and then read from disk; division by zero gives
# infinity as in NumPy, without a test at every division.
kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


def over_frames(compute: Callable[..., None], frames: int, *arguments: Any) -> None:
    """Call `compute(first, last, *arguments)` so that the ranges first … last - 1 together are all `frames`.

    One thread a range, NUMBA_NUM_THREADS of them. A frame is always computed by one thread alone, so that results do
    not depend on their number. Numba's own `prange` is avoided on purpose: its threads spin between calls (against
    torch's), and its pools either crash when two Python threads use them or do not survive a fork.
    """
    threads = max(1, min(numba.config.NUMBA_NUM_THREADS, frames))  # type: ignore[attr-defined]
    bounds = np.linspace(0, frames, threads + 1).astype(int).tolist()
    if threads == 1:
        compute(0, frames, *arguments)
        return
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(compute, first, last, *arguments) for first, last in pairwise(bounds)]:
            job.result()
