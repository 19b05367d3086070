"""The speakers of the embedded corpora: each has a face and a style of motion. Their voices are in `voices.py`."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Speaker:
    """One speaker.

    Attributes:
        id: name in the corpus.
        seed: for everything random about this speaker.
        female: whether the face is female, as the voice should be.
        coarticulation: how far phonemes extend into their neighbours; 1 is average.
        jaw, rounding, spreading, upper_lip, lower_lip, press, brows: sizes of movements; 1 is average.
        asymmetry: how much more the left side of the mouth moves, as a signed fraction.
        smile: resting smile, weight of the face unit.
        lag: seconds by which the face lags the voice.
        blink_pause: mean seconds between blinks.
    """

    id: str
    seed: int
    female: bool
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


def make_speakers(count: int, seed: int, prefix: str = "S") -> list[Speaker]:
    """`count` speakers, named `prefix`00, `prefix`01, …, alternately male and female.

    Another prefix gives different people for the same seed; the first speakers do not depend on `count`.
    """
    return [make_speaker(f"{prefix}{i:02d}", seed, female=i % 2 == 1) for i in range(count)]


def make_speaker(name: str, seed: int, *, female: bool) -> Speaker:
    """The speaker of this name; another name or seed gives another one."""
    rng = np.random.default_rng([seed, *name.encode()])
    return Speaker(
        id=name,
        seed=int(rng.integers(1 << 31)),
        female=female,
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
