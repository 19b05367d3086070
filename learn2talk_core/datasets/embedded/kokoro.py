"""Natural speech with phoneme times from Kokoro-82M, a text-to-speech network (Apache-2.0) as an ONNX file.

Needed only to make speech, in no stage of the default pipeline. The folder of its files, which
`python -m scripts.fetch_kokoro` makes, contains

    model.onnx      the network: tokens and a style → wave
    vocab.json      {"vocab": {symbol: token}}
    voices/*.bin    a table of styles for each base voice, float32 (510, 256): row n - 1 is for n tokens

The network predicts how long each token lasts, in units of 25 ms, and makes that much sound. These durations are an
inner tensor of the graph, which is made an output here. They run 62.5 ms late; `benchmarks/phoneme_times.py` measures
it by forced alignment.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE, SILENCE_PEAK, resample
from learn2talk_core.corpus.phonemes import VOWELS, Phoneme
from learn2talk_core.datasets.embedded.spelling import ARPABET, LENGTH, PAUSES, STRESS
from learn2talk_core.run.errors import BadInput

RATE = 24_000
UNIT = 0.025  # seconds; 600 samples
LATE = 0.0625  # seconds by which the durations run late
LONGEST_GAP = 0.08  # seconds; a shorter space between words is no pause
STYLES = (510, 256)
DURATIONS = "/encoder/Clip_output_0"
GET_THEM = "Get Kokoro's files: python -m scripts.fetch_kokoro."


@dataclass(frozen=True)
class Kokoro:
    """The opened network: an onnxruntime session, and symbol → token."""

    folder: Path
    session: Any
    vocabulary: dict[str, int]


def open_kokoro(folder: str | Path) -> Kokoro:
    """Open the network, which then works on one thread.

    Raises:
        BadInput: a package or a file is missing, or a file is damaged.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise BadInput(
            "Kokoro's voices",
            expected="the optional package onnxruntime",
            found="no such package",
            fix="Install it: pip install 'learn2talk[speech]'.",
        )
    import onnxruntime

    folder = Path(folder)
    try:
        vocabulary = json.loads(_bytes(folder / "vocab.json"))["vocab"]
        assert all(isinstance(token, int) for token in vocabulary.values())
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        expected = '{"vocab": {symbol: token}}'
        raise BadInput(folder / "vocab.json", expected=expected, found="something else", fix=GET_THEM) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # A model is a protocol buffer, in which a second field `graph` (7) is merged into the first. So this adds an output
    # (12) with a name (1) to the graph.
    name = _field(1, DURATIONS.encode())
    model = _bytes(folder / "model.onnx") + _field(7, _field(12, name))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has one class of error for each of its states
        found = f"a damaged or different one ({str(error)[:200]})"
        raise BadInput(folder / "model.onnx", expected="Kokoro's network", found=found, fix=GET_THEM) from error
    inputs = [node.name for node in session.get_inputs()]
    if inputs != ["tokens", "style", "speed"]:
        expected = "Kokoro's network, with the inputs tokens, style, speed"
        raise BadInput(folder / "model.onnx", expected=expected, found=", ".join(inputs), fix=GET_THEM)
    return Kokoro(folder, session, vocabulary)


def style_table(kokoro: Kokoro, blend: Sequence[tuple[str, float]]) -> np.ndarray:
    """The weighted mean of the style tables of base voices, (510, 256)."""
    return np.sum([np.float32(weight) * _styles(kokoro.folder, name) for name, weight in blend], axis=0)


