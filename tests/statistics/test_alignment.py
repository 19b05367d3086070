"""Forced alignment compared with the best of all paths, one by one."""

from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from learn2talk_core.statistics.alignment import forced_alignment


def every_path(frames: int, tokens: list[int]) -> list[list[int]]:
    """All sequences of positions (2i + 1: token i; even: silence between) that contain every token in order."""
    states = 2 * len(tokens) + 1
    paths = combinations_with_replacement(range(states), frames)
    return [list(path) for path in paths if set(range(1, states, 2)) <= set(path)]


@pytest.mark.parametrize(("frames", "tokens"), [(6, [1, 2]), (5, [2, 2]), (4, [1, 2, 1, 2]), (7, [3]), (6, [1, 1, 3])])
def test_equal_to_the_best_of_all_paths(frames: int, tokens: list[int]) -> None:
    rng = np.random.default_rng(0)
    classes = [0] + [token for t in tokens for token in (t, 0)]
    for _ in range(20):
        log_probs = np.log(rng.dirichlet(np.ones(4) * 0.3, frames))
        scores = {tuple(p): sum(log_probs[t, classes[s]] for t, s in enumerate(p)) for p in every_path(frames, tokens)}
        best = max(scores, key=scores.__getitem__)
        found = forced_alignment(log_probs, tokens)
        path = np.zeros(frames, int)
        for i, (start, end) in enumerate(found):
            assert start < end
            path[start:end] = tokens[i]
        assert np.isclose(log_probs[np.arange(frames), path].sum(), scores[best])
        assert (np.diff(found.ravel()) >= 0).all()


def test_clear_evidence_gives_the_times() -> None:
    said = [0, 0, 5, 5, 5, 2, 0, 0, 2, 2, 0]
    log_probs = np.full((len(said), 6), np.log(0.02))
    log_probs[np.arange(len(said)), said] = np.log(0.9)
    np.testing.assert_array_equal(forced_alignment(log_probs, [5, 2, 2]), [[2, 5], [5, 6], [8, 10]])
    assert forced_alignment(log_probs, []).shape == (0, 2)
    assert all(len(forced_alignment(log_probs[:n], [1] * n)) == n for n in range(1, 5))
    with pytest.raises(ValueError, match="12 tokens do not fit into 11 frames"):
        forced_alignment(log_probs, [1] * 12)


def test_as_many_tokens_as_frames() -> None:
    """The alignment is then forced, whatever the evidence says."""
    for tokens in product((1, 2), repeat=3):
        log_probs = np.log(np.random.default_rng(1).dirichlet(np.ones(3), 3))
        np.testing.assert_array_equal(forced_alignment(log_probs, list(tokens)), [[0, 1], [1, 2], [2, 3]])
