import importlib.util

import numpy as np
import pytest

from learn2talk_core.animation.transcript import STEPS, _costs, align_by_voice, text_beside, warp
from learn2talk_core.datasets.embedded.speech import synthesise
from learn2talk_core.datasets.embedded.voices import espeak_voices
from learn2talk_core.run.errors import BadInput

TEXTS = ["My father bought a big blue boat in the harbour.", "Please keep the old photographs above the stove."]
needs_espeak = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak is not installed")


def slow_costs(distance):
    """The best cost by trying all steps, from the definition of a path."""
    best = {(0, 0): distance[0, 0]}
    for i in range(len(distance)):
        for j in range(len(distance[0])):
            for down, left in STEPS.tolist():
                if (i - down, j - left) not in best:
                    continue
                passed = [(i - down + k, j) for k in range(2, down + 1)] + [
                    (i, j - left + k) for k in range(2, left + 1)
                ]
                cost = best[i - down, j - left] + 2 * distance[i - down + 1, j - left + 1]
                cost += sum(distance[pair] for pair in passed)
                best[i, j] = min(best.get((i, j), np.inf), cost)
    return best


def test_the_cheapest_path_is_found():
    distance = np.random.default_rng(0).random((9, 7))
    total, _ = _costs(distance, STEPS)
    for pair, cost in slow_costs(distance).items():
        assert total[pair] == pytest.approx(cost)
    assert np.isinf(total[8, 1]), "too steep"


def test_a_stretched_copy_is_warped_back():
    rng = np.random.default_rng(0)
    theirs = np.cumsum(rng.normal(size=(60, 4)), axis=0)
    place = np.interp(np.arange(90), [0, 40, 89], [0, 35, 59])
    ours = np.stack([np.interp(place, np.arange(60), column) for column in theirs.T], axis=1)
    cost, path = warp(ours, theirs)
    assert cost < 0.15
    assert np.abs(np.interp(np.arange(90), path[:, 0], path[:, 1]) - place).max() < 3


@needs_espeak
def test_phonemes_of_another_voice_are_found_and_a_wrong_text_is_refused():
    """A voice of the other sex and another speed, with a second of silence before it: known times."""
    ((wave, truth),) = synthesise(espeak_voices(8, 3)[5], TEXTS[:1])
    wave = np.concatenate([np.random.default_rng(0).normal(0, 4e-4, 16000).astype(np.float32), wave])
    found = align_by_voice(wave, TEXTS[0])
    names, expected = [p.name for p in found], [p.name for p in truth]
    same = [(a, b) for a, b in zip(found, truth, strict=False) if a.name == b.name]
    assert len(same) > 0.9 * len(expected), (names, expected)
    errors = np.array([a.start - (b.start + 1) for a, b in same])
    assert np.median(np.abs(errors)) < 0.04
    assert all(p.start < p.end for p in found)
    with pytest.raises(
        BadInput, match=r"the transcript: expected what is said in the sound, found \d\.\d s of sound that"
    ):
        align_by_voice(wave, TEXTS[1])


@pytest.mark.parametrize(("text", "seconds"), [("  ", 1), ("a" * 4000, 1), ("words", 100)])
def test_what_cannot_be_aligned(text, seconds):
    with pytest.raises(
        BadInput, match=r"the transcript: expected text of 1 … 3000 characters, and up to 90 s of sound"
    ):
        align_by_voice(np.zeros(16000 * seconds, np.float32), text)


def test_the_text_lies_beside_the_sound(tmp_path):
    assert text_beside(tmp_path / "a.wav") is None
    (tmp_path / "a.txt").write_text("what is said", encoding="utf-8")
    assert text_beside(tmp_path / "a.wav") == "what is said"
    (tmp_path / "a.txt").write_bytes(b"\xff\xff")
    with pytest.raises(BadInput, match=r"a\.txt: expected a transcript as text, found bytes that are not text"):
        text_beside(tmp_path / "a.wav")
