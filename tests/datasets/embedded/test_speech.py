import importlib.util
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.datasets.embedded import speech
from learn2talk_core.datasets.embedded.speech import _Sound, corrected, synthesise
from learn2talk_core.datasets.embedded.voices import espeak_voices
from learn2talk_core.run.errors import BadInput

RATE = 22_050


def test_a_stop_begins_with_its_silent_closure() -> None:
    wave = np.full(10_000, 1000, np.int16)
    wave[4000:5000] = 3  # the closure, which eSpeak assigns to the vowel before
    sounds = [_Sound(0, 5000, ("AA",)), _Sound(5000, 6000, ("P",)), _Sound(6000, 9000, ("IY",))]
    assert [(s.start, s.end) for s in corrected(sounds, wave, RATE)] == [(0, 4000), (4000, 6000), (6000, 9000)]


def test_a_closure_takes_at_most_a_third_of_the_sound_before_and_90_ms() -> None:
    wave = np.zeros(20_000, np.int16)
    short = corrected([_Sound(0, 900, ("AA",)), _Sound(900, 2000, ("P",))], wave, RATE)
    assert short[1].start == 600
    long = corrected([_Sound(0, 12_000, ("AA",)), _Sound(12_000, 13_000, ("P",))], wave, RATE)
    assert long[1].start == 12_000 - int(0.09 * RATE)


def test_a_vowel_after_a_sonorant_begins_with_its_transition() -> None:
    wave = np.full(10_000, 1000, np.int16)
    sounds = [_Sound(0, 3000, ("M",)), _Sound(3000, 6000, ("IY",)), _Sound(6000, 9000, ("S",))]
    assert [(s.start, s.end) for s in corrected(sounds, wave, RATE)] == [(0, 2559), (2559, 6000), (6000, 9000)]


def test_speech_is_the_same_in_two_processes() -> None:
    voice = espeak_voices(1, 0)[0]
    texts = ["Bob may pop five fuzzy balloons.", "We choose blue shoes."]
    first, second = synthesise(voice, texts), synthesise(voice, texts)
    for (wave, phonemes), (wave_again, phonemes_again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(wave, wave_again)
        assert phonemes == phonemes_again


def test_what_is_spoken() -> None:
    [(wave, phonemes)] = synthesise(espeak_voices(1, 0)[0], ["Bob may pop."])
    assert wave.dtype == np.float32
    assert len(wave) % 3200 == 0
    assert 0.49 < np.abs(wave).max() < 0.51
    assert [p.name for p in phonemes] == ["B", "AA", "B", "M", "EY", "P", "AA", "P"]
    assert all(p.name in PHONEMES and p.start < p.end for p in phonemes)
    assert all(before.end <= after.start + 1e-9 for before, after in pairwise(phonemes))
    speech_level = np.sqrt(np.mean(wave[int(phonemes[0].start * 16000) : int(phonemes[-1].end * 16000)] ** 2))
    assert np.sqrt(np.mean(wave[: int(phonemes[0].start * 16000) - 800] ** 2)) < speech_level / 50


def test_espeak_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"optional package espeakng-loader, found no such package. Install it: pip"):
        synthesise(espeak_voices(1, 0)[0], ["Hello."])


def test_espeak_that_fails() -> None:
    voice = replace(espeak_voices(1, 0)[0], name="nobody")
    with pytest.raises(RuntimeError, match="eSpeak failed for S00: eSpeak has no voice 'nobody'"):
        synthesise(voice, ["Hello."])
    assert speech.PADDING * 25 % 1 == speech.PADDING * 30 % 1 == 0
