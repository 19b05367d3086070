"""A linear map without gradient on the CPU, by oneDNN where torch has it."""

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x Wᵀ + b: (..., d) -> (..., n).

    Torch's own linear map multiplies with MKL, which leaves AVX-512 alone on processors that are not Intel's; oneDNN,
    which torch comes with for convolutions, does not, and is 2.3 times faster there. Its operator has no gradient.
    """
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    if plain and not torch.is_grad_enabled() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)
