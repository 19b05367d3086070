"""How many threads torch's operations use."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
_lock = threading.Lock()
_inside = 0  # how many blocks of `one_thread` are running, in all Python threads
_outside = 1  # torch's number of threads where none is
_own = threading.local()  # has `restored` where the Python thread has ended a block


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch single-threaded inside. For loops over tiny operations: threads that wait for each other on a busy
    machine make those a hundred times slower.

    Blocks of several Python threads may overlap. `torch.set_num_threads` sets the number of the calling thread, that
    of MKL in all threads, and the one that a Python thread takes at its first operation. So each block sets and
    restores the number of its own thread, and what all threads share stays at one until the last block has ended.
    A Python thread whose first operation falls into a block of another one keeps one thread until it ends a block of
    its own.
    """
    global _inside, _outside
    with _lock:
        if not _inside:
            _outside = torch.get_num_threads()
            if _outside == 1 and not hasattr(_own, "restored"):  # perhaps it started during a block of another one
                _outside = _in_new_thread(torch.get_num_threads)
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_outside)
            _own.restored = True
            if _inside:
                _in_new_thread(lambda: torch.set_num_threads(1))  # leaves this thread's own number alone


def _in_new_thread(function: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
