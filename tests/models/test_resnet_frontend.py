"""The shortcut's convolution, whose stride is taken first where torch's kernel is not safe."""

import pytest
import torch

from learn2talk_core.models.resnet_frontend import Pointwise


@pytest.mark.parametrize("channels", [4, 8])
@pytest.mark.parametrize("size", [6, 7])
def test_a_strided_convolution_of_single_pixels(channels: int, size: int) -> None:
    """Values and gradients by a sum over channels at every second pixel."""
    torch.manual_seed(0)
    layer = Pointwise(channels, 5, 1, 2, bias=False).double()
    x = torch.randn(2, channels, size, size, dtype=torch.float64, requires_grad=True)
    weight = layer.weight.detach()[..., 0, 0].clone().requires_grad_()
    expected = torch.einsum("oc,nchw->nohw", weight, x[..., ::2, ::2])
    found = layer(x)
    torch.testing.assert_close(found, expected)
    pull = torch.randn_like(found)
    gradients = torch.autograd.grad(found, (x, layer.weight), pull)
    others = torch.autograd.grad(expected, (x, weight), pull)
    torch.testing.assert_close(gradients[0], others[0])
    torch.testing.assert_close(gradients[1][..., 0, 0], others[1])
