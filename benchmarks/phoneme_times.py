"""Phoneme times against forced alignment by PocketSphinx: python -m benchmarks.phoneme_times [FILE] [--clips N]

FILE is a file of speech, by default the packaged one. The aligner gets our phonemes without their times; beginnings and
middles of the same phonemes are compared. It needs the package pocketsphinx, which contains an acoustic model of
American English. Kokoro's durations are multiples of 25 ms and the aligner's times of 10 ms: at a beginning, 6 ms are
rounding. And the aligner counts the breath after a stop as a part of the stop, so that its vowels begin later.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from learn2talk_core.audio.waveform import to_int16
from learn2talk_core.corpus.phonemes import BILABIALS, PHONEMES, VOWELS, Phoneme
from learn2talk_core.datasets.embedded.packaged import PACKAGED
from learn2talk_core.datasets.embedded.utterances import Utterance, read_utterances

FRAME = 0.01  # seconds
PAUSE = 0.03  # seconds; the aligner may put silence between phonemes that are further apart
CLASSES = {"all": None, "p b m": BILABIALS, "vowels": VOWELS}


def main(file: str, clips: int) -> None:
    spoken = read_utterances(file, made_by="python -m scripts.make_speech")
    chosen = [spoken[i] for i in np.linspace(0, len(spoken) - 1, min(clips, len(spoken))).round().astype(int)]
    pairs = [pair for one in chosen if (found := aligned(one)) for pair in zip(one.phonemes, found, strict=True)]
    print(f"{len(pairs)} phonemes of {len(chosen)} clips. The aligner's time minus ours, in ms:\n")
    print("| | phonemes | median | median absolute | 90 % within |\n|---|---|---|---|---|")
    for title, names in CLASSES.items():
        of_class = [pair for pair in pairs if names is None or pair[0].name in names]
        edges = np.array([[ours.start, ours.end, theirs.start, theirs.end] for ours, theirs in of_class])
        row(f"middle, {title}", 500 * (edges[:, 2] + edges[:, 3] - edges[:, 0] - edges[:, 1]))
        row(f"beginning, {title}", 1000 * (edges[:, 2] - edges[:, 0]))


def row(title: str, late: np.ndarray) -> None:
    away = np.abs(late)
    print(f"| {title} | {len(late)} | {np.median(late):.1f} | {np.median(away):.1f} | {np.quantile(away, 0.9):.0f} |")


def aligned(spoken: Utterance) -> list[Phoneme]:
    """The same phonemes with the aligner's times; empty if it finds no alignment."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16_000, loglevel="FATAL", bestpath=False)
    groups = _between_pauses(spoken.phonemes)
    for number, group in enumerate(groups):  # as words, since silence is allowed between words only
        decoder.add_word(f"part{number}", " ".join(p.name for p in group), True)
    decoder.set_align_text(" ".join(f"part{number}" for number in range(len(groups))))
    sound = to_int16(spoken.wave()).tobytes()
    _hear(decoder, sound)
    if not decoder.hyp():
        return []
    decoder.set_alignment()  # a second pass, which divides the words into phonemes
    _hear(decoder, sound)
    found = [phone for word in decoder.get_alignment() for phone in word]
    phones = [Phoneme(p.start * FRAME, (p.start + p.duration) * FRAME, p.name) for p in found if p.name in PHONEMES]
    return phones if len(phones) == len(spoken.phonemes) else []


def _hear(decoder: Any, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _between_pauses(phonemes: Sequence[Phoneme]) -> list[list[Phoneme]]:
    groups: list[list[Phoneme]] = []
    for phoneme in phonemes:
        if not groups or phoneme.start - groups[-1][-1].end > PAUSE:
            groups.append([])
        groups[-1].append(phoneme)
    return groups


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", default=str(PACKAGED), metavar="FILE")
    parser.add_argument("--clips", type=int, default=100, help="default: %(default)s")
    main(**vars(parser.parse_args()))
