"""Speech of the embedded corpora: eSpeak's waves at 16 kHz, with corrected phoneme times."""

import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE, resample
from learn2talk_core.corpus.phonemes import VOWELS, Phoneme, from_espeak
from learn2talk_core.datasets.embedded import espeak
from learn2talk_core.datasets.embedded.speakers import Speaker
from learn2talk_core.run.errors import BadInput

PEAK = 0.5
ROOM_NOISE = 4e-4
PADDING = 0.2  # seconds; clips last a multiple of it, which is a whole number of frames at 25 and at 30 fps
MAX_CLOSURE = 0.09  # seconds
MAX_TRANSITION = 0.020  # seconds
_STOPS = {"P", "T", "K", "CH", "B", "D", "G", "JH"}
_SONORANTS = {"M", "N", "NG", "L", "R"}


@dataclass(frozen=True)
class _Sound:
    """One phoneme of eSpeak, in samples; `names` are its ARPAbet phonemes, none for a pause."""

    start: int
    end: int
    names: tuple[str, ...]


def synthesise(speaker: Speaker, texts: Sequence[str]) -> list[tuple[np.ndarray, tuple[Phoneme, ...]]]:
    """Synthesise `texts` in one fresh process: the same speaker and texts give the same samples.

    Returns:
        For each text, the wave (samples,) float32 at 16 kHz, with silence at both ends and a little room noise; and its
        phonemes, in seconds from the start of the wave. Pauses are covered by no phoneme.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise BadInput(
            "the embedded corpus",
            expected="the optional package espeakng-loader",
            found="no such package",
            fix="Install it: pip install 'learn2talk[embedded]'.",
        )
    request = {
        "voice": speaker.voice,
        "pitch": speaker.pitch,
        "pitch_range": speaker.pitch_range,
        "rate": speaker.rate,
        "seed": speaker.seed,
        "texts": list(texts),
    }
    program = [sys.executable, "-P", espeak.__file__]
    answer = subprocess.run(program, input=json.dumps(request).encode(), capture_output=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"eSpeak failed for {speaker.id}: {answer.stderr.decode(errors='replace').strip()}")
    with np.load(io.BytesIO(answer.stdout), allow_pickle=False) as arrays:
        rate = int(arrays["rate"])
        spoken = []
        for i in range(len(texts)):
            wave, starts, names = arrays[f"wave_{i}"], arrays[f"start_{i}"].tolist(), arrays[f"name_{i}"].tolist()
            ends = [*starts[1:], len(wave)]
            sounds = [_Sound(s, e, from_espeak(n)) for s, e, n in zip(starts, ends, names, strict=True)]
            rng = np.random.default_rng([speaker.seed, i])
            spoken.append(_clip(wave, corrected(sounds, wave, rate), rate, rng))
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


def _clip(
    wave: np.ndarray, sounds: Sequence[_Sound], rate: int, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[Phoneme, ...]]:
    speech = resample(wave.astype(np.float32) / 32768, rate)
    before, after = rng.uniform(0.18, 0.32), rng.uniform(0.22, 0.36)
    length = before + len(speech) / SAMPLE_RATE + after
    clip = np.zeros(round(np.ceil(length / PADDING) * PADDING * SAMPLE_RATE), np.float32)
    first = round(before * SAMPLE_RATE)
    clip[first : first + len(speech)] = speech * (PEAK / max(float(np.abs(speech).max(initial=0)), 1e-6))
    clip += rng.normal(0, ROOM_NOISE, len(clip)).astype(np.float32)
    phonemes: list[Phoneme] = []
    for sound in sounds:
        edges = np.linspace(sound.start, sound.end, len(sound.names) + 1) / rate + first / SAMPLE_RATE
        for name, start, end in zip(sound.names, edges[:-1], edges[1:], strict=True):
            if phonemes and phonemes[-1].name == name and abs(phonemes[-1].end - start) < 1e-3:  # "AA R" and then "R"
                phonemes[-1] = replace(phonemes[-1], end=round(float(end), 4))
            elif end > start:
                phonemes.append(Phoneme(round(float(start), 4), round(float(end), 4), name))
    return clip, tuple(phonemes)
