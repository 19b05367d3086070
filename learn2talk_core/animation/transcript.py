"""When each phoneme of a known text is spoken: forced alignment of a transcript with its sound.

The text is spoken by eSpeak, whose phoneme times are exact, and its speech is warped onto the recording by dynamic time
warping of cepstra (Sakoe and Chiba 1978, IEEE Trans. ASSP 26; the method of Malfrère and Dutoit 1997, Eurospeech). With
a phoneme recogniser, `evaluation/speech_recognition.py` aligns instead. `Aligner` is what `animate` needs of either.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from learn2talk_core.audio.mfcc import mfcc
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.datasets.embedded.speech import synthesise
from learn2talk_core.datasets.embedded.voices import espeak_voices
from learn2talk_core.run.errors import BadInput

Aligner = Callable[[np.ndarray, str], tuple[Phoneme, ...]]  # a wave (samples,) at 16 kHz and its text
STEP = 2  # columns of the cepstra, 10 ms each
LONGEST, MOST_CHARACTERS = 90.0, 3000  # seconds, of text
FITS, LOW = 0.68, 8  # largest cost of the best path over the mean cost of all pairs, in the lowest cepstra
SPEED = 2.5  # largest ratio of the lengths of recording and synthetic speech
QUIET, MARGIN = 32.0, 480  # dB below the loud parts that is silence at the ends; samples of it that are kept
STEPS = np.array([(1, 1), (2, 1), (1, 2), (3, 1), (1, 3)])  # Sakoe and Chiba's slope constraint


def align_by_voice(wave: np.ndarray, text: str) -> tuple[Phoneme, ...]:
    """Phonemes of `text` with their times in `wave`, by warping eSpeak's voice onto it.

    Raises:
        BadInput: the text does not fit the sound, or either is empty or too long; eSpeak is not installed.
    """
    spoken, phonemes = spoken_text(wave, text)
    (first, last), (start, end) = _speech(wave), _speech(spoken)
    ours, theirs = _cepstra(wave[first:last]), _cepstra(spoken[start:end])
    cost = None
    if 1 / SPEED < len(ours) / len(theirs) < SPEED:
        cost = warp(_normal(ours[:, :LOW]), _normal(theirs[:, :LOW]))[0]
    if cost is None or cost > FITS:
        raise not_said(wave)
    _, path = warp(*(_normal(np.concatenate([some, 2 * np.gradient(some, axis=0)], axis=1)) for some in (ours, theirs)))
    column = STEP * 0.01

    def moved(time: float) -> float:
        at = np.interp(time - start / SAMPLE_RATE, path[:, 1] * column, path[:, 0] * column)
        return float(np.clip(at + first / SAMPLE_RATE, 0, len(wave) / SAMPLE_RATE))

    placed = [Phoneme(round(moved(p.start), 4), round(moved(p.end), 4), p.name) for p in phonemes]
    return tuple(p for p in placed if p.end > p.start)


def spoken_text(wave: np.ndarray, text: str) -> tuple[np.ndarray, tuple[Phoneme, ...]]:
    """The text of `wave` in a synthetic voice: its samples and phonemes, whose names are also what a recogniser aligns.

    Raises:
        BadInput: text or wave is empty or too long; eSpeak is not installed.
    """
    seconds = len(wave) / SAMPLE_RATE
    if not text.strip() or len(text) > MOST_CHARACTERS or seconds > LONGEST:
        found = f"{len(text)} characters and {seconds:.1f} s"
        expected = f"text of 1 … {MOST_CHARACTERS} characters, and up to {LONGEST:g} s of sound"
        raise BadInput("the transcript", expected=expected, found=found, fix="Cut the sound into sentences.")
    ((spoken, phonemes),) = synthesise(espeak_voices(1, 0)[0], [" ".join(text.split())])
    if not phonemes:
        raise BadInput("the transcript", expected="words", found=text[:60], fix="Give what is said, in English.")
    return spoken, phonemes


def not_said(wave: np.ndarray) -> BadInput:
    """The error for a text that is not that of the sound."""
    found = f"{len(wave) / SAMPLE_RATE:.1f} s of sound that do not sound like it"
    return BadInput("the transcript", expected="what is said in the sound", found=found, fix="Correct the text.")


def text_beside(sound: str | Path) -> str | None:
    """The content of the `.txt` of the same name beside a sound, if there is one."""
    path = Path(sound).with_suffix(".txt")
    return read_text(path) if path.is_file() and path != Path(sound) else None


def read_text(path: str | Path) -> str:
    """Read a transcript."""
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or "bytes that are not text"
        raise BadInput(path, expected="a transcript as text", found=found, fix="Save it as UTF-8.") from error


def _speech(wave: np.ndarray) -> tuple[int, int]:
    """First and last sample of the speech, without the silence at both ends."""
    power = np.convolve(wave.astype(np.float64) ** 2, np.full(320, 1 / 320), "same")
    level = 10 * np.log10(np.maximum(power, 1e-12))
    loud = np.flatnonzero(level > np.quantile(level, 0.95) - QUIET)
    return max(int(loud[0]) - MARGIN, 0), min(int(loud[-1]) + MARGIN, len(wave))


def _cepstra(wave: np.ndarray) -> np.ndarray:
    return mfcc(wave.astype(np.float64) * 32768)[::STEP]


def _normal(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)


def warp(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, np.ndarray]:
    """Dynamic time warping of (n, d) onto (m, d), neither more than 2.5 times as long as the other.

    Returns:
        The cost per row of the best path, over the mean distance of all pairs of rows; and the path, (k, 2) rows.
    """
    squares = np.square(ours).sum(axis=1)[:, None] + np.square(theirs).sum(axis=1) - 2 * ours @ theirs.T
    distance = np.sqrt(np.maximum(squares, 0))
    total, ways = _costs(distance, STEPS)
    row, column = len(ours) - 1, len(theirs) - 1
    path = [(row, column)]
    while row > 0 and column > 0:
        down, left = STEPS[ways[row, column]]
        row, column = row - int(down), column - int(left)
        path.append((row, column))
    return float(total[-1, -1] / (len(ours) + len(theirs)) / distance.mean()), np.array(path[::-1])


@njit(cache=True, nogil=True)
def _costs(distance, steps):  # type: ignore[no-untyped-def]
    """Cost of the best path to each pair, and its last step. A step pays for all pairs that it passes, a diagonal one
    twice, so that every path from corner to corner pays for as many pairs."""
    rows, columns = distance.shape
    total, ways = np.full((rows, columns), np.inf), np.zeros((rows, columns), np.int8)
    total[0, 0] = distance[0, 0]
    for i in range(1, rows):
        for j in range(1, columns):
            for way in range(len(steps)):
                down, left = steps[way]
                if i < down or j < left:
                    continue
                cost = total[i - down, j - left] + 2 * distance[i - down + 1, j - left + 1]
                for k in range(2, down + 1):
                    cost += distance[i - down + k, j]
                for k in range(2, left + 1):
                    cost += distance[i, j - left + k]
                if cost < total[i, j]:
                    total[i, j], ways[i, j] = cost, way
    return total, ways
