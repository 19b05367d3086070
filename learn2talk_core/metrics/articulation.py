"""What a mouth does at the sounds that can be seen: closed at p b m, open at AA AE AO AW AY. No true motion is needed.

The gap of a frame is the mean height of the upper lip above the lower one (`mesh.topology.lip_gap`), in millimetres;
between frames it is interpolated linearly. At a p, b or m the least gap within the phone counts, at an open vowel the
gap at its middle. A mouth is closed if its gap is below 15 % of the 90th percentile of the clip's gaps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learn2talk_core.corpus.phonemes import BILABIALS, OPEN_VOWELS, Phoneme
from learn2talk_core.statistics.synchrony import auc

CLOSED, WIDE = 0.15, 90.0  # share of this percentile


@dataclass(frozen=True)
class Articulation:
    """Gaps of one clip, or of several.

    Attributes:
        closures, vowels: (C,), (V,) gaps in millimetres at each p b m and at each open vowel.
        limits: (C,), (V,) below which they are closed, in one array each.
    """

    closures: np.ndarray
    vowels: np.ndarray
    closure_limits: np.ndarray
    vowel_limits: np.ndarray

    def scores(self) -> dict[str, float | int | None]:
        """Mean gaps and their contrast in millimetres, AUC (an open vowel is wider than a closure), share of closures
        that close, share of open vowels that are wrongly closed; None without such phones."""
        closure, vowel = _mean(self.closures), _mean(self.vowels)
        return {
            "closures": len(self.closures),
            "vowels": len(self.vowels),
            "closure_gap_mm": closure,
            "vowel_gap_mm": vowel,
            "contrast_mm": None if closure is None or vowel is None else vowel - closure,
            "auc": None if closure is None or vowel is None else auc(self.closures, self.vowels),
            "closed": _mean(self.closures < self.closure_limits),
            "wrongly_closed": _mean(self.vowels < self.vowel_limits),
        }


def articulation(gap: np.ndarray, fps: float, phonemes: Sequence[Phoneme]) -> Articulation:
    """The gaps of one clip at its p b m and its open vowels.

    Args:
        gap: (T,) millimetres, frame t shows the time t / fps.
        fps: frame rate.
        phonemes: with times; those that begin after the last frame are left out.
    """
    times = np.arange(len(gap)) / fps
    said = [phoneme for phoneme in phonemes if len(gap) and phoneme.start <= times[-1]]
    closures = [_least(gap, times, phoneme) for phoneme in said if phoneme.name in BILABIALS]
    middles = [(phoneme.start + phoneme.end) / 2 for phoneme in said if phoneme.name in OPEN_VOWELS]
    vowels = np.interp(middles, times, gap) if middles else np.empty(0)
    limit = CLOSED * max(0.0, float(np.percentile(gap, WIDE))) if len(gap) else 0.0
    return Articulation(
        np.array(closures, np.float64), vowels, np.full(len(closures), limit), np.full(len(vowels), limit)
    )


def pooled(clips: Sequence[Articulation]) -> Articulation:
    """The gaps of several clips together."""
    empty = np.empty(0)
    return Articulation(
        np.concatenate([empty, *(clip.closures for clip in clips)]),
        np.concatenate([empty, *(clip.vowels for clip in clips)]),
        np.concatenate([empty, *(clip.closure_limits for clip in clips)]),
        np.concatenate([empty, *(clip.vowel_limits for clip in clips)]),
    )


def jitter(gap: np.ndarray) -> float | None:
    """Mean absolute second difference of the gap (T,) divided by its standard deviation; None if it does not move.

    A sine of f Hz at r frames per second has 4 sin²(π f / r) · 2 √2 / π: 0.60 for 4 Hz at 30.
    """
    deviation = float(np.std(gap))
    if len(gap) < 3 or deviation < 1e-9:
        return None
    return float(np.abs(np.diff(gap, 2)).mean()) / deviation


def acceleration_over_speed(gap: np.ndarray) -> float | None:
    """Mean absolute second difference of the gap (T,) divided by that of the first; None if it does not move.

    Motion that trembles has more of it than the motion of people. A sine of f Hz at r frames per second has
    2 sin(π f / r): 0.81 for 4 Hz at 30.
    """
    speed = float(np.abs(np.diff(gap)).mean()) if len(gap) > 2 else 0.0
    return float(np.abs(np.diff(gap, 2)).mean()) / speed if speed > 1e-9 else None


def _least(gap: np.ndarray, times: np.ndarray, phoneme: Phoneme) -> float:
    inside = gap[(times >= phoneme.start) & (times <= phoneme.end)]
    ends = np.interp([phoneme.start, phoneme.end], times, gap)
    return float(min([*inside, *ends]))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
