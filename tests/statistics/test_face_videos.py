"""Scores of generated face videos compared with closed forms."""

import numpy as np
import pytest

from learn2talk_core.statistics.face_videos import best_frame, l1, lower_half_l1, mouth_opening_agreement

RNG = np.random.default_rng(0)


def speaking(opening: np.ndarray) -> np.ndarray:
    """Faces whose mouth pixels darken with `opening`."""
    faces = np.full((len(opening), 8, 8, 3), 200, np.float64)
    faces[:, 5:7, 2:6] -= opening[:, None, None, None]
    return faces.round().astype(np.uint8)


def test_l1_counts_the_lower_half_only():
    truth = np.full((4, 8, 8, 3), 100, np.uint8)
    generated = truth.copy()
    generated[:, :4] = 0  # the upper half is ignored
    generated[:, 4:6] = 151  # half of the lower half is off by 51 = 0.2
    assert lower_half_l1(generated, truth) == pytest.approx(0.1)
    assert lower_half_l1(generated[0], truth) == pytest.approx(0.1)
    assert l1(generated, truth) == pytest.approx(np.abs(generated / 255 - truth / 255).mean())


def test_mouth_motion_finds_correlation_and_size():
    opening = 100 * np.abs(np.sin(np.arange(40) / 3))
    truth = speaking(opening)
    correlation, amplitude = mouth_opening_agreement(speaking(0.5 * opening), truth)
    assert correlation == pytest.approx(1, abs=1e-3)
    assert amplitude == pytest.approx(0.5, abs=0.01)
    correlation, amplitude = mouth_opening_agreement(speaking(opening.max() - opening), truth)
    assert correlation == pytest.approx(-1, abs=1e-3)
    noise = speaking(100 * RNG.random(40))
    assert abs(mouth_opening_agreement(noise, truth)[0]) < 0.5


def test_a_still_has_no_correlation():
    truth = speaking(100 * RNG.random(20))
    correlation, amplitude = mouth_opening_agreement(np.broadcast_to(truth[:1], truth.shape), truth)
    assert np.isnan(correlation)
    assert amplitude == pytest.approx(0, abs=1e-6)


def test_the_best_frame_is_the_one_with_the_least_l1_in_the_lower_half() -> None:
    video = np.zeros((5, 4, 4, 3), np.uint8)
    video[:, 3] = np.array([0, 10, 20, 30, 200], np.uint8)[:, None, None]
    video[:, 0, 0, 0] = [1, 2, 3, 4, 5]  # the upper half does not count
    assert best_frame(video)[0, 0, 0] == 3  # the median
