"""How well two streams of embeddings tell genuine pairs from shifted ones, and by how much one lags behind the other.

Used by the training of the networks, for held-out scores, and by LSE. This module works on NumPy embeddings and does
not depend on a network.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_SHIFT = 15  # frames; SyncNet's range
EPSILON = 1e-6  # added to every difference, as by torch's pairwise_distance

Array = NDArray[np.floating]


class Lag(NamedTuple):
    """Where the mean distance is smallest.

    Attributes:
        offset: frames by which the audio leads the motion (SyncNet's AV offset).
        milliseconds: lag of the audio behind the motion, refined to less than a frame by a parabola.
    """

    offset: int
    milliseconds: float


def shifted_distances(
    mesh: Array, audio: Array, *, max_shift: int = MAX_SHIFT, zero_padding: bool = False
) -> NDArray[np.float64]:
    """L2 distance of every mesh window to the audio windows around it.

    Args:
        mesh: (N, E) embeddings of the windows of motion, one per frame.
        audio: (M, E) embeddings of the windows of audio, one per frame.
        max_shift: S, the largest shift of the audio, in frames.
        zero_padding: use a zero embedding where the shifted window lies outside the clip, as SyncNet's own script does;
            this makes short clips look out of sync at large shifts.

    Returns:
        (min(N, M), 2 S + 1): element [v, S + s] is |mesh[v] − audio[v + s]|; NaN if there is no such audio window.
    """
    windows = min(len(mesh), len(audio))
    if windows == 0:
        return np.empty((0, 2 * max_shift + 1))
    fill = 0.0 if zero_padding else np.nan
    padded = np.pad(audio[:windows].astype(np.float64), ((max_shift, max_shift), (0, 0)), constant_values=fill)
    shifted = np.lib.stride_tricks.sliding_window_view(padded, 2 * max_shift + 1, axis=0)  # (windows, E, 2 S + 1)
    return np.linalg.norm(mesh[:windows, :, None].astype(np.float64) - shifted + EPSILON, axis=1)


def mean_distances(distances: Array, keep: NDArray[np.bool_] | None = None) -> Array:
    """Mean distance at each shift, over the windows that have one.

    Args:
        distances: (N, 2 S + 1) from `shifted_distances`.
        keep: (N,) which windows of motion count, for example those with speech; all if None.

    Returns:
        (2 S + 1,), NaN at shifts that no window reaches.
    """
    distances = distances if keep is None else distances[keep[: len(distances)]]
    there = np.isfinite(distances)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, distances, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def lag(curve: Array, fps: float) -> Lag:
    """The lag at which `curve`, mean distances (2 S + 1,) at the shifts −S … S of the audio, is smallest.

    Exclude silence from the curve: at the silent ends of a clip a mouth that does not move is correct, which by itself
    makes shift 0 the best one.
    """
    max_shift, best = len(curve) // 2, int(np.nanargmin(curve))
    return Lag(max_shift - best, 1000 / fps * (best - max_shift + _vertex(curve, best)))


def sync_error(curve: Array) -> tuple[float, float]:
    """LSE-D and LSE-C of `curve`, mean distances (2 S + 1,): the minimum, and the median minus the minimum."""
    smallest = float(np.nanmin(curve))
    return smallest, float(np.nanmedian(curve)) - smallest


def _vertex(curve: Array, best: int) -> float:
    """Position, relative to `best`, of the minimum of the parabola through `best` and its neighbours."""
    if not 0 < best < len(curve) - 1:
        return 0.0
    before, here, after = curve[best - 1 : best + 2]
    bend = before - 2 * here + after
    return float(0.5 * (before - after) / bend) if bend > 0 else 0.0


def auc(genuine: Array, false: Array) -> float:
    """Probability that a false pair is farther apart than a genuine one (ties count half): area under the ROC curve.

    Args:
        genuine: distances of genuine pairs, any shape; NaN is ignored.
        false: distances of false pairs, any shape; NaN is ignored.

    Returns:
        A number in [0, 1]; NaN if there are no pairs of either kind.
    """
    genuine, false = np.sort(genuine[np.isfinite(genuine)]), false[np.isfinite(false)]
    if not len(genuine) or not len(false):
        return float("nan")
    nearer = np.searchsorted(genuine, false, side="left") + np.searchsorted(genuine, false, side="right")
    return float(nearer.mean() / (2 * len(genuine)))


def at_shifts(distances: Array, nearest: int, farthest: int) -> Array:
    """The columns of `shifted_distances` whose shift lies in ±[nearest, farthest]."""
    max_shift = distances.shape[1] // 2
    shift = np.abs(np.arange(-max_shift, max_shift + 1))
    return distances[:, (shift >= nearest) & (shift <= farthest)]


def best_threshold(genuine: Array, false: Array) -> float:
    """The threshold on the distance that separates genuine from false pairs with the highest balanced accuracy."""
    genuine, false = np.sort(genuine[np.isfinite(genuine)]), np.sort(false[np.isfinite(false)])
    candidates = np.unique(np.concatenate([genuine, false]))
    right = np.searchsorted(genuine, candidates, side="right") / max(len(genuine), 1)
    right += 1 - np.searchsorted(false, candidates, side="right") / max(len(false), 1)
    return float(candidates[right.argmax()]) if len(candidates) else float("nan")


def balanced_accuracy(genuine: Array, false: Array, threshold: float) -> float:
    """Mean of the share of genuine pairs at most `threshold` apart and the share of false pairs farther apart."""
    genuine, false = genuine[np.isfinite(genuine)], false[np.isfinite(false)]
    if not len(genuine) or not len(false):
        return float("nan")
    return float(((genuine <= threshold).mean() + (false > threshold).mean()) / 2)
