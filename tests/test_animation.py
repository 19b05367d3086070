import numpy as np
import pytest

from learn2talk_core.animation import Animation, resample_states
from tests.toy import sheet, topology


def animation(frames: int, width: int = 5) -> Animation:
    rng = np.random.default_rng(0)
    return Animation(
        states=rng.normal(size=(frames, width)).astype(np.float32),
        basis=rng.normal(size=(width, 64, 3)).astype(np.float32),
        offset=rng.normal(size=(64, 3)).astype(np.float32),
        template=sheet(),
        fps=30.0,
        mm_per_unit=1000.0,
        topology=topology(),
        wave=np.zeros(frames * 533, np.float32),
    )


def test_vertices_are_affine_in_the_states() -> None:
    face = animation(70)
    expected = face.template + face.offset + np.einsum("td,dvx->tvx", face.states.astype(np.float64), face.basis)
    np.testing.assert_allclose(face.vertices(), expected, atol=2e-5)
    assert face.vertices().dtype == np.float32
    assert face.vertices(slice(0, 0)).shape == (0, 64, 3)


@pytest.mark.parametrize("part", [slice(0, 1), slice(3, 40), slice(69, 70), slice(0, 70, 7)])
def test_a_frame_has_the_same_bits_whoever_is_asked_for_with_it(part: slice) -> None:
    face = animation(70)
    np.testing.assert_array_equal(face.vertices(part), face.vertices()[part])


@pytest.mark.parametrize("fps", [24, 25, 30, 60, 120, 29.97])
def test_states_are_resampled_at_their_times(fps: float) -> None:
    times = np.arange(31) / 30
    states = np.stack([times, 1 - times], 1).astype(np.float32)  # a ramp tells the time
    count = int(1.0 * fps) + 5
    found = resample_states(states, 30, fps, range(count))
    expected = np.minimum(np.arange(count) / fps, 1.0)  # held at the end, not stretched
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], 1 - expected, atol=1e-6)
    assert found.dtype == np.float32


def test_resampling_states_is_resampling_vertices() -> None:
    face = animation(20)
    fast = resample_states(face.states, 30, 50, range(30))
    moved = np.einsum("td,dvx->tvx", fast, face.basis) + face.template + face.offset
    plain = face.vertices().reshape(20, -1)
    times, own = np.arange(30) / 50, np.arange(20) / 30
    expected = np.stack([np.interp(times, own, column) for column in plain.T], 1).reshape(30, 64, 3)
    np.testing.assert_allclose(moved, expected, atol=2e-5)


def test_the_own_rate_changes_nothing_and_pieces_are_the_whole() -> None:
    states = animation(20).states
    np.testing.assert_array_equal(resample_states(states, 30, 30, range(20)), states)
    whole = resample_states(states, 30, 47, range(31))
    part = resample_states(states[5:12], 30, 47, range(8, 17), first=5)
    np.testing.assert_array_equal(part, whole[8:17])
