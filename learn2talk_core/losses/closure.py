"""The lip-distance loss of NVIDIA's Audio2Face-3D (Training Framework 1.0.1, docs/config_details.md)."""

import torch
from torch import Tensor


def closure_loss(gap: Tensor, truth: Tensor, mask: Tensor, sharpness: float) -> Tensor:
    """Squared error of the lip gap, weighted by exp(−k |true gap|), so that frames with closed lips count most.

        L_closure = mean over frames and lip pairs of exp(−k |g|) · (ĝ − g)²

    Args:
        gap: ĝ (B, T, P), gap of each lip pair of the prediction (see `mesh.topology.lip_gap`), millimetres.
        truth: g (B, T, P), the true gap.
        mask: (B, T) bool, False in the padding.
        sharpness: k, per millimetre; 0 weighs all frames alike.
    """
    error = torch.exp(-sharpness * truth.abs()) * (gap - truth).square()
    return (error * mask[..., None]).sum() / (mask.sum() * gap.shape[-1])
