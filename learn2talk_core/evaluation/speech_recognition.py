"""What was spoken, and when: phonemes of a sound by CTC, and the times of known phonemes by forced alignment.

The recogniser has learnt from English only: speech in another language is written with the nearest English phonemes.
"""

from collections.abc import Callable, Sequence

import numpy as np

from learn2talk_core.animation.transcript import Aligner, not_said, spoken_text
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.models.phoneme_head import SpeechRecogniser
from learn2talk_core.run.errors import BadInput
from learn2talk_core.statistics.alignment import forced_alignment
from learn2talk_core.statistics.recognition import edit_distance

BLOCK = 1500  # features aligned at once, since the time of an alignment grows with the square of the length
MOST_WRONG = 0.6  # phoneme error rate of the right text; that of another sentence is about 0.8


def recognise(model: SpeechRecogniser, wave: np.ndarray) -> list[Phoneme]:
    """The phonemes that CTC finds (greedy) in a wave (samples,) of any length, with the times of their alignment."""
    ctc, frame = model.posteriors(wave)
    best = ctc.argmax(1)
    spikes = np.flatnonzero((best != 0) & (np.diff(best, prepend=0) != 0))
    found: list[Phoneme] = []
    start = 0
    while len(spikes):
        ours, spikes = spikes[spikes < start + BLOCK], spikes[spikes >= start + BLOCK]
        # cut half-way between the last token of this block and the first of the next
        before = int(ours[-1]) if len(ours) else start
        end = (before + int(spikes[0]) + 1) // 2 if len(spikes) else len(best)
        found += _timed(model, frame[start:end], [int(best[k]) for k in ours], start, len(wave))
        start = end
    return found


def align(model: SpeechRecogniser, wave: np.ndarray, names: Sequence[str]) -> list[Phoneme]:
    """The times of the known phonemes `names` (ARPAbet without stress) in a wave (samples,).

    Raises:
        BadInput: an unknown phoneme, or more phonemes than features.
    """
    known = model.head.phonemes
    unknown = [name for name in names if name not in known]
    if unknown:
        fix = f"Use {', '.join(known)}, without stress."
        raise BadInput("align", expected="ARPAbet phonemes", found=f"{unknown[0]!r}", fix=fix)
    _, frame = model.posteriors(wave)
    if len(names) > len(frame):
        expected = f"at most {len(frame)} phonemes in {len(wave) / SAMPLE_RATE:.2f} s"
        raise BadInput("align", expected=expected, found=f"{len(names)}", fix="Give the sound of this text.")
    return _timed(model, frame, [1 + known.index(name) for name in names], 0, len(wave))


def text_aligner(load: Callable[[], SpeechRecogniser]) -> Aligner:
    """What finds the phonemes of a text in its sound: eSpeak says which they are, the recogniser when they were spoken.

    Args:
        load: gives the recogniser; called at each text.
    """

    def align_by_recogniser(wave: np.ndarray, text: str) -> tuple[Phoneme, ...]:
        names = [phoneme.name for phoneme in spoken_text(wave, text)[1]]
        model = load()
        heard = [phoneme.name for phoneme in recognise(model, wave)]
        if edit_distance(names, heard) > MOST_WRONG * len(names):
            raise not_said(wave)
        return tuple(align(model, wave, names))

    return align_by_recogniser


def _timed(model: SpeechRecogniser, frame: np.ndarray, tokens: list[int], first: int, samples: int) -> list[Phoneme]:
    """`tokens` with their times; feature k lasts from half a feature before its time to half a feature after."""
    edges = (first + forced_alignment(frame, tokens) - 0.5) / model.rate
    spans = zip(tokens, edges.clip(0, samples / SAMPLE_RATE).tolist(), strict=True)
    return [Phoneme(start, end, model.head.phonemes[token - 1]) for token, (start, end) in spans]
