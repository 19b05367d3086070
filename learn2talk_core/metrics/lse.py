"""Lip-sync error of a clip: LSE-D and LSE-C (Prajwal et al. 2020, after Chung & Zisserman 2016), and the lag.

Both encoders of SyncNet are replaced by SyncNet3D's (Learn2Talk, Sect. IV-A), so the numbers cannot be compared with
those of 2D videos. All arrays are NumPy; nothing here knows how the embeddings were made.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PROTOCOL = "SyncNet over ±15 frames, encoders SyncNet3D, no zero padding at the ends"
MAX_SHIFT = 15
EPSILON = 1e-6  # what torch's pairwise_distance adds to every difference

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Lse:
    """What SyncNet's evaluation says about one clip.

    Attributes:
        lse_d: the smallest mean distance over the shifts; lower is better.
        lse_c: median minus minimum of the mean distances; higher is better.
        distance_at_0: the mean distance of the clip as it is, which a constant delay does raise.
        offset: SyncNet's number: frames by which the audio leads the motion at the smallest distance.
        lag_ms: milliseconds by which the audio lags behind the motion, refined below a frame by a parabola.
        curve: (2 S + 1,) mean distance at each shift −S … S of the audio.
    """

    lse_d: float
    lse_c: float
    distance_at_0: float
    offset: int
    lag_ms: float
    curve: Array


def shifted_distances(
    mesh: Array, audio: Array, *, max_shift: int = MAX_SHIFT, zero_padding: bool = False
) -> NDArray[np.float64]:
    """L2 distance of every mesh window to the audio windows around it.

    Args:
        mesh: (N, E) embeddings of the windows of motion, one a frame.
        audio: (M, E) embeddings of the windows of audio, one a frame.
        max_shift: S, how far the audio is shifted, in frames.
        zero_padding: compare with a zero embedding where the shifted window lies outside the clip, as SyncNet's own
            script does; it makes short clips look out of sync at large shifts.

    Returns:
        (min(N, M), 2 S + 1): element [v, S + s] is |mesh[v] − audio[v + s]|; NaN where there is no such audio window.
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
        keep: (N,) which windows of motion count, for example those with speech; all where None.

    Returns:
        (2 S + 1,), NaN at shifts that no window reaches.
    """
    distances = distances if keep is None else distances[keep[: len(distances)]]
    there = np.isfinite(distances)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, distances, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def lse(
    mesh: Array,
    audio: Array,
    fps: float,
    *,
    keep: NDArray[np.bool_] | None = None,
    max_shift: int = MAX_SHIFT,
    zero_padding: bool = False,
) -> Lse:
    """LSE-D, LSE-C and lag of one clip from its window embeddings.

    Leave silence out (`keep`) wherever the lag matters: at the silent ends of a clip a mouth that never moves is right,
    and that alone makes shift 0 the best one.

    Args:
        mesh, audio, max_shift, zero_padding: see `shifted_distances`.
        fps: frames per second of the motion.
        keep: see `mean_distances`.
    """
    curve = mean_distances(shifted_distances(mesh, audio, max_shift=max_shift, zero_padding=zero_padding), keep)
    if not np.isfinite(curve).any():
        raise ValueError(f"no window to compare: {len(mesh)} of motion, {len(audio)} of audio")
    best = int(np.nanargmin(curve))
    lowest = float(curve[best])
    return Lse(
        lse_d=lowest,
        lse_c=float(np.nanmedian(curve)) - lowest,
        distance_at_0=float(curve[max_shift]),
        offset=max_shift - best,
        lag_ms=1000 / fps * (best - max_shift + _vertex(curve, best)),
        curve=curve,
    )


def _vertex(curve: Array, best: int) -> float:
    """Where the parabola through the minimum and its neighbours has its own minimum, relative to `best`."""
    if not 0 < best < len(curve) - 1:
        return 0.0
    before, here, after = curve[best - 1 : best + 2]
    bend = before - 2 * here + after
    return float(0.5 * (before - after) / bend) if bend > 0 else 0.0


def auc(genuine: Array, false: Array) -> float:
    """Probability that a false pair is farther apart than a genuine one (ties count half): area under the ROC curve.

    Args:
        genuine: distances of genuine pairs, any shape; NaN is left out.
        false: distances of false pairs, any shape; NaN is left out.

    Returns:
        A number in [0, 1]; NaN when there is no pair of one kind.
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
    """The distance at which genuine and false pairs are told apart with the highest balanced accuracy."""
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
