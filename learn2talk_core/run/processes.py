"""Training on several processes, started by `accelerate launch` or `torchrun`; without them there is one process.

All run the same stage. Each works on its part of every step's batch (`collectives.py` averages the results), and
only the first one writes files (`files.py`, `training/scratch.py`). All machines must see the project under the same
path. Torch and accelerate are imported only if there are several processes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from learn2talk_core.run.errors import BadInput

TIMEOUT = timedelta(minutes=30)  # how long a process waits for the others to reach the same point
BACKEND = "cuda:nccl,cpu:gloo"  # of processes on GPUs, for tensors there and for numbers on the CPU
ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what the launchers set
_rank, _count = 0, 1

T = TypeVar("T")


def rank() -> int:
    """The number of this process: 0 … count() − 1. Process 0 writes the files."""
    return _rank


def count() -> int:
    """The number of processes."""
    return _count


def mark() -> tuple[int | str, ...]:
    """What a process adds to the parts of a seed to draw its own random numbers; empty in the first process."""
    return ("process", _rank) if _rank else ()


def own_part(items: int) -> slice:
    """This process's part of the `items` in a step's batch; the parts differ by at most one item.

    Raises:
        BadInput: fewer items than processes.
    """
    if items < _count:
        raise BadInput(
            "training", expected=f"at least one clip per step for each of {_count} processes", found=f"{items} clips",
            fix="Start fewer processes.",
        )  # fmt: skip
    return slice(items * _rank // _count, items * (_rank + 1) // _count)


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that WORLD_SIZE, RANK, MASTER_ADDR and MASTER_PORT describe, on CPUs or each on its own GPU.

    Raises:
        BadInput: they cannot be joined, `accelerate launch --cpu` started only one process, or too few GPUs.
    """
    global _rank, _count
    if "WORLD_SIZE" not in os.environ and "MASTER_ADDR" in os.environ and "ACCELERATE_USE_CPU" in os.environ:
        raise BadInput(
            "accelerate launch",
            expected="the requested number of processes", found="one, because --cpu starts only one",
            fix="Write --multi_gpu in place of --cpu (no GPU is needed), or use torchrun --nproc-per-node.",
        )  # fmt: skip
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield
        return
    if absent := [name for name in ADDRESS if name not in os.environ]:  # otherwise accelerate guesses them and waits
        raise BadInput(
            "training on several processes",
            expected=f"the environment variables {', '.join(ADDRESS)}",
            found=f"no {absent[0]}",
            fix="Start it with accelerate launch or torchrun, which set them, or unset WORLD_SIZE.",
        )
    from accelerate import PartialState

    from learn2talk_core.run.device import device_for_each, using

    each = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    cpu = device_for_each(each).type == "cpu"
    try:
        state = PartialState(cpu=cpu, timeout=TIMEOUT, backend=None if cpu else BACKEND)
    except (RuntimeError, ValueError) as error:
        raise lost(error) from error
    _rank, _count = state.process_index, state.num_processes
    try:
        with using(state.device):
            yield
    finally:
        _rank, _count = 0, 1
        state.destroy_process_group()


def wait() -> None:
    """Wait until all processes have reached this call."""
    if _count > 1:
        from accelerate import PartialState

        with all_answer():
            PartialState().wait_for_everyone()


def in_turn(function: Callable[[], T]) -> T:
    """Call `function` in the first process, and only then in the others."""
    if _rank > 0:
        wait()
    value = function()
    if _rank == 0:
        wait()
    return value


@contextmanager
def all_answer() -> Iterator[None]:
    """Around operations that need all processes: raise `BadInput` if one has exited or does not respond."""
    try:
        yield
    except RuntimeError as error:
        raise lost(error) from error


def lost(error: Exception) -> BadInput:
    """The error for another process that has exited or does not respond."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
    return BadInput(
        "training on several processes",
        expected="all processes to respond",
        found=f"that one has exited or does not respond ({reason})",
        fix="See its messages; start all of them again to continue from the last checkpoint.",
    )
