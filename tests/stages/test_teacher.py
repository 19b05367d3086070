"""Evaluation of the teacher."""

import numpy as np
import pytest

from stages.teacher import expert_sync_scores, mean_of


def test_expert_sync_scores_of_pairs_that_agree():
    face = np.random.default_rng(0).normal(size=(50, 8))
    face /= np.linalg.norm(face, axis=1, keepdims=True)
    scores = expert_sync_scores(face, face, np.ones(50, bool))
    assert scores["cosine"] == pytest.approx(1)
    assert scores["lse_d"] == pytest.approx(0, abs=1e-5)
    assert scores["lse_c"] > 1
    late = expert_sync_scores(face[3:], face[:-3], np.zeros(47, bool))  # no speech: all windows are used
    assert late["lse_d"] == pytest.approx(0, abs=1e-5)
    assert late["distance_at_0"] > 1


def test_mean_of_leaves_out_what_is_not_a_number():
    rows = [{"a": {"b": 1.0, "c": float("nan")}}, {"a": {"b": 2.0, "c": float("nan")}}]
    assert mean_of(rows) == {"a": {"b": 1.5, "c": None}}
