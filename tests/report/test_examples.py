from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.report.examples import example_clips, load_example, mean_errors, reported_style, viseme_frames
from tests.report.scene import FRAMES, PHONEMES, make_corpus, make_predictions


def test_moments_show_different_mouth_shapes() -> None:
    found = viseme_frames(PHONEMES, FRAMES, 30.0, 6)
    assert [label for _, label in found] == ["m", "f", "s", "uw", "aa", "iy"]
    for frame, label in found:
        phoneme = next(p for p in PHONEMES if p.name.lower() == label)
        assert phoneme.start <= frame / 30 <= phoneme.end
    assert [label for _, label in viseme_frames(PHONEMES, FRAMES, 30.0, 2)] == ["m", "iy"]


def test_moments_without_phonemes_are_spread() -> None:
    assert viseme_frames((), 30, 30.0, 3) == [(5, "0.2 s"), (15, "0.5 s"), (25, "0.8 s")]
    assert all(frame < 4 for frame, _ in viseme_frames(PHONEMES, 4, 30.0, 6))


def test_examples(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    make_predictions(tmp_path, corpus)
    students = {name: open_predictions(tmp_path / name, corpus) for name in ("faceformer", "learn2talk")}
    unseen = corpus.split("test_unseen")
    assert example_clips(unseen, [unseen[1].id], 2) == [unseen[1], unseen[0]]
    assert example_clips(unseen, [], 1) == [unseen[0]]

    rows = {"faceformer": {"styles": {"carl": "ben"}}, "learn2talk": {}}
    assert reported_style(students["faceformer"], unseen[0], rows["faceformer"]) == "ben"
    assert reported_style(students["learn2talk"], unseen[0], rows["learn2talk"]) == "anna"
    example = load_example(corpus, unseen[0], students, rows)
    assert {name: len(motion) for name, motion in example.motions.items()} == dict.fromkeys(
        ("truth", "faceformer", "learn2talk"), FRAMES - 1
    )
    np.testing.assert_array_equal(example.motions["faceformer"], students["faceformer"].vertices(unseen[0].id, "ben"))

    errors = mean_errors(corpus, unseen, students["learn2talk"], rows["learn2talk"])
    every = [
        1000 * np.linalg.norm(corpus.vertices(c)[: FRAMES - 1] - students["learn2talk"].vertices(c.id, "anna"), axis=2)
        for c in unseen
    ]
    np.testing.assert_allclose(errors, np.concatenate(every).mean(axis=0), rtol=1e-5, atol=1e-5)
    assert errors[corpus.topology.lip_pairs[0, 1]] == pytest.approx(0.5, abs=0.1)  # a tenth of 10 sin², on average
