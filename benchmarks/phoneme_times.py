"""Phoneme times against forced alignment by PocketSphinx: python -m benchmarks.phoneme_times [FILE] [--clips N]

FILE is a file of speech, by default the packaged one. The aligner is given our phonemes, without times, and finds its
own; the starts of the phonemes are compared. It needs the package pocketsphinx, which contains an acoustic model of
American English. Both times are quantised: ours to 25 ms of Kokoro's speech, the aligner's to 10 ms.
"""

import argparse
from itertools import pairwise
from typing import Any

import numpy as np

from learn2talk_core.audio.waveform import to_int16
from learn2talk_core.corpus.phonemes import BILABIALS, Phoneme
from learn2talk_core.datasets.embedded.packaged import PACKAGED
from learn2talk_core.datasets.embedded.utterances import Utterance, read_utterances

FRAME = 0.01  # seconds
PAUSE = 0.03  # seconds between phonemes; the aligner may put silence there


def main(file: str, clips: int) -> None:
    spoken = read_utterances(file, made_by="python -m scripts.make_speech")
    chosen = spoken[:: max(1, len(spoken) // clips)][:clips]
    found = [pair for one in chosen for pair in zip(one.phonemes, aligned(one), strict=False)]
    late = np.array([theirs.start - ours.start for ours, theirs in found])
    lips = np.array([ours.name in BILABIALS for ours, _ in found])
    print(f"{len(late)} phonemes of {len(chosen)} clips; the aligner's start minus ours, in ms")
    for name, part in (("all", late), ("p b m", late[lips])):
        offset = float(np.median(part))
        away = np.abs(part - offset)
        print(
            f"{name}: median {1000 * offset:.1f}, median absolute difference {1000 * np.median(np.abs(part)):.1f}, "
            f"around the median {1000 * np.median(away):.1f}, 90 % within {1000 * np.quantile(np.abs(part), 0.9):.0f}"
        )


def aligned(spoken: Utterance) -> list[Phoneme]:
    """The aligner's times of the same phonemes; empty if it finds no alignment."""
    from pocketsphinx import Decoder

    decoder: Any = Decoder(samprate=16_000, loglevel="FATAL", bestpath=False)
    words = []
    for number, part in enumerate(_groups(spoken.phonemes)):
        words.append(f"part{number}")
        decoder.add_word(words[-1], " ".join(p.name for p in part), number == len(words) - 1)
    sound = to_int16(spoken.wave()).tobytes()
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, sound)
        decoder.set_alignment()
        _decode(decoder, sound)
        phones = [phone for word in decoder.get_alignment() for phone in word if phone.name in _NAMES]
    except RuntimeError:
        return []
    return [Phoneme(p.start * FRAME, (p.start + p.duration) * FRAME, p.name) for p in phones]
