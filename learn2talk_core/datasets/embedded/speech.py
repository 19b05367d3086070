"""Speech of the embedded corpora at 16 kHz with phoneme times; here eSpeak's, in `natural_speech.py` Kokoro's."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE, resample
from learn2talk_core.corpus.phonemes import VOWELS, Phoneme, from_espeak
from learn2talk_core.datasets.embedded.espeak_process import run_espeak
from learn2talk_core.datasets.embedded.voices import EspeakVoice

PEAK = 0.5
ROOM_NOISE = 4e-4
PADDING = 0.2  # seconds; clips last a multiple of it, which is a whole number of frames at 25 and at 30 fps
MAX_CLOSURE = 0.09  # seconds
MAX_TRANSITION = 0.020  # seconds
_STOPS = {"P", "T", "K", "CH", "B", "D", "G", "JH"}
_SONORANTS = {"M", "N", "NG", "L", "R"}

Spoken = tuple[np.ndarray, tuple[Phoneme, ...]]  # wave (samples,) at 16 kHz; phonemes in seconds from its start


@dataclass(frozen=True)
class _Sound:
    """One phoneme of eSpeak, in samples; `names` are its ARPAbet phonemes, none for a pause."""

    start: int
    end: int
    names: tuple[str, ...]


def synthesise(voice: EspeakVoice, texts: Sequence[str]) -> list[Spoken]:
    """Speak `texts` with eSpeak, in one fresh process: the same voice and texts give the same samples.

    Returns:
        For each text, the wave, with silence at both ends and a little room noise, and its phonemes. Pauses are covered
        by no phoneme.
    """
    request = {
        "voice": voice.name,
        "pitch": voice.pitch,
        "pitch_range": voice.pitch_range,
        "rate": voice.rate,
        "seed": voice.seed,
        "texts": list(texts),
    }
    spoken = []
    with np.load(io.BytesIO(run_espeak(request, voice.id)), allow_pickle=False) as arrays:
        rate = int(arrays["rate"])
        for i in range(len(texts)):
            wave, starts, names = arrays[f"wave_{i}"], arrays[f"start_{i}"].tolist(), arrays[f"name_{i}"].tolist()
            ends = [*starts[1:], len(wave)]
            sounds = [_Sound(s, e, from_espeak(n)) for s, e, n in zip(starts, ends, names, strict=True)]
            phonemes = _phonemes(corrected(sounds, wave, rate), rate)
            rng = np.random.default_rng([voice.seed, i])
            spoken.append(clip_of(resample(wave.astype(np.float32) / 32768, rate), phonemes, rng))
    return spoken


def corrected(sounds: Sequence[_Sound], wave: np.ndarray, rate: int) -> list[_Sound]:
    """Correct two systematic errors of eSpeak's event times.

    A stop's event marks its release, and the silence of its closure is assigned to the phoneme before: the start is
    moved back over that silence. A vowel after m n ng l r is marked after its onset transition: its start is moved up
    to 20 ms earlier.
    """
    result = list(sounds)
    for i in range(1, len(result)):
        before, here = result[i - 1], result[i]
        length, start = before.end - before.start, here.start
        if here.names[:1] and here.names[0] in _STOPS:
            earliest = max(before.end - length // 3, before.end - int(MAX_CLOSURE * rate))
            if not before.names:  # a pause, which may be used up completely
                earliest = max(before.start, before.end - int(MAX_CLOSURE * rate))
            while start > earliest and abs(int(wave[start - 1])) <= 6:
                start -= 1
        elif here.names[:1] and here.names[0] in VOWELS and before.names[-1:] and before.names[-1] in _SONORANTS:
            start -= min(int(MAX_TRANSITION * rate), length // 3)
        result[i - 1], result[i] = replace(before, end=start), replace(here, start=start)
    return result


def _phonemes(sounds: Sequence[_Sound], rate: int) -> list[Phoneme]:
    """ARPAbet phonemes in seconds: the parts of a sound are equally long, and "AA R" and then "R" is one R."""
    phonemes: list[Phoneme] = []
    for sound in sounds:
        edges = np.linspace(sound.start, sound.end, len(sound.names) + 1) / rate
        for name, start, end in zip(sound.names, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if phonemes and phonemes[-1].name == name and abs(phonemes[-1].end - start) < 1e-3:
                phonemes[-1] = replace(phonemes[-1], end=end)
            elif end > start:
                phonemes.append(Phoneme(start, end, name))
    return phonemes


def clip_of(speech: np.ndarray, phonemes: Sequence[Phoneme], rng: np.random.Generator) -> Spoken:
    """Set the level, and add silence at both ends and room noise."""
    before, after = rng.uniform(0.18, 0.32), rng.uniform(0.22, 0.36)
    length = before + len(speech) / SAMPLE_RATE + after
    clip = np.zeros(round(np.ceil(length / PADDING) * PADDING * SAMPLE_RATE), np.float32)
    first = round(before * SAMPLE_RATE)
    clip[first : first + len(speech)] = speech * (PEAK / max(float(np.abs(speech).max(initial=0)), 1e-6))
    clip += rng.normal(0, ROOM_NOISE, len(clip)).astype(np.float32)
    return clip, later(phonemes, first / SAMPLE_RATE)


def later(phonemes: Sequence[Phoneme], seconds: float) -> tuple[Phoneme, ...]:
    """The same phonemes so many seconds later, rounded to 0.1 ms."""
    return tuple(Phoneme(round(p.start + seconds, 4), round(p.end + seconds, 4), p.name) for p in phonemes)
