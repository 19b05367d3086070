"""Blinks and glances as functions of time and a seed, so that a stream and a whole file get the same ones.

They do not move the mouth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import generator

BLINK_PAUSE, BLINK_SPREAD = 3.5, 0.6  # seconds: mean interval between blinks; std of its logarithm
CLOSING, CLOSED, OPENING = 0.08, 0.04, 0.16  # seconds
FIXATION, FIXATION_SPREAD = 0.8, 0.5
AWAY, AWAY_DEGREES, FARTHEST = 0.23, 6.9, 12.0  # share of fixations; mean and maximum in degrees
AT_DEGREES = 0.6  # size of the small saccades while looking at the listener
SACCADE, SACCADE_PER_DEGREE = 0.025, 0.0024  # seconds
SIDES = ("Left", "Right")
LOOKS = ("In", "Out", "Up", "Down")
# Degrees at weight 1, measured on the embedded head's eyes. ARKit gives no scale, so other shapes use them too.
LOOK_DEGREES = {"In": 14.8, "Out": 14.3, "Up": 9.7, "Down": 11.0}
MOST = 3.0  # largest strength


@dataclass(frozen=True)
class Life:
    """Motion besides speech. Strengths: 0 is off, 1 is typical, 3 is the maximum.

    Attributes:
        head: size of the head motion.
        blinks: rate of blinks.
        gaze: size of the eye motion.
        seed: random seed of all three; each is independent of whether the others are on.

    Raises:
        BadInput: a strength outside 0 … 3.
    """

    head: float = 0.0
    blinks: float = 0.0
    gaze: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("head", "blinks", "gaze"):
            value = getattr(self, name)
            if not 0 <= value <= MOST:
                raise BadInput(name, expected=f"a strength of 0 … {MOST:g}", found=f"{value:g}", fix="1 is typical.")

    def shapes(self) -> tuple[str, ...]:
        """ARKit names of the blend shapes that are used."""
        blinks = [f"eyeBlink{side}" for side in SIDES] if self.blinks else []
        looks = [f"eyeLook{look}{side}" for side in SIDES for look in LOOKS] if self.gaze else []
        return (*blinks, *looks)

    def weights(self, times: np.ndarray) -> np.ndarray:
        """Weights of `shapes` at these times in seconds: (n, K) float32 in 0..1."""
        columns: list[np.ndarray] = []
        if self.blinks:
            columns += 2 * [blink(self.seed, times, self.blinks)]
        if self.gaze:
            left, up = self.gaze * gaze(self.seed, times).T
            for side in SIDES:
                degrees = {"In": -left if side == "Left" else left, "Up": up}
                degrees |= {"Out": -degrees["In"], "Down": -up}
                columns += [np.clip(degrees[look] / LOOK_DEGREES[look], 0, 1) for look in LOOKS]
        return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((len(times), 0), np.float32)


def blink(seed: int, times: np.ndarray, rate: float = 1.0) -> np.ndarray:
    """How far the eyelids are closed at these times in seconds, (n,) in 0..1.

    Intervals are log-normal (Borges et al. 2010, Arquivos Brasileiros de Oftalmologia 73(4)). Their mean is 3.5 s at
    rate 1: 17 blinks per minute, as at rest (Bentivoglio et al. 1997, Movement Disorders 12; the 26 in conversation
    correspond to rate 1.5). Lids close faster than they open (Evinger et al. 1991, Investigative Ophthalmology & Visual
    Science 32); a blink takes 0.28 s in total.
    """
    mean = BLINK_PAUSE / rate
    starts = _until(
        lambda count: np.cumsum(_log_normal(generator(seed, "blinks").standard_normal(count), mean, BLINK_SPREAD)),
        times,
    )
    whole = CLOSING + CLOSED + OPENING
    after = np.asarray(times, np.float64)
    last = np.searchsorted(starts, after, side="right") - 1
    closed = np.zeros(len(after))
    for back in (0, 1):  # the next blink may begin before this one ends
        since = np.where(last - back >= 0, after - starts[np.maximum(last - back, 0)], whole)
        down, up = since / CLOSING, (whole - since) / OPENING
        closed = np.maximum(closed, _smoothstep(np.minimum(down, up)))
    return closed


def gaze(seed: int, times: np.ndarray) -> np.ndarray:
    """Gaze at these times in seconds: (n, 2) degrees to the speaker's left and up, relative to straight ahead.

    A sequence of fixations with log-normal durations. Most are on the listener, with small saccades in between; the
    others look away by an angle with an exponential distribution (mean 6.9°, clipped at 12°). On average a speaker
    looks at the listener for 3 s and away for 1 s. A saccade of A degrees takes 25 + 2.4 A ms. Sizes, shares and
    durations: Lee, Badler and Badler 2002, "Eyes Alive", SIGGRAPH; simplified to independent fixations.
    """
    ends = _until(
        lambda count: np.cumsum(
            _log_normal(generator(seed, "fixations").standard_normal(count), FIXATION, FIXATION_SPREAD)
        ),
        times,
    )
    drawn = generator(seed, "glances").uniform(size=(len(ends) + 1, 3))
    size = np.where(
        drawn[:, 0] < AWAY,
        np.minimum(-AWAY_DEGREES * np.log1p(-drawn[:, 1]), FARTHEST),
        AT_DEGREES * np.sqrt(-2 * np.log1p(-drawn[:, 1])),
    )
    size[0] = 0  # start straight ahead
    angle = 2 * np.pi * drawn[:, 2:]
    targets = size[:, None] * np.concatenate([np.cos(angle), 0.6 * np.sin(angle)], axis=1)  # smaller vertically
    after = np.asarray(times, np.float64)
    now = np.searchsorted(ends, after, side="right")
    before = np.maximum(now - 1, 0)
    since = np.where(now > 0, after - ends[before], 1.0)
    jump = targets[now] - targets[before]
    share = _smoothstep(since / (SACCADE + SACCADE_PER_DEGREE * np.hypot(*jump.T)))
    return targets[before] + share[:, None] * jump


def _until(draw: Callable[[int], np.ndarray], times: np.ndarray) -> np.ndarray:
    """The first event times of an endless sequence, as many as are needed to go beyond the last of `times`.

    The first numbers of a generator do not depend on how many are drawn.
    """
    count = 64
    while (instants := draw(count))[-1] <= (times[-1] if len(times) else 0):
        count *= 2
    return instants


def _log_normal(normal: np.ndarray, mean: float, spread: float) -> np.ndarray:
    return mean * np.exp(spread * normal - spread**2 / 2)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
