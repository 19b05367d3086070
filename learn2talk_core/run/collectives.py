"""Collective operations for training on several processes: means of gradients, of logged values and of buffers.

The mean over N processes of the gradients of means over b clips is the gradient of the mean over N·b clips. With one
process nothing is exchanged and results are bit-identical. accelerate does the exchange; tensors on the CPU are
exchanged there, without waiting for a GPU.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.processes import all_answer, count


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes. None counts as zero, unless it is None in all of them."""
    if count() == 1:
        return
    parameters = [p for p in parameters if p.requires_grad]
    known = _reduced(torch.tensor([float(p.grad is not None) for p in parameters]), "sum").tolist()
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    means = _reduced(flat, "mean").split([p.numel() for p in parameters])
    for p, some, mean in zip(parameters, known, means, strict=True):
        p.grad = mean.view_as(p) if some else None


def mean_values(values: Mapping[str, float]) -> dict[str, float]:
    """Each number's mean over the processes."""
    if count() == 1:
        return dict(values)
    mean = _reduced(torch.tensor(list(values.values()), dtype=torch.float64), "mean")
    return dict(zip(values, mean.tolist(), strict=True))


@torch.no_grad()
def mean_tensors(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their means over the processes, in double precision, so that equal values stay unchanged.

    Integer tensors are left alone: such counters are equal in all processes.
    """
    tensors = [t for t in tensors if t.is_floating_point()]
    if count() == 1 or not tensors:
        return
    mean = _reduced(torch.cat([t.double().flatten() for t in tensors]), "mean")
    for t, part in zip(tensors, mean.split([t.numel() for t in tensors]), strict=True):
        t.copy_(part.view_as(t))


def gathered(mine: Tensor, before: int, total: int) -> Tensor:
    """The rows of all processes, (total, …); this process made the rows `mine`, starting at row `before`.

    For a loss that compares rows with each other: each process computes the loss over all rows. Only its own rows have
    a gradient, multiplied by the number of processes because `mean_gradients` divides by it.
    """
    if count() == 1:
        return mine
    rows = mine.new_zeros(total, *mine.shape[1:])
    rows[before : before + len(mine)] = mine.detach()
    rows = _reduced(rows, "sum")
    own = mine + (count() - 1) * (mine - mine.detach())
    return torch.cat([rows[:before], own, rows[before + len(mine) :]])


def demand_same(*facts: int | str) -> None:
    """Refuse processes whose `facts` differ: hashes of inputs, parameters and code, or a checkpoint."""
    if count() == 1:
        return
    from accelerate.utils import gather_object

    with all_answer():
        everyone = gather_object([facts])
    if any(each != facts for each in everyone):
        raise BadInput(
            "training on several processes",
            expected="the same code, parameters, data and checkpoint in all of them",
            found="different ones",
            fix="Let every machine see the same project folder, and start them again.",
        )


def _reduced(tensor: Tensor, how: Literal["mean", "sum"]) -> Tensor:
    from accelerate.utils import reduce

    with all_answer():
        return reduce(tensor, how)
