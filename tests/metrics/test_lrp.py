import math

import numpy as np
import pytest

from learn2talk_core.metrics.lrp import lip_readability


def test_equation_18_number_by_number() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(2, 8, 6, 3))
    lips, threshold = [0, 2, 5], 2.0
    shares = [np.mean([math.dist(truth[t, v], prediction[t, v]) < threshold for v in lips]) for t in range(8)]
    found = lip_readability(truth, prediction, np.array(lips), threshold)
    assert 10 < 100 * np.mean(shares) < 90
    assert found.value == pytest.approx(100 * np.mean(shares))


def test_ends_of_the_scale_and_the_threshold_is_exclusive() -> None:
    truth = np.zeros((4, 3, 3))
    lips = np.arange(3)
    assert lip_readability(truth, truth, lips, 0.5).value == 100.0
    assert lip_readability(truth, truth + np.array([0.5, 0, 0]), lips, 0.5).value == 0.0


def test_flames_254_lip_ids_count_as_250() -> None:
    truth = np.zeros((1, 4, 3))
    prediction = truth.copy()
    prediction[:, 0] = 1.0
    assert lip_readability(truth, prediction, np.array([0, 0, 1, 2, 3]), 0.5).value == 75.0


def test_longer_and_shorter_predictions() -> None:
    truth, lips = np.zeros((4, 3, 3)), np.arange(3)
    assert lip_readability(truth, np.zeros((6, 3, 3)), lips, 1.0) == (400.0, 4)
    assert lip_readability(truth, np.zeros((3, 3, 3)), lips, 1.0) == (300.0, 3)
