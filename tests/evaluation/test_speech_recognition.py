"""Recognition and alignment with a recogniser whose outputs are given."""

import importlib.util
from itertools import pairwise

import numpy as np
import pytest

from learn2talk_core.animation.transcript import spoken_text
from learn2talk_core.corpus.phonemes import PHONEMES, Phoneme
from learn2talk_core.evaluation import speech_recognition
from learn2talk_core.evaluation.speech_recognition import align, recognise, text_aligner
from learn2talk_core.run.errors import BadInput
from learn2talk_core.statistics.recognition import ctc_greedy


class Heard:
    """A recogniser that hears the classes `said`, one per feature; CTC has a spike at the first frame of each."""

    rate = 50.0

    def __init__(self, said: np.ndarray) -> None:
        self.said = said
        self.head = type("Head", (), {"phonemes": PHONEMES})

    def posteriors(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.diff(self.said, prepend=0) != 0
        ctc, frame = (np.full((len(self.said), 40), np.log(0.1 / 39)) for _ in range(2))
        ctc[np.arange(len(self.said)), np.where(first, self.said, 0)] = np.log(0.9)
        frame[np.arange(len(self.said)), self.said] = np.log(0.9)
        return ctc, frame


def heard(*runs: tuple[str, int]) -> Heard:
    names = ("", *PHONEMES)
    return Heard(np.concatenate([np.full(count, names.index(name)) for name, count in runs]))


def wave_of(model: Heard) -> np.ndarray:
    return np.zeros(320 * len(model.said), np.float32)


def test_phonemes_with_times() -> None:
    model = heard(("", 5), ("B", 3), ("AA", 7), ("B", 2), ("", 4))
    expected = [Phoneme(0.09, 0.15, "B"), Phoneme(0.15, 0.29, "AA"), Phoneme(0.29, 0.33, "B")]
    found = recognise(model, wave_of(model))
    assert [p.name for p in found] == ["B", "AA", "B"]
    for one, other in zip(found, expected, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end))
    assert align(model, wave_of(model), ["B", "AA", "B"]) == found
    # a phoneme that was not spoken gets the least time
    more = align(model, wave_of(model), ["B", "AA", "T", "B"])
    assert more[2].end - more[2].start == pytest.approx(0.02)


def test_silence_has_no_phonemes() -> None:
    model = heard(("", 10))
    assert recognise(model, wave_of(model)) == []
    assert align(model, wave_of(model), []) == []


def test_times_do_not_leave_the_sound() -> None:
    model = heard(("S", 4))
    [only] = recognise(model, wave_of(model)[:1000])
    assert (only.start, only.end) == (0.0, 0.0625)


@pytest.mark.parametrize("block", [3, 10, 50])
def test_long_sounds_are_aligned_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(block)
    runs = [
        (name, int(count)) for name, count in zip(rng.choice(("", *PHONEMES), 60), rng.integers(1, 30, 60), strict=True)
    ]
    runs = [run for k, run in enumerate(runs) if k == 0 or run[0] != runs[k - 1][0]]
    model = heard(*runs)
    whole = recognise(model, wave_of(model))
    assert [1 + PHONEMES.index(p.name) for p in whole] == ctc_greedy(model.posteriors(wave_of(model))[0])
    monkeypatch.setattr(speech_recognition, "BLOCK", block)
    parts = recognise(model, wave_of(model))
    assert [p.name for p in parts] == [p.name for p in whole]
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(parts))


def test_what_cannot_be_aligned_is_refused() -> None:
    model = heard(("B", 3))
    with pytest.raises(BadInput, match=r"align: expected ARPAbet phonemes, found 'AA1'\. Use AA, AE"):
        align(model, wave_of(model), ["AA1"])
    with pytest.raises(BadInput, match=r"align: expected at most 3 phonemes in 0.06 s, found 4"):
        align(model, wave_of(model), ["B"] * 4)


@pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak is not installed")
def test_a_text_is_aligned_by_what_the_recogniser_hears_and_another_is_refused() -> None:
    text, other = "My father bought a big blue boat.", "Please keep the old photographs above the stove."
    names = [p.name for p in spoken_text(np.zeros(16000, np.float32), text)[1]]
    model = heard(("", 5), *((name, 3 + number % 4) for number, name in enumerate(names)), ("", 6))
    aligner = text_aligner(lambda: model)
    found = aligner(wave_of(model), text)
    assert [p.name for p in found] == names
    starts = 5 + np.cumsum([0, *(3 + number % 4 for number in range(len(names) - 1))])
    assert [p.start for p in found] == pytest.approx(((starts - 0.5) / 50).tolist())
    with pytest.raises(BadInput, match=r"the transcript: expected what is said in the sound, found \d\.\d s of sound"):
        aligner(wave_of(model), other)
