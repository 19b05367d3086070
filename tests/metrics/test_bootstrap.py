import numpy as np
import pytest

from learn2talk_core.metrics.bootstrap import bootstrap_interval, paired_interval
from learn2talk_core.metrics.ratio import Ratio


def test_against_the_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    low, high = bootstrap_interval([Ratio(v, 1) for v in values], seed=1, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.015)


def test_against_a_loop_with_weights() -> None:
    clips = [Ratio(2.0, 1), Ratio(9.0, 3), Ratio(8.0, 8)]
    drawn = np.random.default_rng(5).integers(3, size=(50, 3))
    values = [sum(clips[i].total for i in row) / sum(clips[i].weight for i in row) for row in drawn]
    expected = np.percentile(values, 5), np.percentile(values, 95)
    assert bootstrap_interval(clips, seed=5, resamples=50, confidence=0.9) == pytest.approx(expected)


def test_seeded_and_at_the_edges() -> None:
    clips = [Ratio(v, 1) for v in (1.0, 2.0, 4.0, 8.0)]
    assert bootstrap_interval(clips, seed=3) == bootstrap_interval(clips, seed=3)
    assert bootstrap_interval(clips[:1], seed=3) == (1.0, 1.0)
    assert bootstrap_interval([Ratio(0.0, 0.0)] * 3, seed=3) is None
    sparse = [Ratio(6.0, 2.0), Ratio(0.0, 0.0), Ratio(0.0, 0.0)]  # many draws have no weight at all
    assert bootstrap_interval(sparse, seed=3) == (3.0, 3.0)


def test_paired_interval_is_narrower_where_clips_are_hard_for_both() -> None:
    rng = np.random.default_rng(2)
    hardness = rng.uniform(1, 10, 50)
    first = [Ratio(h, 1) for h in hardness]
    second = [Ratio(h - 0.3 + 0.1 * rng.normal(), 1) for h in hardness]
    low, high = paired_interval(first, second, seed=0)
    assert -0.4 < low < -0.3 < high < -0.2
    alone = bootstrap_interval(first, seed=0)
    assert alone[1] - alone[0] > 10 * (high - low)
    assert paired_interval(first, [Ratio(0.0, 0.0)] * 50, seed=0) is None
