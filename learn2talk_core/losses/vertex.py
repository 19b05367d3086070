"""Vertex reconstruction loss (Learn2Talk, Eq. 3)."""

from typing import Literal

import torch

Form = Literal["mean", "sum"]


def vertex_loss(predicted: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor, form: Form = "mean") -> torch.Tensor:
    """Distance between predicted and true motion, without the padding.

    Eq. 3 sums Euclidean norms over vertices and frames; the paper's text says "mean squared error", and FaceFormer's
    code, which the paper trains, takes the mean over all coordinates. Both forms are implemented.

    Args:
        predicted: (B, T, 3V) vertices or displacements, any unit.
        truth: (B, T, 3V), same unit.
        mask: (B, T) bool, False at the padding of the batch.
        form: "mean" = mean of squared coordinate differences (unit²); "sum" = Eq. 3 as printed, a sum of norms over
            vertices and frames, averaged over the clips of the batch (unit).

    Returns:
        A scalar.
    """
    difference = (predicted - truth) * mask[..., None]
    if form == "mean":
        return difference.square().sum() / (mask.sum() * predicted.shape[-1])
    norms = difference.unflatten(-1, (-1, 3)).square().sum(-1)
    tiny = torch.finfo(norms.dtype).tiny  # keeps the gradient finite where the difference is exactly zero
    return (norms + tiny).sqrt().sum() / len(predicted)
