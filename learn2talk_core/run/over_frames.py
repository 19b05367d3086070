"""Compiled kernels, parallel over the frames of a batch."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np

# Without the GIL, so that threads run in parallel; cached on disk; division by zero gives infinity as in NumPy, which
# avoids a test at every division.
kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


def over_frames(compute: Callable[..., None], frames: int, *arguments: Any) -> None:
    """Call `compute(first, last, *arguments)` for ranges first … last - 1 that together cover all `frames`.

    Each of NUMBA_NUM_THREADS threads gets one range. A frame is always computed by a single thread, so results do not
    depend on the number of threads. Numba's `prange` is avoided on purpose: its threads spin between calls and compete
    with torch's, and its pools either crash when two Python threads use them or do not survive a fork.
    """
    threads = max(1, min(numba.config.NUMBA_NUM_THREADS, frames))  # type: ignore[attr-defined]
    bounds = np.linspace(0, frames, threads + 1).astype(int).tolist()
    if threads == 1:
        compute(0, frames, *arguments)
        return
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(compute, first, last, *arguments) for first, last in pairwise(bounds)]:
            job.result()
