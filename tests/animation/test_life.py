"""Blinks and glances compared with their documented statistics, and with naive loops over the same random draws."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from learn2talk_core.animation.life import FARTHEST, LOOK_DEGREES, Life, blink, gaze
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import generator

HOUR = np.arange(3600 * 100) / 100


def closings(closed: np.ndarray) -> np.ndarray:
    """Frames at which the eyelids begin to close."""
    return np.flatnonzero((closed[1:] > 0) & (closed[:-1] == 0))


def test_blinks_have_the_rate_and_the_shape_of_people():
    closed = blink(0, HOUR)
    assert (closed.min(), closed.max()) == (0, 1)
    pauses = np.diff(closings(closed)) / 100
    assert pauses.mean() == pytest.approx(3.5, rel=0.05)
    assert np.log(pauses).std() == pytest.approx(0.6, rel=0.1)
    assert np.log(np.diff(closings(blink(0, HOUR, 2.0))) / 100).mean() == pytest.approx(np.log(1.75) - 0.18, abs=0.05)
    start = closings(closed)[3]
    one = closed[start : start + 40]
    down, up = np.flatnonzero(one > 0.999)[0], len(np.flatnonzero(one)) - np.flatnonzero(one > 0.999)[-1]
    assert down < up
    assert 0.15 <= np.count_nonzero(one) / 100 <= 0.3
    assert (np.diff(one[: down + 1]) >= 0).all()


def test_a_blink_is_seen_whole_at_any_usual_rate_of_frames():
    for fps in (25, 30):
        closed = blink(1, np.arange(600 * fps) / fps)
        first = closings(closed)
        tops = [closed[i : i + round(0.3 * fps)].max() for i in first]
        assert min(tops) > 0.95


def test_blinks_against_a_loop_over_their_instants():
    drawn = generator(5, "blinks").standard_normal(64)
    starts = np.cumsum(3.5 * np.exp(0.6 * drawn - 0.18))
    times = np.arange(0, 100, 0.013)
    expected = np.zeros(len(times))
    for i, time in enumerate(times):
        for start in starts:
            since = time - start
            if 0 <= since < 0.28:
                x = 1.0 if 0.08 <= since <= 0.12 else since / 0.08 if since < 0.08 else (0.28 - since) / 0.16
                expected[i] = max(expected[i], x * x * (3 - 2 * x))
    np.testing.assert_allclose(blink(5, times), expected, atol=1e-9)


def test_eyes_rest_on_the_listener_and_jump():
    looked = gaze(0, HOUR)
    away = np.hypot(*looked.T)
    assert away.max() <= FARTHEST + 1e-9
    assert 0.1 < (away > 3).mean() < 0.25
    assert np.abs(np.median(looked, axis=0)).max() < 0.1
    speed = np.linalg.norm(np.diff(looked, axis=0), axis=1) * 100
    assert (speed == 0).mean() > 0.9
    jumps = np.flatnonzero((speed[1:] > 0) & (speed[:-1] == 0))
    assert np.diff(jumps).mean() / 100 == pytest.approx(0.8, rel=0.1)
    assert 50 < speed.max() < 500  # degrees per second of the largest saccades; human ones reach some hundreds
    assert (looked[:10] == 0).all()


@pytest.mark.parametrize("life", [Life(blinks=1, seed=3), Life(gaze=1, seed=3), Life(0.0, 2.0, 0.5, 4)])
def test_any_part_of_the_time_is_as_in_the_whole(life: Life):
    times = np.arange(9000) / 30
    whole = life.weights(times)
    assert whole.shape == (9000, len(life.shapes()))
    assert (whole.min(), whole.dtype) == (0, np.float32)
    for first, last in ((0, 1), (0, 17), (4000, 4013), (8991, 9000), (50, 50)):
        np.testing.assert_array_equal(life.weights(times[first:last]), whole[first:last])


def test_each_has_its_own_seed_and_strength():
    times = np.arange(3000) / 30
    both = Life(blinks=1, gaze=1, seed=7)
    np.testing.assert_array_equal(both.weights(times)[:, :2], Life(blinks=1, seed=7).weights(times))
    np.testing.assert_array_equal(both.weights(times)[:, 2:], Life(gaze=1, seed=7).weights(times))
    assert not np.array_equal(both.weights(times), Life(blinks=1, gaze=1, seed=8).weights(times))
    assert Life().shapes() == ()
    assert Life().weights(times).shape == (3000, 0)
    half, whole = (Life(gaze=strength, seed=7).weights(times) for strength in (0.5, 1))
    np.testing.assert_allclose(half[whole < 1], whole[whole < 1] / 2, atol=1e-6)


def test_the_weights_turn_both_eyes_to_one_side():
    times = np.arange(900) / 30
    left, up = gaze(2, times).T
    weights = dict(zip(Life(gaze=1).shapes(), Life(gaze=1, seed=2).weights(times).T, strict=True))
    for side, sign in (("Left", -1), ("Right", 1)):
        turned = {look: weights[f"eyeLook{look}{side}"] * LOOK_DEGREES[look] for look in LOOK_DEGREES}
        np.testing.assert_allclose(turned["In"] - turned["Out"], sign * left, atol=1e-5)
        np.testing.assert_allclose(turned["Up"] - turned["Down"], up, atol=1e-5)


def test_a_look_is_as_large_as_the_embedded_heads_eyes_say():
    face = load_face()
    eye = face.neutral[face.part["left_eye"]].astype(float)
    signs = {"In": (1, -1), "Out": (1, 1), "Up": (0, -1), "Down": (0, 1)}  # rotation axis, sign
    for look, (axis, sign) in signs.items():
        moved = eye + face.unit[f"eyeLook{look}Left"][face.part["left_eye"]]
        turn = Rotation.align_vectors(moved - moved.mean(axis=0), eye - eye.mean(axis=0))[0]
        assert sign * np.degrees(turn.as_rotvec())[axis] == pytest.approx(LOOK_DEGREES[look], abs=0.1)


def test_strengths_that_are_none():
    for name, value in (("head", -1.0), ("blinks", float("nan")), ("gaze", 4.0)):
        with pytest.raises(BadInput, match=f"{name}: expected a strength of 0 … 3, found {value:g}. 1 is typical"):
            Life(**{name: value})
