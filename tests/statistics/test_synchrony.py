import numpy as np
import pytest

from learn2talk_core.statistics.synchrony import (
    at_shifts,
    auc,
    balanced_accuracy,
    best_threshold,
    mean_distances,
    shifted_distances,
)


def naive_distances(mesh, audio, max_shift):
    table = np.full((len(mesh), 2 * max_shift + 1), np.nan)
    for v in range(len(mesh)):
        for s in range(-max_shift, max_shift + 1):
            if 0 <= v + s < len(mesh):
                table[v, s + max_shift] = np.sqrt(((mesh[v] - audio[v + s] + 1e-6) ** 2).sum())
    return table


def test_without_padding_against_a_loop():
    rng = np.random.default_rng(0)
    mesh, audio = rng.normal(size=(9, 5)), rng.normal(size=(11, 5))
    table = shifted_distances(mesh, audio, max_shift=4)
    np.testing.assert_allclose(table, naive_distances(mesh, audio[:9], 4), atol=1e-12)
    keep = np.arange(9) % 3 > 0
    np.testing.assert_allclose(mean_distances(table, keep), np.nanmean(table[keep], axis=0))


def naive_auc(genuine, false):
    wins = [1.0 if f > g else 0.5 if f == g else 0.0 for g in genuine for f in false]
    return sum(wins) / len(wins)


def test_auc_against_all_pairs():
    rng = np.random.default_rng(2)
    genuine, false = rng.integers(0, 8, 40) / 8, rng.integers(2, 10, 60) / 8  # with ties
    assert auc(genuine, false) == pytest.approx(naive_auc(genuine, false))
    with_gaps = np.concatenate([false, [np.nan]])
    assert auc(genuine, with_gaps) == pytest.approx(naive_auc(genuine, false))
    assert np.isnan(auc(genuine, np.array([])))


def test_threshold_and_accuracy():
    genuine, false = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0.25, 0.8, 1.0, 1.1])
    threshold = best_threshold(genuine, false)
    every = [balanced_accuracy(genuine, false, t) for t in np.linspace(0, 1.2, 241)]
    assert balanced_accuracy(genuine, false, threshold) == pytest.approx(max(every)) == pytest.approx(0.75)


def test_columns_by_shift():
    table = np.arange(-3, 4)[None] + np.zeros((2, 1))
    np.testing.assert_array_equal(at_shifts(table, 2, 3), [[-3, -2, 2, 3]] * 2)
    np.testing.assert_array_equal(at_shifts(table, 0, 0), [[0], [0]])
