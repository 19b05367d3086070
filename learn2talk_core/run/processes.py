"""Several processes that train together, started by `accelerate launch` or `torchrun`; one where neither was used.

All run the same stage. Each works on its part of every step's batch (`collectives.py` averages what they find), and
only the first one writes (`files.py`, `training/scratch.py`). Machines must see the project under the same path. Torch
and accelerate are imported where there are several: one process neither needs nor waits for them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from learn2talk_core.run.errors import BadInput

TIMEOUT = timedelta(minutes=30)  # how long the others may take to come to the same point
ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what the launchers set
_rank, _count = 0, 1

T = TypeVar("T")


def rank() -> int:
    """Which of the processes this is: 0 … count() − 1. The first one, 0, writes."""
    return _rank


def count() -> int:
    """How many train together."""
    return _count


def mark() -> tuple[int | str, ...]:
    """What each process adds to the parts of a seed to draw numbers of its own; nothing in the first one."""
    return ("process", _rank) if _rank else ()


def own_part(items: int) -> slice:
    """Which of the `items` of a step's batch are this process's; the parts differ by one item at most.

    Raises:
        BadInput: there is none for some process.
    """
    if items < _count:
        raise BadInput(
            "training", expected=f"a clip or more a step for each of {_count} processes", found=f"{items} clips",
            fix="Start fewer processes.",
        )  # fmt: skip
    return slice(items * _rank // _count, items * (_rank + 1) // _count)


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that WORLD_SIZE, RANK, MASTER_ADDR and MASTER_PORT tell of, on CPUs.

    Raises:
        BadInput: they cannot be joined, or `accelerate launch --cpu` started one process only.
    """
    global _rank, _count
    if "WORLD_SIZE" not in os.environ and "MASTER_ADDR" in os.environ and "ACCELERATE_USE_CPU" in os.environ:
        raise BadInput(
            "accelerate launch",
            expected="as many processes as it was asked for", found="one, which is all that its --cpu starts",
            fix="Write --multi_gpu in place of --cpu (no GPU is needed), or use torchrun --nproc-per-node.",
        )  # fmt: skip
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield
        return
    if absent := [name for name in ADDRESS if name not in os.environ]:  # accelerate would guess them, and wait
        raise BadInput(
            "training on several processes",
            expected=f"the environment variables {', '.join(ADDRESS)}",
            found=f"no {absent[0]}",
            fix="Start it with accelerate launch or torchrun, which set them, or unset WORLD_SIZE.",
        )
    from accelerate import PartialState

    try:
        state = PartialState(cpu=True, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise lost(error) from error
    _rank, _count = state.process_index, state.num_processes
    try:
        yield
    finally:
        _rank, _count = 0, 1
        state.destroy_process_group()


def wait() -> None:
    """Wait for all processes to come here."""
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
    """For what needs all processes: turn its error into a `BadInput` where one is gone or does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise lost(error) from error


def lost(error: Exception) -> BadInput:
    """What to say when another process does not answer."""
    return BadInput(
        "training on several processes",
        expected="all of them to take every step",
        found=f"one that is gone or does not answer ({str(error).strip().splitlines()[0] if str(error) else error!r})",
        fix="See what it said; start all of them again, and they go on from the last checkpoint.",
    )
