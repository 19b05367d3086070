import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.datasets.embedded.face_motion import loudness, move_face, wander
from learn2talk_core.datasets.embedded.speakers import make_speakers
from learn2talk_core.mesh.topology import lip_gap

SAID = (Phoneme(0.3, 0.45, "AA"), Phoneme(0.45, 0.55, "B"), Phoneme(0.55, 0.7, "AA"), Phoneme(0.7, 0.8, "F"))
WAVE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


def move(seed: int = 0, *, fps: float = 30, variation: float = 1.0, speaker: int = 0) -> np.ndarray:
    return move_face(make_speakers(speaker + 1, 0)[-1], WAVE, SAID, fps, variation, np.random.default_rng(seed))


@pytest.mark.parametrize("fps", [25, 30])
def test_shape_and_repeatability(fps: float) -> None:
    coefficients = move(fps=fps)
    assert coefficients.shape == (fps, len(load_face().basis))
    assert coefficients.dtype == np.float32
    np.testing.assert_array_equal(coefficients, move(fps=fps))


@pytest.mark.parametrize("speaker", range(6))
def test_lips_close_at_b_and_open_at_aa(speaker: int) -> None:
    face = load_face()
    template = face.identity(make_speakers(speaker + 1, 0)[-1])
    gap = lip_gap(face.vertices(template, move(speaker=speaker)), face.lip_pairs)
    assert gap[14:17].max(axis=1).min() < 3e-4
    assert gap[10:13].mean() > 0.003
    assert gap[22:25].mean(axis=1).min() < gap[10:13].mean() / 2


def test_without_variation_the_mouth_follows_from_the_sound() -> None:
    mouth = [i for i, name in enumerate(load_face().unit) if name.startswith(("mouth", "jaw", "tongue"))]
    np.testing.assert_array_equal(move(0, variation=0)[:, mouth], move(1, variation=0)[:, mouth])
    assert np.abs(move(0)[:, mouth] - move(1)[:, mouth]).max() > 0.01


def test_eyes_blink_whatever_is_said() -> None:
    blink = list(load_face().unit).index("eyeBlinkLeft")
    assert max(move(seed)[:, blink].max() for seed in range(10)) > 0.8


def test_loudness_of_a_tone() -> None:
    tone = 0.1 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)
    level = 10 * np.log10(0.1**2 / 2)  # dB of full scale
    np.testing.assert_allclose(loudness(tone, 30, 30)[2:-2], (level + 50) / 40, atol=0.01)
    assert loudness(np.zeros(16_000), 30, 30).max() == 0


def test_wander_has_the_asked_deviation_and_memory() -> None:
    noise = wander(np.random.default_rng(0), 60_000, 30, seconds=0.5, deviation=0.2)
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    assert np.corrcoef(noise[15:], noise[:-15])[0, 1] == pytest.approx(np.exp(-1), abs=0.03)
