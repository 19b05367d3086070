import math

import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import PHONEMES, Phoneme
from learn2talk_core.datasets.embedded.articulation import GRID, PARAMETERS, REST, _gestures, articulate

SAID = [Phoneme(0.3, 0.4, "B"), Phoneme(0.4, 0.55, "AA"), Phoneme(0.55, 0.62, "M"), Phoneme(0.62, 0.8, "OW")]


def column(name: str) -> int:
    return PARAMETERS.index(name)


def test_dominance_functions_against_the_formula_in_a_loop() -> None:
    frames, fps = 33, 30
    track = articulate(SAID, frames, fps, coarticulation=1.2)

    def blend(time: float, p: int) -> float:
        """F_p(t) = Σ D T / Σ D, D = α exp(-θ |τ|), with a weak rest everywhere."""
        numerator, denominator = 1e-3 * REST.get(PARAMETERS[p], 0.0), 1e-3
        for g in _gestures(SAID, frames / fps):
            tau = g.start - time if time < g.start else time - g.end if time > g.end else 0.0
            dominance = g.strength[p] * math.exp(-tau / (g.seconds * 1.2))
            numerator, denominator = numerator + dominance * g.target[p], denominator + dominance
        return numerator / denominator

    for frame in (0, 9, 13, 17, 25, 32):
        for p in range(len(PARAMETERS)):
            near = [max(0, min(frame / fps + shift / GRID, frames / fps)) for shift in (-2, -1, 0, 1, 2)]
            expected = np.average([blend(time, p) for time in near], weights=[1, 2, 3, 2, 1])
            assert track[frame, p] == pytest.approx(expected, abs=1e-6)


def test_the_track_does_not_depend_on_the_frame_rate() -> None:
    at30, at25 = articulate(SAID, 30, 30), articulate(SAID, 25, 25)
    np.testing.assert_allclose(at30[::6], at25[::5], atol=1e-12)


@pytest.mark.parametrize("name", ["P", "B", "M"])
@pytest.mark.parametrize("vowel", ["AA", "UW", "IY"])
def test_bilabials_close_whatever_surrounds_them(name: str, vowel: str) -> None:
    said = [Phoneme(0.3, 0.42, vowel), Phoneme(0.42, 0.48, name), Phoneme(0.48, 0.6, vowel)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        track = articulate(said, 120, 120, coarticulation=1.25, variation=1.0, rng=rng)
        assert track[48:58, column("seal")].max() > 0.9


def test_every_phoneme_is_articulated_and_vowels_open_the_jaw() -> None:
    jaw = {}
    for name in PHONEMES:
        track = articulate([Phoneme(0.4, 0.6, name)], 30, 30)
        assert np.isfinite(track).all()
        jaw[name] = track[15, column("jaw")]
    assert jaw["AA"] > jaw["EH"] > jaw["IY"] > jaw["P"]


def test_silence_is_rest() -> None:
    track = articulate([], 30, 30, variation=1.0, rng=np.random.default_rng(0))
    assert np.abs(track).max() < 0.05


@pytest.mark.parametrize("fps", [25, 30])
@pytest.mark.parametrize("vowel", ["AA", "UW", "IY"])
def test_a_closure_shorter_than_a_frame_is_seen_whenever_it_happens(fps: int, vowel: str) -> None:
    for phase in np.linspace(0, 1 / fps, 7):
        at = 0.4 + phase
        said = [Phoneme(0.3, at, vowel), Phoneme(at, at + 0.025, "B"), Phoneme(at + 0.025, 0.55, vowel)]
        for coarticulation in (0.8, 1.25):
            seal = articulate(said, fps, fps, coarticulation=coarticulation)[:, column("seal")]
            assert seal.max() > 0.85
            assert seal[round(0.33 * fps)] < 0.3  # and the vowel before is open


def test_a_vowel_of_natural_length_opens_between_closures() -> None:
    said = [Phoneme(0.3, 0.36, "M"), Phoneme(0.36, 0.44, "AA"), Phoneme(0.44, 0.5, "P")]
    track = articulate(said, 120, 120)
    assert track[44:53, column("seal")].min() < 0.4
    assert track[44:53, column("jaw")].max() > 0.4
