"""The number of threads that torch's and NumPy's operations use."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

T = TypeVar("T")
_lock = threading.Lock()
_inside = 0  # how many blocks of `one_thread` are running, in all Python threads
_outside = 1  # torch's number of threads when no block is running
_own = threading.local()  # has `restored` if this Python thread has ended a block


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch single-threaded inside the block. For loops over tiny operations: on a busy machine, threads that wait
    for each other make them a hundred times slower.

    Blocks of several Python threads may overlap. `torch.set_num_threads` sets three numbers: that of the calling
    thread, that of MKL in all threads, and the one that a Python thread takes at its first operation. So each block
    sets and restores the number of its own thread, and the shared numbers stay at one until the last block has ended.
    A Python thread whose first operation happens during another thread's block keeps one torch thread until it ends a
    block of its own.
    """
    global _inside, _outside
    with _lock:
        if not _inside:
            _outside = torch.get_num_threads()
            if _outside == 1 and not hasattr(_own, "restored"):  # it may have started during another thread's block
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
                _in_new_thread(lambda: torch.set_num_threads(1))  # does not change this thread's own number


@contextmanager
def numpy_on_one_thread() -> Iterator[None]:
    """Run NumPy's matrix products on one thread inside the block. OpenBLAS's threads spin for some 20 ms after each
    product, on the cores that torch's threads then wait for: a training step took nearly twice as long."""
    with ThreadpoolController().select(internal_api="openblas").limit(limits=1):
        yield


def _in_new_thread(function: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
