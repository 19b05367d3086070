"""Phonemes → articulation over time, with coarticulation by dominance functions (Cohen & Massaro 1993).

Every phoneme s has a target T_sp for every articulation parameter p, and a dominance that falls with the time τ from
the phoneme,

    D_sp(t) = α_sp · exp(-θ_s |τ|^c),        F_p(t) = Σ_s D_sp(t) T_sp / Σ_s D_sp(t),

so that F_p is a weighted mean of nearby targets. Here c = 1, τ is counted from the phoneme's core (its middle part),
and 1/θ_s is a time constant. Lips must close for p b m and touch the teeth for f v: their α is large and their time
constant short. A consonant has little influence on the parameters that it does not name: its α for them is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import numpy as np

from learn2talk_core.corpus.phonemes import BILABIALS, Phoneme

PARAMETERS = (
    "jaw",  # opening
    "seal",  # lips pressed together
    "tuck",  # lower lip under the upper teeth
    "pucker",  # lips drawn together
    "funnel",  # lips pushed forward, open
    "stretch",  # mouth corners apart
    "raise",  # upper lip up
    "lower",  # lower lip down
    "tongue_out",  # tip between the teeth
    "tongue_up",  # tip behind the upper teeth
)
REST = {"jaw": 0.03}
GRID = 120  # instants per second at which the track is computed, before it is sampled at the frame rate
MIN_PAUSE = 0.05  # seconds
# Seconds for which the lips stay closed at least at p b m, even if the phoneme is shorter: in natural speech a closure
# can last 25 ms, which may fall between two frames.
MIN_CLOSURE = 0.05


@dataclass(frozen=True)
class _Manner:
    """α of a phoneme for named and other parameters, time constant 1/θ, half the core's length as a share."""

    named: float
    others: float
    seconds: float
    core: float = 0.30
    special: dict[str, float] = field(default_factory=dict)


_LOOSE_LIPS = {"seal": 0.35, "tuck": 0.6, "tongue_out": 0.8, "tongue_up": 0.8}
_PRESSED = {"jaw": 2.5, "pucker": 0.12, "funnel": 0.12, "stretch": 0.12, "raise": 4.0, "lower": 4.0}
_BITTEN = {"seal": 2.0, "pucker": 0.2, "funnel": 0.2, "raise": 8.0, "lower": 4.0}
_VOWEL = _Manner(1.0, 0.55, 0.075, 0.35)
_MANNERS = {
    "P B M": _Manner(12.0, 0.25, 0.012, 0.40, {**_PRESSED, "tuck": 0.6}),
    "F V": _Manner(8.0, 0.35, 0.016, 0.40, _BITTEN),
    "W": _Manner(2.6, 0.4, 0.050),
    "SH ZH CH JH": _Manner(2.2, 0.6, 0.040),
    "R": _Manner(1.1, 0.3, 0.050),
    "S Z": _Manner(2.2, 0.35, 0.035),
    "T D N": _Manner(0.9, 0.15, 0.030),
    "TH DH L": _Manner(1.2, 0.2, 0.030, special={"tongue_out": 2.0, "tongue_up": 2.0}),
    "K G NG HH Y": _Manner(0.45, 0.10, 0.035),
}
_SIBILANT = {"funnel": 0.58, "pucker": 0.37, "jaw": 0.07, "lower": 0.12, "raise": 0.10}
_O = {"jaw": 0.36, "pucker": 0.62, "funnel": 0.40}
_U = {"jaw": 0.13, "pucker": 0.95, "funnel": 0.28}
_I = {"jaw": 0.22, "stretch": 0.55, "lower": 0.28, "raise": 0.12}
_A = {"jaw": 0.74, "stretch": 0.35, "lower": 0.30, "raise": 0.15}
_AW = {"jaw": 0.48, "funnel": 0.50, "pucker": 0.42}
# Targets; 0 for parameters that are not named. A diphthong has two targets, one after the other.
_TARGETS: dict[str, tuple[dict[str, float], ...]] = {
    "IY": ({"jaw": 0.14, "stretch": 0.90, "lower": 0.40, "raise": 0.30},),
    "IH": (_I,),
    "EH": ({"jaw": 0.46, "stretch": 0.42, "lower": 0.30, "raise": 0.10},),
    "AE": (_A,),
    "AA": ({"jaw": 0.85, "funnel": 0.05},),
    "AH": ({"jaw": 0.34, "stretch": 0.05},),
    "AO": (_AW,),
    "UH": ({"jaw": 0.20, "pucker": 0.62, "funnel": 0.32},),
    "UW": (_U,),
    "ER": ({"jaw": 0.27, "pucker": 0.25, "funnel": 0.24},),
    "EY": ({"jaw": 0.42, "stretch": 0.42, "lower": 0.30}, {"jaw": 0.15, "stretch": 0.80, "lower": 0.35, "raise": 0.25}),
    "AY": (_A, _I),
    "AW": (_A, _U),
    "OY": (_AW, _I),
    "OW": (_O, _U),
    "P": ({"seal": 1, "jaw": 0.08},),
    "B": ({"seal": 1, "jaw": 0.08},),
    "M": ({"seal": 1, "jaw": 0.10},),
    "F": ({"tuck": 1, "jaw": 0.07, "raise": 0.22},),
    "V": ({"tuck": 1, "jaw": 0.07, "raise": 0.20},),
    "W": ({"pucker": 1, "funnel": 0.20, "jaw": 0.10},),
    "R": ({"pucker": 0.42, "funnel": 0.42, "jaw": 0.17},),
    "SH": (_SIBILANT,),
    "ZH": (_SIBILANT,),
    "CH": (_SIBILANT,),
    "JH": (_SIBILANT,),
    "S": ({"jaw": 0.05, "stretch": 0.45, "lower": 0.55, "raise": 0.30},),
    "Z": ({"jaw": 0.05, "stretch": 0.42, "lower": 0.55, "raise": 0.30},),
    "T": ({"jaw": 0.14, "lower": 0.25, "raise": 0.10, "tongue_up": 0.8},),
    "D": ({"jaw": 0.14, "lower": 0.25, "raise": 0.10, "tongue_up": 0.8},),
    "N": ({"jaw": 0.17, "lower": 0.15, "tongue_up": 0.8},),
    "L": ({"jaw": 0.34, "lower": 0.10, "raise": 0.10, "tongue_up": 1.0},),
    "TH": ({"jaw": 0.24, "tongue_out": 1.0, "lower": 0.20, "raise": 0.20},),
    "DH": ({"jaw": 0.22, "tongue_out": 0.9, "lower": 0.20, "raise": 0.15},),
    "K": ({"jaw": 0.26},),
    "G": ({"jaw": 0.26},),
    "NG": ({"jaw": 0.26},),
    "HH": ({"jaw": 0.32},),
    "Y": ({"jaw": 0.12, "stretch": 0.55},),
}


