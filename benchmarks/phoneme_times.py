"""Phoneme times against forced alignment by PocketSphinx: python -m benchmarks.phoneme_times [FILE] [--clips N]

FILE is a file of speech, by default the packaged one. The aligner gets our phonemes without their times; the beginnings
of the same phonemes are compared. It needs the package pocketsphinx, which contains an acoustic model of American
English. Kokoro's durations are multiples of 25 ms, the aligner's times of 10 ms, so that some 7 ms are rounding.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from learn2talk_core.audio.waveform import to_int16
from learn2talk_core.corpus.phonemes import BILABIALS, VOWELS, Phoneme
from learn2talk_core.datasets.embedded.packaged import PACKAGED
from learn2talk_core.datasets.embedded.utterances import Utterance, read_utterances

FRAME = 0.01  # seconds
PAUSE = 0.03  # seconds; the aligner may put silence between phonemes that are further apart
CLASSES = {"all": None, "p b m": BILABIALS, "vowels": VOWELS}


def main(file: str, clips: int) -> None:
    spoken = read_utterances(file, made_by="python -m scripts.make_speech")
    chosen = [spoken[i] for i in np.linspace(0, len(spoken) - 1, min(clips, len(spoken))).round().astype(int)]
    pairs = [pair for one in chosen if (found := aligned(one)) for pair in zip(one.phonemes, found, strict=True)]
    print(f"{len(pairs)} phonemes of {len(chosen)} clips. The aligner's beginning minus ours, in ms:\n")
    print("| phonemes | number | median | median absolute | 90 % within |\n|---|---|---|---|---|")
    for title, names in CLASSES.items():
        late = np.array([1000 * (theirs - ours.start) for ours, theirs in pairs if names is None or ours.name in names])
        away = np.abs(late)
        print(f"| {title} | {len(late)} | {np.median(late):.1f} | {np.median(away):.1f} | {np.quantile(away, 0.9):.0f} |")


def aligned(spoken: Utterance) -> list[float]:
    """The aligner's beginning of each phoneme in seconds; empty if it finds no alignment."""
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
    phones = [phone for word in decoder.get_alignment() for phone in word if phone.name[0].isalpha()]
    starts = [phone.start * FRAME for phone in phones if phone.name != "SIL"]
    return starts if len(starts) == len(spoken.phonemes) else []


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
