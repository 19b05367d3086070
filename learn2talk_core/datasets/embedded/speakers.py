"""The speakers of the embedded corpora: each has a voice, a face and a style of motion."""

from dataclasses import dataclass

import numpy as np

_FEMALE = ("f2", "f3", "f1", "f4", "Annie", "linda", "steph", "belinda", "anika", "Andrea", "aunty", "Michelle")
_MALE = ("m3", "m1", "m7", "m2", "Andy", "m4", "Alex", "m8", "m5", "m6", "Lee", "David")
_DIALECTS = ("gmw/en-US", "gmw/en-GB-scotland", "gmw/en", "gmw/en-US-nyc")
VARIANTS = tuple(name for pair in zip(_MALE, _FEMALE, strict=True) for name in pair)


@dataclass(frozen=True)
class Speaker:
    """One speaker.

    Attributes:
        id: name in the corpus.
        seed: for everything random about this speaker.
        voice: eSpeak's voice and variant.
        female: whether the voice is female; the face matches.
        pitch, pitch_range: eSpeak's settings, 0 to 99.
        rate: eSpeak's words per minute.
        coarticulation: how far phonemes extend into their neighbours; 1 is average.
        jaw, rounding, spreading, upper_lip, lower_lip, press, brows: sizes of movements; 1 is average.
        asymmetry: how much more the left side of the mouth moves, as a signed fraction.
        smile: resting smile, weight of the face unit.
        lag: seconds by which the face lags the voice.
        blink_pause: mean seconds between blinks.
    """

    id: str
    seed: int
    voice: str
    female: bool
    pitch: int
    pitch_range: int
    rate: int
    coarticulation: float
    jaw: float
    rounding: float
    spreading: float
    upper_lip: float
    lower_lip: float
    press: float
    brows: float
    asymmetry: float
    smile: float
    lag: float
    blink_pause: float


def make_speakers(count: int, seed: int, prefix: str = "S", first_voice: int = 0) -> list[Speaker]:
    """`count` speakers, named `prefix`00, `prefix`01, …; another prefix gives different people for the same seed.

    Args:
        count: number of speakers.
        seed: for all speakers; the first speakers do not depend on `count`.
        prefix: of their names.
        first_voice: index of the first voice in a fixed order; 96 consecutive speakers have different voices.
    """
    return [_speaker(f"{prefix}{i:02d}", i, first_voice + i, seed, prefix) for i in range(count)]


def _speaker(name: str, number: int, voice: int, seed: int, prefix: str) -> Speaker:
    rng = np.random.default_rng([seed, number, *prefix.encode()])
    variant = VARIANTS[voice % len(VARIANTS)]
    turn = voice // len(VARIANTS)  # once all variants are used, they repeat in the next dialect
    return Speaker(
        id=name,
        seed=int(rng.integers(1 << 31)),
        voice=f"{_DIALECTS[(voice + turn) % len(_DIALECTS)]}+{variant}",
        female=variant in _FEMALE,
        pitch=int(rng.integers(35, 66)),
        pitch_range=int(rng.integers(30, 75)),
        rate=int(rng.integers(144, 174)),
        coarticulation=float(rng.uniform(0.8, 1.25)),
        jaw=float(rng.uniform(0.85, 1.3)),
        rounding=float(rng.uniform(0.75, 1.2)),
        spreading=float(rng.uniform(0.6, 1.3)),
        upper_lip=float(rng.uniform(0.5, 1.4)),
        lower_lip=float(rng.uniform(0.5, 1.4)),
        press=float(rng.uniform(0.7, 1.2)),
        brows=float(rng.uniform(0.3, 1.2)),
        asymmetry=float(rng.uniform(-0.18, 0.18)),
        smile=float(rng.uniform(-0.03, 0.10)),
        lag=float(rng.uniform(-0.010, 0.010)),
        blink_pause=float(rng.uniform(2.2, 5.0)),
    )
