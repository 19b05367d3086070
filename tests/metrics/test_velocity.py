import math

import numpy as np
import pytest

from learn2talk_core.metrics.velocity import velocity_error


def test_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(2, 6, 5, 3))
    ids = [1, 4]
    errors = [
        math.dist(prediction[t + 1, v] - prediction[t, v], truth[t + 1, v] - truth[t, v]) * 25
        for t in range(5)
        for v in ids
    ]
    assert velocity_error(truth, prediction, np.array(ids), 25.0).value == pytest.approx(np.mean(errors))
    assert velocity_error(truth, prediction, np.array([1, 4, 4]), 25.0).weight == 5


def test_constant_offset_is_not_seen_and_one_frame_has_no_velocity() -> None:
    truth = np.random.default_rng(1).normal(size=(6, 5, 3))
    assert velocity_error(truth, truth + 1.0, np.arange(5), 30.0).value == pytest.approx(0.0, abs=1e-12)
    assert velocity_error(truth[:1], truth, np.arange(5), 30.0).value is None
