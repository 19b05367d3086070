"""Lip readability percentage (SelfTalk, Eq. 18).

    LRP = 1/T Σ_t 1/V Σ_v [d_{t,v} < μ] × 100 %

where d_{t,v} is the distance between lip vertex v of frame t in the prediction and in the truth. The paper does not say
which threshold μ it used, so state μ with every value of LRP.
"""

import numpy as np

from learn2talk_core.metrics.distance import squared_distance
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.metrics.trim import common_frames


def lip_readability(truth: np.ndarray, prediction: np.ndarray, lips: np.ndarray, threshold: float) -> Ratio:
    """LRP of one clip in percent, summed over its frames.

    Args:
        truth: vertices (T, V, 3).
        prediction: vertices (T', V, 3).
        lips: ids of the lip vertices; duplicates (FLAME's mask has four) count once.
        threshold: μ, in the unit of the vertices.
    """
    truth, prediction, _ = common_frames(truth, prediction)
    ids = np.unique(lips)
    if len(ids) == 0:
        return Ratio(0.0, 0.0)
    readable = (squared_distance(truth[:, ids], prediction[:, ids]) < threshold**2).mean(axis=1)
    return Ratio(100.0 * float(readable.sum()), len(readable))
