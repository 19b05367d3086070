from dataclasses import replace

import numpy as np
import pytest

from learn2talk_core.animation.animation import Animation, directions_of, resample_states
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


def test_displacements_are_states_times_directions() -> None:
    rng = np.random.default_rng(0)
    moved = 0.01 * (rng.normal(size=(40, 3)) @ rng.normal(size=(3, 192))).astype(np.float32)
    states, directions = directions_of(moved)
    assert states.shape[1] == len(directions) == np.linalg.matrix_rank(moved) == 3
    np.testing.assert_allclose(states @ directions, moved, atol=1e-7)
    full = rng.normal(size=(7, 192)).astype(np.float32)
    states, directions = directions_of(full)
    np.testing.assert_allclose(states @ directions, full, atol=1e-5)
    still = directions_of(np.zeros((5, 192), np.float32))
    assert not (still[0] @ still[1]).any()


def test_directions_of_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learn2talk_core.animation.animation.BLOCK", 16)
    rng = np.random.default_rng(0)
    moved = rng.normal(size=(100, 40)) * 0.5 ** np.arange(40) @ rng.normal(size=(40, 192))  # smaller and smaller
    states, directions = directions_of(moved.astype(np.float32))
    assert 8 < len(directions) < 25  # of 40: 2 ** -10 is the share that is left out
    np.testing.assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-5)
    assert np.linalg.norm(states @ directions - moved) < 1e-3 * np.linalg.norm(moved)


def posed(frames: int) -> Animation:
    pose = np.random.default_rng(1).uniform(-0.5, 0.5, (frames, 6)).astype(np.float32)
    return replace(animation(frames), pose=pose, pivot=np.array([0.1, -0.2, 0.3], np.float32))


def test_a_pose_turns_the_still_head_about_its_neck() -> None:
    """Compared with explicit rotation matrices: about x, then y, then z."""
    face = posed(5)
    still, found = face.unposed().vertices(), face.vertices()
    np.testing.assert_array_equal(still, animation(5).vertices())
    for t, (x, y, z, *moved) in enumerate(face.pose.astype(np.float64)):
        about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
        about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
        expected = (still[t] - face.pivot) @ (about_z @ about_y @ about_x).T + face.pivot + moved
        np.testing.assert_allclose(found[t], expected, atol=2e-5)
    turn, shift = face.rigid()[:, :, :3], face.rigid()[:, None, :, 3]
    np.testing.assert_allclose((found - shift) @ turn, still, atol=2e-5)
    np.testing.assert_array_equal(face.rigid(slice(2, 4)), face.rigid()[2:4])


@pytest.mark.parametrize("part", [slice(0, 1), slice(3, 40), slice(69, 70), slice(0, 0)])
def test_a_posed_frame_has_the_same_bits_whoever_is_asked_for_with_it(part: slice) -> None:
    face = posed(70)
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
