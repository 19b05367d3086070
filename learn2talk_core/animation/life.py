"""Blinks and glances: functions of the time and a seed, so that a stream has those of a whole file.

None of them moves the mouth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import generator

BLINK_PAUSE, BLINK_SPREAD = 3.5, 0.6  # seconds from blink to blink on average; deviation of their logarithm
CLOSING, CLOSED, OPENING = 0.08, 0.04, 0.16  # seconds
FIXATION, FIXATION_SPREAD = 0.8, 0.5
AWAY, AWAY_DEGREES, FARTHEST = 0.23, 6.9, 12.0  # share of fixations; mean and most degrees
AT_DEGREES = 0.6  # of the small saccades while looking at the listener
SACCADE, SACCADE_PER_DEGREE = 0.025, 0.0024  # seconds
SIDES = ("Left", "Right")
LOOKS = ("In", "Out", "Up", "Down")
# Degrees at weight 1, measured on the embedded head's eyes. ARKit gives no scale, so other shapes are taken alike.
LOOK_DEGREES = {"In": 14.8, "Out": 14.3, "Up": 9.7, "Down": 11.0}
MOST = 3.0  # of a strength


@dataclass(frozen=True)
class Life:
    """What moves besides the speech. Strengths: 0 is off, 1 usual, 3 the most.

    Attributes:
        head: size of the head's motion.
        blinks: how often.
        gaze: size of the eyes' motion.
        seed: of all of them; what one does is the same whether the others are on.

    Raises:
        BadInput: a strength that is none.
    """

    head: float = 0.0
    blinks: float = 0.0
    gaze: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("head", "blinks", "gaze"):
            value = getattr(self, name)
            if not 0 <= value <= MOST:
                raise BadInput(name, expected=f"a strength of 0 … {MOST:g}", found=f"{value:g}", fix="1 is usual.")

    def shapes(self) -> tuple[str, ...]:
        """The blend shapes that are moved, by ARKit's names."""
        blinks = [f"eyeBlink{side}" for side in SIDES] if self.blinks else []
        looks = [f"eyeLook{look}{side}" for side in SIDES for look in LOOKS] if self.gaze else []
        return (*blinks, *looks)

    def weights(self, times: np.ndarray) -> np.ndarray:
        """Weights of `shapes` at these seconds: (n, K) float32 in 0..1."""
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
    """How far the eyelids are closed at these seconds, (n,) in 0..1.

    Intervals are log-normal (Borges et al. 2010, Arquivos Brasileiros de Oftalmologia 73(4)). Their mean is 3.5 s at
    rate 1: 17 blinks a minute, as at rest (Bentivoglio et al. 1997, Movement Disorders 12; 26 in conversation is a rate
    of 1.5). Lids close faster than they open (Evinger et al. 1991, Investigative Ophthalmology & Visual Science 32);
    0.28 s in all.
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
    for back in (0, 1):  # the next blink may begin before this one is over
        since = np.where(last - back >= 0, after - starts[np.maximum(last - back, 0)], whole)
        down, up = since / CLOSING, (whole - since) / OPENING
        closed = np.maximum(closed, _smoothstep(np.minimum(down, up)))
    return closed


def gaze(seed: int, times: np.ndarray) -> np.ndarray:
    """Where the eyes look at these seconds: (n, 2) degrees to the speaker's left and up, around straight ahead.

    A row of fixations with log-normal durations. Most are at the listener, with small saccades in between; some are
    away, their size exponential with a mean of 6.9° and cut at 12°, so that a speaker looks at the listener for 3 s and
    away for 1 s on average. A saccade of A degrees takes 25 + 2.4 A ms. Sizes, shares and durations: Lee, Badler and
    Badler 2002, "Eyes Alive", SIGGRAPH; simplified to fixations that are independent of each other.
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
    size[0] = 0  # begins straight ahead
    angle = 2 * np.pi * drawn[:, 2:]
    targets = size[:, None] * np.concatenate([np.cos(angle), 0.6 * np.sin(angle)], axis=1)  # less up and down
    after = np.asarray(times, np.float64)
    now = np.searchsorted(ends, after, side="right")
    before = np.maximum(now - 1, 0)
    since = np.where(now > 0, after - ends[before], 1.0)
    jump = targets[now] - targets[before]
    share = _smoothstep(since / (SACCADE + SACCADE_PER_DEGREE * np.hypot(*jump.T)))
    return targets[before] + share[:, None] * jump


def _until(draw: Callable[[int], np.ndarray], times: np.ndarray) -> np.ndarray:
    """The first instants of a row that never ends, some more than reach the last of `times`.

    A generator's first numbers are the same however many are drawn.
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
