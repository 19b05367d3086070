"""How many threads torch's operations use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch single-threaded inside. For loops over tiny operations: threads that wait for each other on a busy
    machine make those a hundred times slower. The backward pass of such a loop belongs inside as well."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
