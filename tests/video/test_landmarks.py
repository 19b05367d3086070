import importlib.util
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.datasets.embedded.face import colours, load_face
from learn2talk_core.datasets.embedded.films import boxes, draw_shot, render_film
from learn2talk_core.datasets.embedded.speakers import make_speakers
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video import landmarks as module
from learn2talk_core.video.landmarks import (
    REFERENCE,
    follow_face,
    mediapipe_faces,
    mouth_crops,
    similarity,
    smooth_landmarks,
)
from tests.golden.fill import FOLDER, uniform

FACE = np.array([[40.0, 30], [60, 30], [50, 42], [50, 52]])
BLACK = np.zeros((64, 96, 3), np.uint8)


def golden() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Pictures, landmarks (missing ones filled in linearly) and the crops that the lip reader's own code made."""
    with np.load(FOLDER / "landmarks/crop_mediapipe.npz") as stored:
        arrays = dict(stored)
    blocks = np.floor(uniform("crop-blocks", (14, 30, 34, 3)) * 256).astype(np.uint8)
    valid = np.flatnonzero(arrays["valid_mask"])
    points = arrays["landmarks_valid"].reshape(len(valid), 8)
    filled = np.stack([np.interp(np.arange(14), valid, column) for column in points.T], axis=1)
    return np.kron(blocks, np.ones((1, 8, 8, 1), np.uint8)), filled.reshape(14, 4, 2), arrays


def test_reference_is_the_mean_face() -> None:
    assert np.abs(golden()[2]["stable_reference"] - REFERENCE).max() < 1e-3


def test_alignment_is_the_lip_readers_own() -> None:
    _, points, arrays = golden()
    found = np.stack([similarity(p) for p in smooth_landmarks(points)])
    assert np.abs(found[..., :2] - arrays["affine_matrices"][..., :2]).max() < 1e-4
    assert np.abs(found[..., 2] - arrays["affine_matrices"][..., 2]).max() < 1e-2


def test_crops_are_the_lip_readers_own() -> None:
    pictures, points, arrays = golden()
    found = np.stack(list(mouth_crops(pictures, points)))
    assert found.shape == arrays["crops"].shape
    difference = np.abs(found.astype(int) - arrays["crops"])
    assert np.median(difference) <= 1
    assert np.mean(difference > 4) < 0.02


def test_smoothing_against_a_loop() -> None:
    points = np.random.default_rng(0).normal(size=(9, 4, 2))
    found = smooth_landmarks(points, radius=2)
    for t, margin in enumerate([0, 1, 2, 2, 2, 2, 2, 1, 0]):
        window = [points[t + k] for k in range(-margin, margin + 1)]
        mean = sum(window) / len(window)
        assert np.allclose(found[t], mean - mean.mean(0) + points[t].mean(0))


def test_smoothing_keeps_a_moving_shape_and_quietens_jitter() -> None:
    moving = FACE + np.arange(20)[:, None, None] * [1.5, -0.5]
    assert np.allclose(smooth_landmarks(moving), moving)
    noise = np.random.default_rng(1).normal(size=moving.shape)
    noise -= noise.mean(axis=1, keepdims=True)
    assert np.abs(smooth_landmarks(moving + noise) - moving)[6:-6].mean() < 0.4 * np.abs(noise).mean()


def test_similarity_undoes_a_similarity() -> None:
    angle, scale = 0.3, 0.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(REFERENCE @ turn.T + [30, -20])
    assert np.allclose(matrix[:, :2] @ turn, np.eye(2), atol=1e-4)
    with pytest.raises(ValueError, match="no scale"):
        similarity(np.zeros((4, 2)))


def test_one_face_in_every_picture() -> None:
    frames = [BLACK] * 5
    found = follow_face(frames, lambda image: [FACE], name="a.mp4")
    assert found.shape == (5, 4, 2)
    seen = iter([[FACE], [FACE], []])
    with pytest.raises(BadInput, match=r"a.mp4, frame 2: expected one face, found no face. Cut the video"):
        follow_face(frames, lambda image: next(seen), name="a.mp4")
    seen = iter([[FACE], [FACE, FACE + 20]])
    with pytest.raises(BadInput, match=r"a.mp4, frame 1: expected one face, found 2 faces"):
        follow_face(frames, lambda image: next(seen), name="a.mp4")
    with pytest.raises(BadInput, match=r"a.mp4: expected at least one frame"):
        follow_face([], lambda image: [FACE], name="a.mp4")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install --no-deps mediapipe==0.10.21"):
        mediapipe_faces()


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="needs the networks that mediapipe contains")
def test_networks_find_the_rendered_mouth() -> None:
    face, find = load_face(), mediapipe_faces()
    for number, speaker in enumerate(make_speakers(4, 3, "T")):
        rng = np.random.default_rng(number)
        template, shot = face.identity(speaker), draw_shot(face.identity(speaker), 1, rng)
        _, (left, top, right, bottom) = boxes(face, template, shot)
        picture = render_film(template, np.zeros((1, len(face.basis)), np.float32), colours(rng), shot)[0]
        surroundings = np.pad(picture, ((60, 60), (80, 60), (0, 0)), mode="edge")
        (found,) = find(surroundings)
        size = right - left
        assert np.abs(found[3] - [80 + (left + right) / 2, 60 + (top + bottom) / 2]).max() < 0.06 * size
        assert find(np.zeros_like(surroundings)) == []
        assert len(find(np.concatenate([surroundings, surroundings], axis=1))) == 2
