from dataclasses import replace

import numpy as np
import pytest

from learn2talk_core.animation.animation import frame_count
from learn2talk_core.animation.animator import Animator
from learn2talk_core.animation.blend_shapes import BlendShapes
from learn2talk_core.animation.life import Life
from learn2talk_core.run.errors import BadInput
from tests.animation.test_animator import speech
from tests.toy_student import toy_animator


@pytest.fixture(scope="module")
def animator(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    return toy_animator(tmp_path_factory.mktemp("toy"))


def feeding(wave: np.ndarray, seed: int) -> list[np.ndarray]:
    """Cut at random positions; some pieces are empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(wave), 40))
    return np.split(wave, np.concatenate([[0], cuts, cuts[-1:]]))


@pytest.mark.parametrize("fps", [24, 30, 60, 10])
@pytest.mark.parametrize(("chunk", "look_ahead"), [(0.5, 0.2), (1.0, 0.0), (2.0, 1.0)])
def test_a_stream_is_the_offline_mode_bit_for_bit(
    animator: Animator, fps: float, chunk: float, look_ahead: float
) -> None:
    wave = speech(5.23)
    offline = animator.animate(wave, style="B", fps=fps, chunk=chunk, look_ahead=look_ahead)
    assert len(offline.states) == frame_count(len(wave), fps)
    for seed in range(2):
        stream = animator.stream(fps, style="B", chunk=chunk, look_ahead=look_ahead)
        frames = [*(stream.feed(piece) for piece in feeding(wave, seed)), stream.finish()]
        assert sum(len(part) > 0 for part in frames) > 1
        np.testing.assert_array_equal(np.concatenate(frames), offline.vertices())


def test_one_chunk_with_all_the_sound_is_the_whole(animator: Animator) -> None:
    wave = speech(2.3)
    whole, chunked = (animator.animate(wave, style="A", chunk=chunk).states for chunk in (None, 5.0))
    np.testing.assert_allclose(chunked, whole, atol=1e-4)


def test_frames_come_in_time_and_never_change(animator: Animator) -> None:
    """After s seconds all frames up to s - chunk - look-ahead are returned; later sound does not change them."""
    wave, other = speech(4), speech(4, seed=1)
    one, two = (animator.stream(60, chunk=0.5, look_ahead=0.3) for _ in range(2))
    given = 0
    for start in range(0, 48000, 1600):
        given += len(one.feed(wave[start : start + 1600]))
        assert given >= int(60 * ((start + 1600) / 16000 - 0.8) + 1e-6)
    before = np.concatenate([two.feed(wave[:48000]), two.feed(other[48000:])])
    expected = animator.animate(wave, style="A", fps=60, chunk=0.5, look_ahead=0.3).vertices()
    np.testing.assert_array_equal(before[:given], expected[:given])


def test_a_stream_holds_no_more_than_it_hears(animator: Animator) -> None:
    stream = animator.stream(chunk=0.5, look_ahead=0.2, past=0.5, memory=1.0)
    held = []
    for _ in range(60):
        stream.feed(speech(0.25))
        held.append(len(stream._held))
    assert max(held) <= (0.5 + 0.5 + 0.2 + 0.25) * 16000 + 1100
    assert stream._spoken._roll_out._keys.shape[1] == 30


def test_a_stream_refuses(animator: Animator) -> None:
    stream = animator.stream()
    with pytest.raises(BadInput, match="stream: expected finite samples, found NaN or infinity"):
        stream.feed(np.array([0.0, np.nan]))
    with pytest.raises(BadInput, match=r"stream: expected float or int16 \(samples,\), found float64 \(2, 3\)"):
        stream.feed(np.zeros((2, 3)))
    assert stream.finish().shape == stream.finish().shape == (0, 64, 3)
    with pytest.raises(ValueError, match="finished"):
        stream.feed(np.zeros(3))
    with pytest.raises(BadInput, match="style: expected a style by name, found auto"):
        animator.stream(style="auto")
    with pytest.raises(BadInput, match=r"chunk: expected 0\.0333 … 60 seconds, found 0"):
        animator.stream(chunk=0)
    short = animator.stream(30)
    short.feed(np.zeros(10, np.int16))
    assert short.finish().shape == (1, 64, 3)


@pytest.mark.parametrize("fps", [24, 60])
def test_a_stream_is_as_alive_as_the_offline_mode_bit_for_bit(animator: Animator, fps: float) -> None:
    names = Life(blinks=1, gaze=1).shapes()
    deltas = 1e-3 * np.random.default_rng(0).normal(size=(len(names), 64, 3))
    lively = replace(animator, blend_shapes=BlendShapes(names, deltas.astype(np.float32)))
    wave, life = speech(6.41), Life(head=0.7, blinks=2, gaze=1, seed=3)
    offline = lively.animate(wave, style="B", fps=fps, chunk=1.0, look_ahead=1.7, life=life)
    for seed in range(2):
        stream = lively.stream(fps, style="B", chunk=1.0, look_ahead=1.7, life=life)
        frames = [*(stream.feed(piece) for piece in feeding(wave, seed)), stream.finish()]
        assert sum(len(part) > 0 for part in frames) > 2
        np.testing.assert_array_equal(np.concatenate(frames), offline.vertices())
    whole = lively.animate(wave, style="B", fps=fps, life=life)
    np.testing.assert_array_equal(whole.pose, offline.pose)
    np.testing.assert_array_equal(whole.states[:, -10:], offline.states[:, -10:])
