"""Collective operations of processes that train together: means of gradients, of logged values and of buffers.

The mean over N processes of the gradients of means over b clips is the gradient of the mean over N·b clips. With one
process nothing is exchanged and nothing changes, not even last bits. accelerate does the exchange.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.processes import all_answer, count


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes. One that is None in some counts as zero; in all, stays."""
    if count() == 1:
        return
    parameters = [p for p in parameters if p.requires_grad]
    known = parameters[0].new_tensor([p.grad is not None for p in parameters])
    flat = torch.cat([known, *((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters)])
    known, *means = _reduced(flat, "mean").split([len(parameters), *(p.numel() for p in parameters)])
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
    """Replace tensors by their means over the processes, in double precision: what is the same everywhere stays so.

    Whole numbers are left alone: all processes count alike.
    """
    tensors = [t for t in tensors if t.is_floating_point()]
    if count() == 1 or not tensors:
        return
    mean = _reduced(torch.cat([t.double().flatten() for t in tensors]), "mean")
    for t, part in zip(tensors, mean.split([t.numel() for t in tensors]), strict=True):
        t.copy_(part.view_as(t))


def gathered(mine: Tensor, before: int, total: int) -> Tensor:
    """The rows of all processes, (total, …), of which this one made `mine`, from row `before` on.

    For a loss that compares the rows with each other: each process forms the whole of it. Only its own rows have a
    gradient, times the number of processes, since `mean_gradients` will divide by that.
    """
    if count() == 1:
        return mine
    rows = mine.new_zeros(total, *mine.shape[1:])
    rows[before : before + len(mine)] = mine.detach()
    rows = _reduced(rows, "sum")
    own = mine + (count() - 1) * (mine - mine.detach())
    return torch.cat([rows[:before], own, rows[before + len(mine) :]])


def demand_same(*facts: int | str) -> None:
    """Refuse processes that do not agree: on inputs, parameters and code, of which `facts` tell, or on a checkpoint."""
    if count() == 1:
        return
    from accelerate.utils import gather_object

    with all_answer():
        everyone = gather_object([facts])
    if any(each != facts for each in everyone):
        raise BadInput(
            "training on several processes",
            expected="the same code, parameters, data and checkpoint in all of them",
            found="others",
            fix="Let every machine see the same project folder, and start them again.",
        )


def _reduced(tensor: Tensor, how: Literal["mean", "sum"]) -> Tensor:
    from accelerate.utils import reduce

    with all_answer():
        return reduce(tensor, how)
