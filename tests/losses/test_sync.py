import pytest
import torch

from learn2talk_core.losses.sync import sync_loss


def test_closed_form():
    mesh = torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])
    audio = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    assert sync_loss(mesh, audio).item() == pytest.approx((0.0 + 0.2) / 2, abs=1e-6)


def test_padding_does_not_count():
    mesh, audio = torch.rand(2, 5, 8), torch.rand(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    expected = torch.cat(
        [1 - torch.cosine_similarity(mesh[0], audio[0]), 1 - torch.cosine_similarity(mesh[1, :3], audio[1, :3])]
    )
    torch.testing.assert_close(sync_loss(mesh, audio, mask), expected.mean())


def test_gradient_by_finite_differences_and_it_pulls_towards_the_audio():
    torch.manual_seed(0)
    mesh = torch.rand(1, 3, 4, dtype=torch.float64, requires_grad=True)
    audio = torch.rand(1, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: sync_loss(x, audio), (mesh,))
    before = sync_loss(mesh, audio)
    (gradient,) = torch.autograd.grad(before, mesh)
    assert sync_loss(mesh - 0.1 * gradient, audio) < before
