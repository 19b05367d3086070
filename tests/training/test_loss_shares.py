import logging

import numpy as np
import pytest
import torch
from torch import Tensor

from learn2talk_core.losses.total import GradientBalance, overall_loss
from learn2talk_core.training.loss_shares import LossShares


def measured(weights: dict[str, float], balance: GradientBalance | None = None) -> LossShares:
    """Two steps of the terms |h|², 3 Σh and, as a network's own, a loss without h."""
    shares = LossShares("student", 2)
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
        assert measured({"sync": 0.5}).report("the first 2 steps") == {"sync": pytest.approx(0.5 * 3 / 4)}
    assert "student: gradients relative to the vertex loss's in the first 2 steps: sync 0.38" in caplog.text
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_with_balance_a_share_is_the_lambda() -> None:
    assert measured({"sync": 0.5}, GradientBalance(2)).report("the first 2 steps") == {"sync": pytest.approx(0.5)}


@pytest.mark.parametrize(("weight", "said"), [(1e-4, "7.5e-05 times"), (1e4, "7.5e+03 times")])
def test_a_share_out_of_range_is_warned_of(weight: float, said: str, caplog: pytest.LogCaptureFixture) -> None:
    measured({"sync": weight}).report("the first 2 steps")
    assert f"student: the gradient of the term sync is {said} that of the vertex loss in the first 2" in caplog.text
    assert ("teaches nothing" if weight < 1 else "drowns out the vertex loss") in caplog.text


@pytest.mark.parametrize(
    ("steps", "measured", "reports"),
    [
        (3, {0, 1, 2}, {2: "the first 3 steps"}),
        (14, set(range(14)), {9: "the first 10 steps", 13: "the last 4 steps"}),
        (100, {*range(10), *range(90, 100)}, {9: "the first 10 steps", 99: "the last 10 steps"}),
    ],
)
def test_the_first_and_the_last_steps(
    steps: int, measured: set[int], reports: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, said = LossShares("student", steps), {}
    for index in range(steps):
        monkeypatch.setattr(shares, "report", lambda when, index=index: said.update({index: when}))
        shares.report_after(index)
    assert said == reports
    assert {index for index in range(steps) if shares.wanted(index)} == measured


def test_at_first_the_balance_lags_behind_a_falling_gradient_and_at_last_a_share_is_the_lambda() -> None:
    """The vertex loss's gradient falls by a third in each of ten steps, and stays; that of the other term is constant.

    The running mean has a memory of 0.9, so the share is the lambda times the mean of the norms before, divided by the
    norm of the step: here in closed form.
    """
    norms = [max(1.5**-step, 1.5**-10) for step in range(60)]
    balance, shares, found, mean = GradientBalance(2), LossShares("student", 60), [], norms[0]
    states = torch.ones(1, 1, 1, requires_grad=True)
    for step, norm in enumerate(norms):
        weighted: dict[str, Tensor] = {}
        terms = [("vertex", 1.0, lambda h, norm=norm: norm * h.sum()), ("sync", 0.3, lambda h: 7 * h.sum())]
        loss, _ = overall_loss(states, terms, balance, weighted=weighted)
        if shares.wanted(step):
            shares.measure(states, weighted, balance)
            found.append(0.3 * mean / norm if step else None)
        if step in (9, 59):
            known = [share for share in found if share is not None]
            assert shares.report("") == {"sync": pytest.approx(np.median(known), rel=1e-4)}
            assert (np.median(known) > 0.9) == (step == 9)
            found.clear()
        loss.backward()
        mean = 0.9 * mean + 0.1 * norm if step else norm
    assert np.median(known) == pytest.approx(0.3, rel=0.3)
