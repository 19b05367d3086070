"""Gaps at closures and open vowels, in closed form."""

import math

import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.metrics.articulation import (
    Articulation,
    acceleration_over_speed,
    articulation,
    jitter,
    pooled,
)


def test_the_least_gap_of_a_closure_and_the_middle_of_a_vowel() -> None:
    gap = np.array([4.0, 6, 1, -1, 3, 8, 10, 6, 2, 2])  # 10 frames per second
    said = [
        Phoneme(0.2, 0.4, "B"),  # frames 1, -1, 3
        Phoneme(0.41, 0.47, "P"),  # between frames: from 3.5 to 6.5
        Phoneme(0.5, 0.7, "AA"),  # middle at 0.6: 10
        Phoneme(0.0, 0.1, "AY"),  # middle between 4 and 6
        Phoneme(0.1, 0.2, "S"),
        Phoneme(1.5, 1.6, "M"),  # after the motion
    ]
    found = articulation(gap, 10, said)
    np.testing.assert_allclose(found.closures, [-1, 3.5])
    np.testing.assert_allclose(found.vowels, [10, 5])
    limit = 0.15 * np.percentile(gap, 90)
    np.testing.assert_allclose(found.closure_limits, [limit, limit])
    assert found.scores() == pytest.approx({
        "closures": 2, "vowels": 2, "closure_gap_mm": 1.25, "vowel_gap_mm": 7.5, "contrast_mm": 6.25,
        "auc": 1.0, "closed": 0.5, "wrongly_closed": 0.0,
    })  # fmt: skip


def test_each_clip_has_its_own_limit() -> None:
    """A wide and a narrow mouth, in the same words: the narrow one's vowel is open, though its gap is small."""
    said = [Phoneme(0.0, 0.0, "M"), Phoneme(0.9, 0.9, "AO")]
    wide, narrow = (articulation(np.linspace(0, size, 10), 10, said) for size in (20.0, 2.0))
    together = pooled([wide, narrow])
    assert together.scores()["wrongly_closed"] == 0
    assert together.scores()["closed"] == 1
    assert together.scores()["contrast_mm"] == pytest.approx(11)
    np.testing.assert_allclose(
        together.vowel_limits, 0.15 * np.percentile(np.linspace(0, 1, 10), 90) * np.array([20, 2])
    )


def test_a_mouth_that_never_opens_has_its_vowels_wrongly_closed() -> None:
    still = articulation(np.full(10, -0.5), 10, [Phoneme(0.1, 0.2, "AE"), Phoneme(0.3, 0.4, "P")])
    scores = still.scores()
    assert (scores["wrongly_closed"], scores["closed"], scores["auc"]) == (1.0, 1.0, 0.5)


def test_without_phones_nothing_is_claimed() -> None:
    for found in (articulation(np.ones(5), 10, []), pooled([]), articulation(np.empty(0), 10, [Phoneme(0, 1, "B")])):
        scores = found.scores()
        assert (scores["closures"], scores["vowels"]) == (0, 0)
        assert all(scores[key] is None for key in ("contrast_mm", "auc", "closed", "wrongly_closed", "vowel_gap_mm"))


def test_auc_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    larger, smaller = rng.integers(0, 9, 20).astype(float), rng.integers(0, 5, 13).astype(float)
    wins = sum((a > b) + 0.5 * (a == b) for a in larger for b in smaller)
    scores = Articulation(smaller, larger, np.zeros(13), np.zeros(20)).scores()
    assert scores["auc"] == pytest.approx(wins / (20 * 13))
    assert Articulation(np.zeros(2), np.ones(3), np.zeros(2), np.zeros(3)).scores()["auc"] == 1


@pytest.mark.parametrize("frequency", [1.0, 4.0, 7.5])
def test_jitter_of_a_sine(frequency: float) -> None:
    gap = 3 + 5 * np.sin(2 * np.pi * frequency * (np.arange(30_000) / 30 + 0.001))
    expected = 4 * math.sin(math.pi * frequency / 30) ** 2 * 2 * math.sqrt(2) / math.pi
    if frequency == 7.5:  # four samples per period: their mean depends on the phase
        values = np.abs(gap[:4] - 3)
        expected = 4 * math.sin(math.pi / 4) ** 2 * values.mean() / gap[:4].std()
    assert jitter(gap) == pytest.approx(expected, rel=0.01)
    assert jitter(10 * gap - 7) == pytest.approx(jitter(gap))  # no unit


@pytest.mark.parametrize("frequency", [1.0, 4.0, 7.3])
def test_acceleration_over_speed_of_a_sine(frequency: float) -> None:
    gap = 3 + 5 * np.sin(2 * np.pi * frequency * (np.arange(30_000) / 30 + 0.001))
    found = acceleration_over_speed(gap)
    assert found == pytest.approx(2 * math.sin(math.pi * frequency / 30), rel=0.01)
    assert acceleration_over_speed(10 * gap - 7) == pytest.approx(found)  # no unit
    assert acceleration_over_speed(gap[:2]) is None
    assert acceleration_over_speed(np.full(20, 3.0)) is None


def test_jitter_of_a_still_mouth_and_of_a_line() -> None:
    assert jitter(np.full(20, 3.0)) is None
    assert jitter(np.array([1.0, 2.0])) is None
    assert jitter(np.arange(20.0)) == pytest.approx(0, abs=1e-12)