def speak(kokoro: Kokoro, styles: np.ndarray, spelt: str, speed: float) -> tuple[np.ndarray, tuple[Phoneme, ...]]:
    """Speak one sentence.

    Args:
        kokoro: the network.
        styles: see `style_table`.
        spelt: the sentence in Kokoro's symbols; see `spelling.spell`.
        speed: speaking rate; 1 is average.

    Returns:
        The wave (samples,) float32 at 16 kHz, and its phonemes; pauses are covered by no phoneme.

    Raises:
        BadInput: an unknown symbol, too many symbols, or a wave that is silent or not finite.
    """
    if unknown := sorted({symbol for symbol in spelt if symbol not in kokoro.vocabulary}):
        found = f"{' '.join(unknown)} in {spelt!r}"
        raise BadInput(kokoro.folder / "vocab.json", expected="all symbols of a sentence", found=found, fix=GET_THEM)
    if not 0 < len(spelt) <= len(styles):
        expected = f"a sentence of 1 to {len(styles)} symbols"
        raise BadInput(
            repr(spelt[:60]), expected=expected, found=str(len(spelt)), fix="Split or leave out the sentence."
        )
    wave, units = kokoro.session.run(
        ["audio", DURATIONS],
        {
            "tokens": np.array([[0, *(kokoro.vocabulary[symbol] for symbol in spelt), 0]], np.int64),
            "style": styles[len(spelt) - 1][None],
            "speed": np.array([speed], np.float32),
        },
    )
    wave = wave.ravel()
    if not np.isfinite(wave).all() or np.abs(wave).max(initial=0) < SILENCE_PEAK:
        raise BadInput(kokoro.folder, expected=f"speech for {spelt!r}", found="silence or NaN", fix=GET_THEM)
    edges = np.cumsum(units.ravel()) * UNIT - LATE  # of `spelt`: the first and the last token are the silence around it
    wave = resample(wave, RATE)
    return wave, timed_phonemes(spelt, edges[: len(spelt) + 1], len(wave) / SAMPLE_RATE)


def timed_phonemes(spelt: str, edges: np.ndarray, duration: float) -> tuple[Phoneme, ...]:
    """Phonemes with times from the times of all symbols.

    A stress mark belongs to the sound after it, a length mark to the one before it. A space that is too short for a
    pause is shared by its neighbours. ɜɹ is ER, and so is əɹ unless a vowel follows.

    Args:
        spelt: n symbols.
        edges: (n + 1,) seconds; symbol i lasts from edges[i] to edges[i + 1].
        duration: of the wave; times are clipped to it.
    """
    made: list[list[Any]] = []  # start, end, name
    start: float | None = None  # of the next sound, if a stress mark or half a space belongs to it
    for i, symbol in enumerate(spelt):
        begin, end = (float(min(max(edge, 0), duration)) for edge in edges[i : i + 2])
        if symbol in STRESS:
            start = begin if start is None else start
        elif symbol == LENGTH and made:
            made[-1][1] = end
        elif symbol == " " and end - begin < LONGEST_GAP and not _pause_around(spelt, i):
            start = (begin + end) / 2
            if made:
                made[-1][1] = start
        elif symbol in ARPABET:
            name = ARPABET[symbol]
            before = spelt[i - 1] if i > 0 else ""
            if symbol == "ɹ" and made and (before == "ɜ" or (before == "ə" and not _vowel_after(spelt, i))):
                made[-1][1:] = [end, "ER"]
            else:
                made.append([begin if start is None else start, end, name])
            start = None
        else:
            start = None
    return tuple(Phoneme(round(a, 4), round(b, 4), name) for a, b, name in made if b > a)


def _pause_around(spelt: str, i: int) -> bool:
    return spelt[i - 1 : i] in PAUSES or spelt[i + 1 : i + 2] in PAUSES


def _vowel_after(spelt: str, i: int) -> bool:
    after = spelt[i + 1 :].lstrip(STRESS)[:1]
    return ARPABET.get(after) in VOWELS


def _styles(folder: Path, name: str) -> np.ndarray:
    path = folder / "voices" / f"{name}.bin"
    raw = _bytes(path)
    styles = np.frombuffer(raw, "<f4") if len(raw) == 4 * np.prod(STYLES) else np.full(1, np.nan, np.float32)
    if not np.isfinite(styles).all():
        expected = f"{STYLES[0]} × {STYLES[1]} finite numbers of 4 bytes"
        raise BadInput(path, expected=expected, found=f"{len(raw)} bytes or NaN", fix=GET_THEM)
    return styles.reshape(STYLES)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        found = error.strerror or "nothing"
        raise BadInput(path, expected="a file of Kokoro", found=found, fix=GET_THEM) from error


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer; of less than 128 bytes, so that the length is one byte."""
    return bytes([number << 3 | 2, len(content)]) + content
