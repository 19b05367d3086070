"""Lip-sync error of a clip: LSE-D and LSE-C (Prajwal et al. 2020, after Chung & Zisserman 2016), and the lag.

Both encoders of SyncNet are replaced by SyncNet3D's (Learn2Talk, Sect. IV-A), so the numbers cannot be compared with
those of 2D videos. This module works on NumPy embeddings and does not depend on a network.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learn2talk_core.statistics.synchrony import MAX_SHIFT, Array, lag, mean_distances, shifted_distances, sync_error


@dataclass(frozen=True)
class Lse:
    """Results of SyncNet's evaluation for one clip.

    Attributes:
        lse_d: the smallest mean distance over the shifts; lower is better.
        lse_c: median minus minimum of the mean distances; higher is better.
        distance_at_0: the mean distance at shift 0; unlike LSE-D, it increases with a constant delay.
        offset: frames by which the audio leads the motion at the smallest distance (SyncNet's AV offset).
        lag_ms: milliseconds by which the audio lags behind the motion, refined to less than a frame by a parabola.
        curve: (2 S + 1,) mean distance at each shift −S … S of the audio.
    """

    lse_d: float
    lse_c: float
    distance_at_0: float
    offset: int
    lag_ms: float
    curve: Array


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

    Exclude silence (`keep`) if you need the lag; see `synchrony.lag`.

    Args:
        mesh, audio, max_shift, zero_padding: see `shifted_distances`.
        fps: frames per second of the motion.
        keep: see `mean_distances`.
    """
    curve = mean_distances(shifted_distances(mesh, audio, max_shift=max_shift, zero_padding=zero_padding), keep)
    if not np.isfinite(curve).any():
        raise ValueError(f"no window to compare: {len(mesh)} of motion, {len(audio)} of audio")
    lse_d, lse_c = sync_error(curve)
    offset, lag_ms = lag(curve, fps)
    return Lse(
        lse_d=lse_d,
        lse_c=lse_c,
        distance_at_0=float(curve[max_shift]),
        offset=offset,
        lag_ms=lag_ms,
        curve=curve,
    )
