"""How much each loss term moves a student in the first steps of its training, compared with the vertex loss.

The share of a term is the norm of its weighted gradient divided by that of the vertex loss, both at the student's
states: there every direction is a motion that the student can make (see `losses/total.py`). With `balance: gradient` a
share is a lambda. With `balance: none` it depends on units, sums and means; a share below SMALLEST teaches nothing, one
above LARGEST drowns out the vertex loss.
"""

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.losses.total import GradientBalance
from learn2talk_core.run.progress import log
from learn2talk_core.training.loop import read_values

FIRST_STEPS = 10
SMALLEST, LARGEST = 1e-3, 1e3
REFERENCE = "vertex"


class LossShares:
    """Collects the gradient norms of the weighted terms in the first steps; they stay on their device until `report`.

    Args:
        description: the training, for the log.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self._norms: list[dict[str, Tensor]] = []

    def measure(self, states: Tensor, weighted: dict[str, Tensor], balance: GradientBalance | None) -> None:
        """One step's terms, each times its weight, as functions of the states (B, T, d).

        Measuring runs the terms' backward pass once more. What `balance` knows, and the gradients of the step, stay as
        they were.
        """
        known = None if balance is None else balance.norms.clone()
        norms = {}
        for name, value in weighted.items():
            if value.requires_grad and states.requires_grad:
                (gradient,) = torch.autograd.grad(value, states, retain_graph=True, allow_unused=True)
                if gradient is not None:  # a loss on something else than the states, such as codes, has no share
                    norms[name] = gradient.norm()
        if balance is not None and known is not None:
            balance.norms.copy_(known)
        self._norms.append(norms)

    def report(self) -> dict[str, float]:
        """Log the shares, and warn of those out of range; returns them.

        A share is the median over the steps in which it is not 0: before the first update, a balance has not measured
        yet, and a last layer that starts at 0 passes no gradient on.
        """
        shares: dict[str, list[float]] = {}
        for step in read_values(self._norms):
            reference = step.get(REFERENCE, 0.0)
            for name, norm in step.items():
                if name != REFERENCE and reference > 0:
                    shares.setdefault(name, []).append(norm / reference)
        found = {
            name: float(np.median([value for value in values if value] or [0.0])) for name, values in shares.items()
        }
        if not found:
            return found
        listed = ", ".join(f"{name} {share:.2g}" for name, share in found.items())
        log.info("%s: gradients of the loss terms relative to the vertex loss's: %s", self.description, listed)
        for name, share in found.items():
            if not SMALLEST <= share <= LARGEST:
                effect = "it teaches nothing" if share < SMALLEST else "it drowns out the vertex loss"
                log.warning(
                    "%s: the gradient of the term %s is %.1e times that of the vertex loss: %s. Change its weight, or "
                    "set taught_student.balance to gradient (docs/papers.md).",
                    self.description, name, share, effect,
                )  # fmt: skip
        return found
