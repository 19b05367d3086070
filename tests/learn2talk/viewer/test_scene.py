import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from learn2talk.viewer.scene import PIECE_BYTES, Motion, ViewerClip, as_wav, peaks
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.run.errors import BadInput
from tests.toy import sheet, topology

RNG = np.random.default_rng(3)


def motion(frames: int = 7, basis: bool = True) -> Motion:
    rows = RNG.normal(size=(frames, 2) if basis else (frames, 64, 3)).astype(np.float32)
    directions = RNG.normal(size=(2, 64, 3)).astype(np.float32) if basis else None
    rest = sheet() if basis else np.zeros((64, 3), np.float32)
    return Motion("a method", rows, directions, rest, topology(), 30.0, 1000.0)


def test_vertices_are_rest_and_states_times_basis() -> None:
    face = motion()
    assert face.basis is not None
    for t in (0, 6):
        expected = face.rest + sum(face.rows[t, k] * face.basis[k] for k in range(2))
        np.testing.assert_allclose(face.vertices(slice(t, t + 1))[0], expected, rtol=1e-5, atol=1e-6)


def test_states_go_to_the_browser_as_they_are() -> None:
    face = motion(frames=400_000)
    assert face.piece == PIECE_BYTES // 8
    assert len(face.packed(0)) == PIECE_BYTES
    last = np.frombuffer(face.packed(3), "<f4").reshape(-1, 2)
    np.testing.assert_array_equal(last, face.rows[3 * face.piece :])


def test_vertices_go_to_the_browser_within_half_a_step() -> None:
    face = motion(frames=6000, basis=False)
    assert face.piece == PIECE_BYTES // (2 * 192)
    packed = face.packed(2)
    assert len(packed) == 4 + 2 * 192 * len(face.rows[2 * face.piece :])
    step = np.frombuffer(packed[:4], "<f4")[0]
    part = face.rows[2 * face.piece :]
    assert step == pytest.approx(np.abs(part).max() / 32767)
    found = step * np.frombuffer(packed[4:], "<i2").reshape(part.shape)
    assert np.abs(found - part).max() <= 0.51 * step


def test_a_face_that_does_not_move_has_no_step_of_zero() -> None:
    face = replace(motion(basis=False), rows=np.zeros((2, 64, 3), np.float32))
    assert np.frombuffer(face.packed(0)[:4], "<f4")[0] > 0
    assert not np.frombuffer(face.packed(0)[4:], "<i2").any()


@pytest.mark.parametrize("basis", [True, False])
def test_opening_is_the_gap_of_the_lips(basis: bool) -> None:
    face = motion(basis=basis)
    expected = 1000 * lip_gap(face.vertices(), face.topology.lip_pairs).mean(axis=1)
    np.testing.assert_allclose(face.opening(), expected, rtol=1e-3, atol=1e-2)
    assert len(replace(face, topology=replace(topology(), lip_pairs=np.zeros((0, 2), np.int64))).opening()) == 0


def test_what_is_not_finite_is_refused_by_frame() -> None:
    face = motion(frames=3)
    face.rows[2, 1] = np.nan
    with pytest.raises(BadInput, match="a method, frame 2: expected finite positions, found NaN or infinity"):
        face.packed(0)


def test_sound_is_a_wav_file() -> None:
    wave = RNG.uniform(-1, 1, 1601)
    clip = ViewerClip("x", "y", (), as_wav(wave))
    found, rate = soundfile.read(io.BytesIO(clip.sound))
    assert rate == 16000
    np.testing.assert_allclose(found, wave, atol=2e-5)
    np.testing.assert_array_equal(clip.samples, np.round(32768 * found))
    assert clip.seconds == pytest.approx(1601 / 16000)


def test_peaks_hold_every_sample() -> None:
    samples = RNG.integers(-32768, 32767, 1003).astype(np.int16)
    found = peaks(samples, 10)
    assert found.shape == (10, 2)
    parts = np.split(samples, np.linspace(0, 1003, 11).astype(int)[1:-1])
    np.testing.assert_allclose(found, [[part.min() / 32768, part.max() / 32768] for part in parts])
    assert peaks(samples[:3], 10).shape == (3, 2)
    assert peaks(samples[:0]).shape == (0, 2)
