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
    view reads the norm in the backward pass. The weights of step i use the norms up to step i − 1. Norms and weights
    stay on the device of the latent states, so that no step waits for them.

    Args:
        terms: number of terms.
        memory: of the running means.
        scale: the factor by which the caller multiplies the loss before the backward pass, and so the measured norms.
    """

    norms: torch.Tensor

    def __init__(self, terms: int, memory: float = 0.9, scale: float = 1.0) -> None:
        super().__init__()
        self.memory, self.scale = memory, scale
        self.register_buffer("norms", torch.zeros(terms))  # zero: not measured yet
        self._known: set[int] = set()  # terms whose norm was seen to be measured

    def is_measured(self, term: int) -> bool:
        """Whether the norm of `term` is known. Waits for the device until it is."""
        if term not in self._known and float(self.norms[term]) != 0:
            self._known.add(term)
        return term in self._known

    def share_weight(self, term: int) -> torch.Tensor:
        """‖gradient of term 0‖ / ‖gradient of `term`‖, a float64 scalar; 0 until both have been measured."""
        reference, own = self.norms[0].double(), self.norms[term].double()
        return torch.where(own > 0, reference / own, 0.0)

    def measured(self, latents: torch.Tensor, term: int, weight: torch.Tensor) -> torch.Tensor:
        """A view of `latents` for `term`; the norm of its gradient, divided by `weight`, is recorded, unless that is
        0."""
        branch = latents.view_as(latents)
        if branch.requires_grad:
            branch.register_hook(lambda gradient: self.record(term, gradient.norm().double() / weight, weight > 0))
        return branch

    def record(self, term: int, norm: torch.Tensor, known: torch.Tensor | None = None) -> None:
        """Add a norm, a float64 scalar, to the running mean of `term`, unless `known` is false."""
        old = self.norms[term].double()
        new = torch.where(old == 0, norm, self.memory * old + (1 - self.memory) * norm)
        self.norms[term] = new if known is None else torch.where(known, new, old)


def overall_loss(
    latents: torch.Tensor,
    terms: list[tuple[str, float, Term]],
    balance: GradientBalance | None,
    own: Sequence[tuple[str, float, torch.Tensor]] = (),
    weighted: dict[str, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Eq. 8 over any number of terms, plus the network's own losses.

    Args:
        latents: (B, T, d) latent states of the student.
        terms: (name, lambda, loss as a function of the latent states); the first is the vertex loss with lambda 1.
            A term with lambda 0 is not computed.
        balance: None for `balance: none`.
        own: (name, weight, value) of the network's own other losses, which no balance scales.
        weighted: gets each term times its weight by name, for a caller that measures them.

    Returns:
        The scalar L, and the values of the terms by name, including L as `loss`, as float64 scalars.
    """
    total = latents.new_zeros(())
    values: dict[str, torch.Tensor] = {}
    for index, (name, weight, term) in enumerate(terms):
        if weight == 0:
            continue
        if balance is None:
            value = term(latents)
            part = weight * value
        else:
            if index > 0 and not balance.is_measured(index):  # first step: measure before weighting
                (gradient,) = torch.autograd.grad(term(latents), latents, retain_graph=True)
                balance.record(index, balance.scale * gradient.norm().double())
            share = torch.ones_like(total, dtype=torch.float64)
            if index > 0:  # of the gradient of the vertex loss times its own weight
                share = balance.share_weight(index) * terms[0][1]
            value = term(balance.measured(latents, index, weight * share))
            part = (weight * share).to(value.dtype) * value
        total = total + part
        values[name] = value.detach().double()
        if weighted is not None:
            weighted[name] = part
    for name, weight, value in own:
        part = weight * value
        total = total + part
        values[name] = value.detach().double()
        if weighted is not None and weight != 0:  # one that is only logged has no share to measure
            weighted[name] = part
    return total, {"loss": total.detach().double(), **values}
