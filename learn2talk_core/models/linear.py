"""Linear maps by oneDNN, which torch ships for convolutions.

Torch's own linear maps use MKL, which does not use AVX-512 on processors of other makers than Intel. There oneDNN is
twice as fast, forward and backward (benchmarks/linear.py). If torch has no such operator, for anything but float32 on
the CPU, and under autocast, torch's own linear map is used.
"""

from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

N = TypeVar("N", bound=nn.Module)
CPU = Path("/proc/cpuinfo")
INTEL = CPU.is_file() and "GenuineIntel" in CPU.read_text()[:1000]
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b: (..., d), (n, d), (n,) -> (..., n)."""
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.numel() > 0
    if not (AVAILABLE and plain) or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    # reshaped to 2D inside: autograd forbids in-place writes, as in transformers, to a view returned by our function
    return _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], len(weight))


class Linear(nn.Linear):
    """`nn.Linear` that calls `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def by_onednn(network: N) -> N:
    """Make all `nn.Linear` in `network` use `linear`; their weights and names stay the same."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return network


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    bias = None if bias is None else bias.contiguous()  # the operator ignores strides
    if not (weight.is_contiguous() or weight.T.is_contiguous()):
        weight = weight.contiguous()  # for rows with gaps oneDNN has only a loop, a thousand times slower
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _of_weight(gradient: Tensor, x: Tensor) -> Tensor:
    # MKL reads both as they lie, and oneDNN copies them first: on Intel's processors MKL takes two thirds of the time
    return gradient.T @ x if INTEL else _product(gradient.T, x.T)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.T) if to_x else None,
            _of_weight(gradient, x) if to_weight else None,
            gradient.sum(0) if to_bias else None,
        )