@dataclass(frozen=True)
class _Gesture:
    """One target in time: core from `start` to `end` in seconds, `target` T and `strength` α (parameters,), 1/θ."""

    start: float
    end: float
    target: np.ndarray
    strength: np.ndarray
    seconds: float
    lips_only: bool  # closes or bites the lips; such gestures vary less


def articulate(
    phonemes: Sequence[Phoneme],
    frames: int,
    fps: float,
    *,
    coarticulation: float = 1.0,
    variation: float = 0.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The track F_p(t) at t = frame / fps, (frames, parameters).

    Args:
        phonemes: with their times in seconds.
        frames: number of frames.
        fps: frames per second.
        coarticulation: factor on every time constant 1/θ.
        variation: random deviation of each gesture's timing and size, independent of the sound; 1 is natural (standard
            deviations of 14 ms and 22 %; lip closures vary by 6 ms and always close).
        rng: required if `variation` > 0.
    """
    duration = frames / fps
    gestures = _gestures(phonemes, duration)
    times = np.arange(round(duration * GRID) + 1) / GRID
    weight = np.full((len(times), len(PARAMETERS)), 1e-3)  # with no phoneme nearby, the mouth is at rest
    track = weight * _vector(REST)
    for gesture in gestures:
        start, end, target, seconds = gesture.start, gesture.end, gesture.target, gesture.seconds * coarticulation
        if variation > 0:
            assert rng is not None
            shift = variation * rng.normal(0, 0.006 if gesture.lips_only else 0.014)
            size = np.exp(variation * rng.normal(0, 0.22, len(PARAMETERS)))
            size[[PARAMETERS.index("seal"), PARAMETERS.index("tuck")]] = 1
            start, end, target = start + shift, end + shift, target * size
            seconds *= np.exp(variation * rng.normal(0, 0.2))
        tau = np.maximum(np.maximum(start - times, times - end), 0)
        dominance = np.exp(-tau / seconds)[:, None] * gesture.strength
        track += dominance * target
        weight += dominance
    smooth = np.array([1, 2, 3, 2, 1]) / 9  # lips have mass: no changes faster than about 40 ms
    padded = np.pad(track / weight, ((2, 2), (0, 0)), mode="edge")
    at = np.arange(frames) / fps
    return np.stack([np.interp(at, times, np.convolve(column, smooth, "valid")) for column in padded.T], axis=1)


def _gestures(phonemes: Sequence[Phoneme], duration: float) -> list[_Gesture]:
    gestures = []
    pause_start = 0.0
    for phoneme in [*phonemes, Phoneme(duration, duration, "")]:
        if phoneme.start - pause_start > MIN_PAUSE:
            strength = np.full(len(PARAMETERS), 1.2)
            gestures.append(_Gesture(pause_start, phoneme.start, _vector(REST), strength, 0.09, False))
        pause_start = phoneme.end
        targets = _TARGETS.get(phoneme.name, ())
        edges = np.linspace(phoneme.start, phoneme.end, len(targets) + 1)
        for i, (first, last) in enumerate(pairwise(edges)):
            target, strength, seconds, core = _rule(phoneme.name, i)
            half, middle = core * (last - first), (first + last) / 2
            if phoneme.name in BILABIALS:
                half = max(half, MIN_CLOSURE / 2)
            lips_only = phoneme.name in ("P", "B", "M", "F", "V")
            gestures.append(_Gesture(middle - half, middle + half, target, strength, seconds, lips_only))
    return gestures


@cache
def _rule(name: str, part: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Target T, strength α, time constant 1/θ, and half the core's length as a share of the phoneme."""
    manner = next((m for names, m in _MANNERS.items() if name in names.split()), _VOWEL)
    target = _TARGETS[name][part]
    strengths = dict.fromkeys(PARAMETERS, manner.others)
    strengths |= _LOOSE_LIPS if "seal" not in target and "tuck" not in target else {}
    strengths |= dict.fromkeys(target, manner.named) | manner.special
    return _vector(target), _vector(strengths), manner.seconds, manner.core


def _vector(values: dict[str, float]) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in PARAMETERS])
