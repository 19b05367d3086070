"""Torch's number of threads is changed only inside a block, even if blocks of several Python threads overlap."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from learn2talk_core.run.threads import numpy_on_one_thread, one_thread


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class PythonThread:
    """One Python thread that enters and leaves a block when told to."""

    def __init__(self) -> None:
        self._pool, self._block = ThreadPoolExecutor(1), ExitStack()

    def enter(self) -> None:
        self._pool.submit(self._block.enter_context, one_thread()).result()

    def leave(self) -> None:
        self._pool.submit(self._block.close).result()

    def count(self) -> int:
        return self._pool.submit(torch.get_num_threads).result()


def test_threads_come_back() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 2


def test_one_block_in_another() -> None:
    with one_thread():
        with one_thread():
            pass
        assert PythonThread().count() == 1
    assert torch.get_num_threads() == PythonThread().count() == 2


@pytest.mark.parametrize("first_out", [0, 1])
def test_overlapping_blocks(first_out: int) -> None:
    threads = [PythonThread(), PythonThread()]
    for thread in threads:
        thread.enter()
    assert [thread.count() for thread in threads] == [1, 1]
    threads[first_out].leave()
    assert threads[first_out].count() == 2
    assert threads[1 - first_out].count() == PythonThread().count() == 1
    threads[1 - first_out].leave()
    assert [thread.count() for thread in threads] == [2, 2]
    assert torch.get_num_threads() == PythonThread().count() == 2


def test_a_thread_that_started_during_a_block() -> None:
    young = PythonThread()
    with one_thread():
        assert young.count() == 1
    young.enter()
    young.leave()
    assert young.count() == torch.get_num_threads() == PythonThread().count() == 2


def test_one_thread_that_was_asked_for_stays() -> None:
    torch.set_num_threads(1)
    with one_thread():
        pass
    assert torch.get_num_threads() == PythonThread().count() == 1


def test_only_numpy_has_one_thread() -> None:
    def numpy_threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"}

    with threadpool_limits({"libscipy_openblas": 2, "openblas": 2}):
        before = numpy_threads()
        with numpy_on_one_thread():
            assert numpy_threads() == {1}
            assert torch.get_num_threads() == 2
        assert numpy_threads() == before
