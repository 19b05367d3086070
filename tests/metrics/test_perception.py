import math

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from learn2talk_core.metrics.perception import character_error, feature_cosine, phoneme_error


def test_phoneme_error_counts_edits() -> None:
    log_probs = np.log(np.eye(5)[[0, 1, 1, 0, 2, 4]] + 0.01)  # reads 1 2 4
    assert phoneme_error(log_probs, [1, 2, 4]) == 0
    assert phoneme_error(log_probs, [1, 3, 4]) == pytest.approx(1 / 3)
    assert phoneme_error(log_probs, [1]) == 2
    assert math.isnan(phoneme_error(log_probs, []))


def test_character_error_counts_edits_of_the_plain_text() -> None:
    log_probs = np.log(np.eye(5)[[1, 0, 2, 2, 3, 2]] + 0.01)  # reads B A _ A
    units = ["<blank>", "B", "A", "<space>", "<eos>"]
    assert character_error(log_probs, "Ba, a!", units) == 0
    assert character_error(log_probs, "bab", units) == pytest.approx(2 / 3)
    assert math.isnan(character_error(log_probs, "…", units))


def test_feature_cosine() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7, 5)).astype(np.float32)
    expected = np.mean([1 - cosine(x, y) for x, y in zip(a, b, strict=True)])
    assert feature_cosine(a, b) == pytest.approx(expected, abs=1e-6)
    assert feature_cosine(np.zeros((3, 4)), np.ones((3, 4))) == 0
