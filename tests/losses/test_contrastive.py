import math

import pytest
import torch

from learn2talk_core.losses.contrastive import cosine_bce_loss, margin_loss, sync_probability


def test_margin_loss_is_eq_4():
    distance = torch.tensor([0.0, 0.5, 0.25, 2.0, 1.0])
    genuine = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    expected = [0.0, 0.5**2, (1 - 0.25) ** 2, 0.0, 0.0]
    assert margin_loss(distance, genuine).item() == pytest.approx(sum(expected) / 5)
    wider = [0.0, 0.5**2, (1.5 - 0.25) ** 2, 0.0, 0.5**2]
    assert margin_loss(distance, genuine, margin=1.5).item() == pytest.approx(sum(wider) / 5)


def test_cosine_bce_loss_is_eq_5_and_finite_at_the_ends():
    probability = torch.tensor([0.9, 0.2])
    genuine = torch.tensor([1.0, 0.0])
    assert cosine_bce_loss(probability, genuine).item() == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2, rel=1e-6)
    assert cosine_bce_loss(torch.tensor([0.0, 1.0]), genuine).item() == pytest.approx(-math.log(1e-4), rel=1e-2)
    a_coin = torch.full((7,), 0.5)
    assert cosine_bce_loss(a_coin, (torch.arange(7) % 2).float()).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", [margin_loss, cosine_bce_loss])
def test_weights_average(loss):
    value = torch.tensor([0.3, 0.6, 0.9])
    genuine = torch.tensor([1.0, 0.0, 0.0])
    each = [loss(value[i : i + 1], genuine[i : i + 1]).item() for i in range(3)]
    weighted = loss(value, genuine, weight=torch.tensor([2.0, 1.0, 0.0])).item()
    assert weighted == pytest.approx((2 * each[0] + each[1]) / 3, rel=1e-6)


@pytest.mark.parametrize("loss", [margin_loss, cosine_bce_loss])
def test_gradients_by_finite_differences(loss):
    value = torch.tensor([0.15, 0.35, 0.8, 0.55], dtype=torch.float64, requires_grad=True)
    genuine = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, genuine, weight=weight), (value,))


def test_sync_probability_broadcasts_and_is_the_cosine():
    mesh = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    audio = torch.tensor([[0.0, 2.0], [5.0, 0.0]])
    torch.testing.assert_close(sync_probability(mesh, audio), torch.tensor([0.8, 1.0]))
    pairs = sync_probability(mesh[:, None], audio[None])
    torch.testing.assert_close(pairs, torch.tensor([[0.8, 0.6], [0.0, 1.0]]))
