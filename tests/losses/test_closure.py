import math

import torch

from learn2talk_core.losses.closure import closure_loss


def test_closed_form() -> None:
    gap = torch.tensor([[[1.0, 2.0], [4.0, 0.0], [9.0, 9.0]]])
    truth = torch.tensor([[[0.0, -1.0], [3.0, 2.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True, False]])
    expected = (1 * 1 + math.exp(-0.5) * 9 + math.exp(-1.5) * 1 + math.exp(-1.0) * 4) / 4
    torch.testing.assert_close(float(closure_loss(gap, truth, mask, 0.5)), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(float(closure_loss(gap, truth, mask, 0.0)), (1 + 9 + 1 + 4) / 4, rtol=1e-6, atol=0)


def test_gradient_by_finite_differences() -> None:
    g = torch.Generator().manual_seed(0)
    gap, truth = (torch.randn(2, 4, 3, generator=g, dtype=torch.float64) for _ in range(2))
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    gap.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: closure_loss(x, truth, mask, 0.7), (gap,))
    (gradient,) = torch.autograd.grad(closure_loss(gap, truth, mask, 0.7), gap)
    assert not gradient[1, 2:].any()
    assert gradient.any()
