"""Structural similarity (Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity").

With means μ, variances σ² and covariance under an 11 × 11 Gaussian of σ = 1.5 pixels, the similarity at a pixel is

    (2 μ_a μ_b + C₁)(2 σ_ab + C₂) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² + C₂)),   C₁ = 0.01², C₂ = 0.03².
"""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_WINDOW = cv2.getGaussianKernel(11, 1.5, cv2.CV_32F)
C1, C2 = 0.01**2, 0.03**2


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean similarity of two pictures (H, W, 3) in 0..1, float32; differentiable in both. Outside the picture is 0."""
    mean_a, mean_b = _Blur.apply(a), _Blur.apply(b)
    variance_a = _Blur.apply(a * a) - mean_a * mean_a
    variance_b = _Blur.apply(b * b) - mean_b * mean_b
    covariance = _Blur.apply(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    below = (mean_a * mean_a + mean_b * mean_b + C1) * (variance_a + variance_b + C2)
    return (above / below).mean()


class _Blur(torch.autograd.Function):
    """Convolution with the window. With zeros outside, it is its own transpose."""

    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:
        return _blurred(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _blurred(gradients[0])


def _blurred(image: Tensor) -> Tensor:
    source = image.detach().contiguous().numpy()
    result = cv2.sepFilter2D(source, -1, _WINDOW, _WINDOW, borderType=cv2.BORDER_CONSTANT)
    return torch.from_numpy(np.ascontiguousarray(result))
