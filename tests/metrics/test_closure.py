import numpy as np
import pytest

from learn2talk_core.metrics.closure import closure_error


def test_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(2, 10, 4))
    bilabial = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 1], bool)
    errors = [abs(sum(prediction[t]) / 4 - sum(truth[t]) / 4) for t in (2, 3, 7, 9)]
    assert closure_error(truth, prediction, bilabial) == pytest.approx((sum(errors), 4))
    assert closure_error(truth, prediction[:8], bilabial) == pytest.approx((sum(errors[:3]), 3))
    assert closure_error(truth[:8], prediction, bilabial[:8]) == pytest.approx((sum(errors[:3]), 3))


def test_sees_only_the_closures() -> None:
    truth = np.zeros((4, 2))
    elsewhere = np.array([[5.0], [0.0], [5.0], [5.0]]) + truth
    bilabial = np.array([False, True, False, False])
    assert closure_error(truth, elsewhere, bilabial).value == 0.0
    assert closure_error(truth, truth + 1.5, bilabial).value == 1.5


def test_nothing_to_measure() -> None:
    gap = np.zeros((4, 2))
    assert closure_error(gap, gap, np.zeros(4, bool)).value is None  # a clip without p b m
    assert closure_error(gap[:, :0], gap[:, :0], np.ones(4, bool)).value is None  # a mesh without lip pairs
