import logging

import pytest
import torch
from torch import Tensor

from learn2talk_core.losses.total import GradientBalance, overall_loss
from learn2talk_core.training.loss_shares import LossShares


def measured(weights: dict[str, float], balance: GradientBalance | None = None) -> LossShares:
    """Two steps of the terms |h|², 3 Σh and, as a network's own, a loss without h."""
    shares = LossShares("student")
    states = torch.full((1, 4, 4), 2.0, requires_grad=True)
    for _ in range(2):
        weighted: dict[str, Tensor] = {}
        terms = [
            ("vertex", 1.0, lambda h: h.square().sum()),
            ("sync", weights["sync"], lambda h: 3 * h.sum()),
        ]
        own = [("codes", 1.0, torch.ones((), requires_grad=True) * 5)]
        loss, _ = overall_loss(states, terms, balance, own, weighted)
        before = None if balance is None else balance.norms.clone()
        shares.measure(states, weighted, balance)
        if balance is not None:
            assert before is not None
            assert torch.equal(balance.norms, before)
        loss.backward()
    return shares


def test_a_share_is_the_ratio_of_two_gradients(caplog: pytest.LogCaptureFixture) -> None:
    """The gradients are 4 and 3 in each of 16 coordinates."""
    with caplog.at_level(logging.INFO):
        assert measured({"sync": 0.5}).report() == {"sync": pytest.approx(0.5 * 3 / 4)}
    assert "relative to the vertex loss's: sync 0.38" in caplog.text
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_with_balance_a_share_is_the_lambda() -> None:
    assert measured({"sync": 0.5}, GradientBalance(2)).report() == {"sync": pytest.approx(0.5)}


@pytest.mark.parametrize(("weight", "said"), [(1e-4, "7.5e-05 times"), (1e4, "7.5e+03 times")])
def test_a_share_out_of_range_is_warned_of(weight: float, said: str, caplog: pytest.LogCaptureFixture) -> None:
    measured({"sync": weight}).report()
    assert f"student: the gradient of the term sync is {said} that of the vertex loss" in caplog.text
    assert ("teaches nothing" if weight < 1 else "drowns out the vertex loss") in caplog.text
