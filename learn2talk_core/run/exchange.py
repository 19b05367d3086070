"""What processes that train together exchange: means of gradients, of logged values and of buffers.

The mean over N processes of the gradients of means over b clips is the gradient of the mean over N·b clips. With one
process nothing is exchanged and nothing changes, not even last bits.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.processes import count, lost, rank

T = TypeVar("T")


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes. One that is None in some counts as zero; in all, stays."""
    if count() == 1:
        return
    parameters = [p for p in parameters if p.requires_grad]
    known = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)
    flat = torch.cat([known, *(torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters)])
    _sum(flat)
    known, *sums = flat.split([len(parameters), *(p.numel() for p in parameters)])
    for p, some, total in zip(parameters, known, sums, strict=True):
        p.grad = total.view_as(p) / count() if some else None


def mean_values(values: Mapping[str, float]) -> dict[str, float]:
    """Each number's mean over the processes."""
    if count() == 1:
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64)
    _sum(total)
    return dict(zip(values, (total / count()).tolist(), strict=True))


@torch.no_grad()
def mean_tensors(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their means over the processes, in double precision: what is the same everywhere stays so.

    Whole numbers are left alone: all processes count alike.
    """
    tensors = [t for t in tensors if t.is_floating_point()]
    if count() == 1 or not tensors:
        return
    flat = torch.cat([t.double().flatten() for t in tensors])
    _sum(flat)
    for t, mean in zip(tensors, (flat / count()).split([t.numel() for t in tensors]), strict=True):
        t.copy_(mean.view_as(t))


def gathered(mine: Tensor, before: int, total: int) -> Tensor:
    """The rows of all processes, (total, …), of which this one made `mine`, from row `before` on.

    For a loss that compares the rows with each other: each process forms the whole of it. Only its own rows have a
    gradient, times the number of processes, since `mean_gradients` will divide by that.
    """
    if count() == 1:
        return mine
    rows = mine.new_zeros(total, *mine.shape[1:])
    rows[before : before + len(mine)] = mine.detach()
    _sum(rows)
    own = mine + (count() - 1) * (mine - mine.detach())
    return torch.cat([rows[:before], own, rows[before + len(mine) :]])


def in_turn(function: Callable[[], T]) -> T:
    """Call `function` in the first process, and only then in the others."""
    if rank() == 0:
        value = function()
        wait()
        return value
    wait()
    return function()


def wait() -> None:
    """Wait for all processes to come here."""
    if count() > 1:
        _sum(torch.zeros(1))


def demand_same(*facts: int | str) -> None:
    """Refuse processes that do not agree: on inputs, parameters and code, of which `facts` tell, or on a checkpoint."""
    if count() == 1:
        return
    numbers = torch.tensor([f if isinstance(f, int) else zlib.crc32(f.encode()) for f in facts])
    everyone = torch.zeros(count(), len(facts), dtype=torch.int64)
    everyone[rank()] = numbers
    _sum(everyone)
    if not (everyone == numbers).all():
        raise BadInput(
            "training on several processes",
            expected="the same code, parameters, data and checkpoint in all of them",
            found="others",
            fix="Let every machine see the same project folder, and start them again.",
        )


def _sum(tensor: Tensor) -> None:
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise lost(error) from error
