"""The overall loss (Learn2Talk, Eq. 8): the only place that applies lambda1 and lambda2.

    L = L_vertex + lambda1 · L_sync + lambda2 · L_lipread

A network may have losses of its own besides L_vertex, those of its paper; they are added with the weights given there.

With `balance: none` the lambdas multiply the losses as printed. With `balance: gradient` a lambda is a share: the term
is scaled so that its gradient, measured at the student's latent states, has lambda times the norm of the vertex loss's.
The norms are measured at the latent states because every direction there is a motion that the student can make; at
the vertices, most of a sync gradient points in directions that do not occur in motion. A share carries over between
datasets and units.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

Term = Callable[[torch.Tensor], torch.Tensor]  # latent states (B, T, d) → scalar loss


class GradientBalance(nn.Module):
    """Running means of the gradient norms of the terms of Eq. 8, measured in the backward pass.

    The measurement needs no extra computation: every term gets its own view of the latent states, and a hook on the
    view reads the norm in the backward pass. The weights of step i use the norms up to step i − 1.
    """

    norms: torch.Tensor

    def __init__(self, terms: int, memory: float = 0.9) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("norms", torch.zeros(terms))  # zero: not measured yet

    def share_weight(self, term: int) -> float:
        """‖gradient of term 0‖ / ‖gradient of `term`‖; 0 until both have been measured."""
        reference, own = float(self.norms[0]), float(self.norms[term])
        return reference / own if own > 0 else 0.0

    def measured(self, latents: torch.Tensor, term: int, weight: float) -> torch.Tensor:
        """A view of `latents` for `term`; the norm of its gradient, divided by `weight`, is recorded."""
        branch = latents.view_as(latents)
        if branch.requires_grad:
            branch.register_hook(lambda gradient: self._record(term, float(gradient.norm()) / weight))
        return branch

    def _record(self, term: int, norm: float) -> None:
        old = float(self.norms[term])
        self.norms[term] = norm if old == 0 else self.memory * old + (1 - self.memory) * norm


def overall_loss(
    latents: torch.Tensor,
    terms: list[tuple[str, float, Term]],
    balance: GradientBalance | None,
    own: Sequence[tuple[str, float, torch.Tensor]] = (),
    weighted: dict[str, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Eq. 8 over any number of terms, plus the network's own losses.

    Args:
        latents: (B, T, d) latent states of the student.
        terms: (name, lambda, loss as a function of the latent states); the first is the vertex loss with lambda 1.
            A term with lambda 0 is not computed.
        balance: None for `balance: none`.
        own: (name, weight, value) of the network's own other losses, which no balance scales.
        weighted: gets each term times its weight by name, for a caller that measures them.

    Returns:
        The scalar L, and the values of the terms by name, including L as `loss`.
    """
    total = latents.new_zeros(())
    values: dict[str, float] = {}
    for index, (name, weight, term) in enumerate(terms):
        if weight == 0:
            continue
        if balance is not None and index > 0:
            if float(balance.norms[index]) == 0:  # first step: measure before weighting
                value = term(latents)
                (gradient,) = torch.autograd.grad(value, latents, retain_graph=True)
                balance._record(index, float(gradient.norm()))
            weight = weight * balance.share_weight(index)
        branch = latents if balance is None or weight == 0 else balance.measured(latents, index, weight)
        value = term(branch)
        part = weight * value
        total = total + part
        if weighted is not None:
            weighted[name] = part
        values[name] = float(value.detach())
    for name, weight, value in own:
        part = weight * value
        total = total + part
        if weighted is not None:
            weighted[name] = part
        values[name] = float(value.detach())
    return total, {"loss": float(total.detach()), **values}
