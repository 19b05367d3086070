import math

import numpy as np
import pytest
from torchmetrics.functional.text import word_error_rate

from learn2talk_core.statistics.recognition import (
    ctc_greedy,
    edit_distance,
    error_rate,
    most_frequent_accuracy,
    plain_text,
    spelled,
    viseme_accuracy,
    viseme_probabilities,
)


def test_greedy_decoding_merges_repeats_and_drops_blanks() -> None:
    path = [0, 3, 3, 0, 3, 1, 1, 2, 0, 0]
    assert ctc_greedy(np.log(np.eye(4)[path] + 0.01)) == [3, 3, 1, 2]
    assert ctc_greedy(np.zeros((5, 4))) == []


def recursive(a: tuple, b: tuple) -> int:
    """The definition of the Levenshtein distance, literally."""
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return recursive(a[1:], b[1:])
    return 1 + min(recursive(a[1:], b), recursive(a, b[1:]), recursive(a[1:], b[1:]))


def test_edit_distance_is_its_recursive_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (tuple(rng.integers(0, 3, rng.integers(0, 6)).tolist()) for _ in range(2))
        assert edit_distance(a, b) == recursive(a, b)


@pytest.mark.filterwarnings("ignore")
def test_error_rate_is_torchmetrics_word_error_rate() -> None:
    rng = np.random.default_rng(1)
    references = [rng.integers(0, 6, n).tolist() for n in (4, 9, 30)]
    hypotheses = [rng.integers(0, 6, n).tolist() for n in (6, 5, 33)]
    spelled = [[" ".join(map(str, tokens)) for tokens in group] for group in (hypotheses, references)]
    assert error_rate(references, hypotheses) == pytest.approx(float(word_error_rate(*spelled)))


def test_limits() -> None:
    assert error_rate([[1, 2]], [[]]) == 1.0
    assert error_rate([[1]], [[1, 2, 3]]) == 2.0
    assert math.isnan(error_rate([[]], [[1]]))


def test_viseme_accuracy_forgives_look_alikes_and_skips_silence() -> None:
    visemes = [0, 1, 1, 2]  # classes 1 and 2 look the same
    read = np.eye(4)[[3, 2, 1, 3, 0]]
    assert viseme_accuracy(read, [0, 1, 3, 3, 3], visemes) == pytest.approx(2 / 4)
    assert math.isnan(viseme_accuracy(read, [0] * 5, visemes))


def test_look_alikes_share_their_probability() -> None:
    """Classes 1 and 2 look the same: .3 + .3 is more than the .4 of class 3."""
    visemes, logits = [0, 1, 1, 2], np.log([[1e-9, 0.3, 0.3, 0.4]]) + 7.0
    np.testing.assert_allclose(viseme_probabilities(logits, visemes), [[0, 0.6, 0.4]], atol=1e-6)
    assert viseme_accuracy(logits, [2], visemes) == 1
    assert viseme_accuracy(logits, [3], visemes) == 0


def test_always_saying_the_most_frequent() -> None:
    visemes = [0, 1, 1, 2]
    assert most_frequent_accuracy([0] * 9 + [1, 2, 3], [1, 3, 3, 2, 0], visemes) == pytest.approx(2 / 4)


def test_spelling_of_characters_and_of_sub_words() -> None:
    characters = ["<blank>", "'", "A", "B", "<space>", "<unk>", "<eos>"]
    assert spelled([3, 2, 4, 4, 2, 1, 3, 5, 6], characters) == "BA A'B"
    assert spelled([1, 2, 3, 4, 5], ["<blank>", "▁THE", "▁C", "AT", "S", "<eos>"]) == "THE CATS"
    assert spelled([], characters) == ""


def test_plain_text() -> None:
    assert plain_text("  It’s a big-ish word, no. 7!\n") == "IT'S A BIG ISH WORD NO 7"
