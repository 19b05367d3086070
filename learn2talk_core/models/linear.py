"""Linear maps by oneDNN, which torch brings along for convolutions.

Torch's own multiplies with MKL, which leaves AVX-512 alone on processors that are not Intel's. There oneDNN is twice as
fast, forward and backward (benchmarks/linear.py). Where it has no such operator, and for anything but float32 on the
CPU, the map is torch's own.
"""

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

N = TypeVar("N", bound=nn.Module)
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b: (..., d), (n, d), (n,) -> (..., n)."""
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.numel() > 0
    if not (AVAILABLE and plain):
        return F.linear(x, weight, bias)
    # two-dimensional inside: nobody may write to a view that an operator of ours returned, as transformers does
    return _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], len(weight))


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def by_onednn(network: N) -> N:
    """Let all `nn.Linear` in `network` multiply by `linear`; their weights and names stay."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return network


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    bias = None if bias is None else bias.contiguous()  # whose stride the operator overlooks
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


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
            _product(gradient.T, x.T) if to_weight else None,
            gradient.sum(0) if to_bias else None,
        )
