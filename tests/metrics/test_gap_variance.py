import statistics

import numpy as np
import pytest

from learn2talk_core.metrics.gap_variance import gap_variance_ratio
from learn2talk_core.metrics.ratio import add_ratios


def test_scaled_motion_has_the_square_of_the_scale() -> None:
    gap = np.random.default_rng(0).normal(size=(30, 4))
    assert gap_variance_ratio(gap, 0.5 * gap + 3.0).value == pytest.approx(0.25)
    assert gap_variance_ratio(gap, gap).value == 1.0
    assert gap_variance_ratio(gap, 0 * gap).value == 0.0
    assert gap_variance_ratio(0 * gap, gap).value is None


def test_clips_add_up_by_their_variation() -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(n, 3)), rng.normal(size=(n, 3))) for n in (5, 9)]
    top = sum(statistics.pvariance(p.mean(axis=1)) * len(p) for _, p in pairs)
    bottom = sum(statistics.pvariance(t.mean(axis=1)) * len(t) for t, _ in pairs)
    assert add_ratios(gap_variance_ratio(t, p) for t, p in pairs).value == pytest.approx(top / bottom)
