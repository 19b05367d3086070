"""How much each loss term moves a student in the first and last steps of its training, compared with the vertex loss.

The share of a term is the norm of its weighted gradient divided by that of the vertex loss, both at the student's
states: there every direction is a motion that the student can make (see `losses/total.py`). With `balance: none` it
depends on units, sums and means; a share below SMALLEST teaches nothing, one above LARGEST drowns out the vertex loss.

With `balance: gradient` a share is a lambda, but not at first: the weights follow a running mean of the norms, and the
vertex loss's falls several times within the first steps, so that the shares are several times the lambdas. Only the
last steps show what the lambdas are for most of the training.
"""

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.losses.total import GradientBalance
from learn2talk_core.run.progress import log
from learn2talk_core.training.loop import read_values

STEPS = 10  # at the beginning, and at the end
SMALLEST, LARGEST = 1e-3, 1e3
REFERENCE = "vertex"


class LossShares:
    """Collects the gradient norms of the weighted terms in some steps; they stay on their device until `report`.

    Args:
        description: the training, for the log.
        steps: of the training.
    """

    def __init__(self, description: str, steps: int) -> None:
        self.description = description
        self._first, self._last = range(min(STEPS, steps)), range(max(STEPS, steps - STEPS), steps)
        self._norms: list[dict[str, Tensor]] = []

    def wanted(self, index: int) -> bool:
        """Whether step `index` is one of the first or the last steps, which are measured."""
        return index in self._first or index in self._last

    def report_after(self, index: int) -> None:
        """Report the first steps after the last of them, and the last steps after the last."""
        for name, part in (("first", self._first), ("last", self._last)):
            if part and index == part[-1]:
                self.report(f"the {name} {len(part)} steps")

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

    def report(self, when: str) -> dict[str, float]:
        """Log the shares measured since the last report, and warn of those out of range; returns them.

        A share is the median over the steps in which it is not 0: before the first update, a balance has not measured
        yet, and a last layer that starts at 0 passes no gradient on.
        """
        shares: dict[str, list[float]] = {}
        norms, self._norms = self._norms, []
        for step in read_values(norms):
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
        log.info("%s: gradients relative to the vertex loss's in %s: %s", self.description, when, listed)
        for name, share in found.items():
            if not SMALLEST <= share <= LARGEST:
                effect = "it teaches nothing" if share < SMALLEST else "it drowns out the vertex loss"
                log.warning(
                    "%s: the gradient of the term %s is %.1e times that of the vertex loss in %s: %s. Change its "
                    "weight, or set taught_student.balance to gradient (docs/papers.md).",
                    self.description, name, share, when, effect,
                )  # fmt: skip
        return found
