"""Lip-gap variance ratio: how much the mouth opens and closes compared with the true motion. 1 is ideal; a
regression student that smooths the motion is below 1, one that exaggerates it above.

    ratio = Σ over clips and frames (gap(prediction) − its mean over the clip)² / the same of the truth
"""

import numpy as np

from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.metrics.trim import common_frames


def gap_variance_ratio(truth_gap: np.ndarray, prediction_gap: np.ndarray) -> Ratio:
    """Variation of the predicted lip gap divided by that of the true one, in one clip.

    Args:
        truth_gap: gap of each lip pair in the true motion, (T, P).
        prediction_gap: the same of the prediction, (T', P).
    """
    truth_gap, prediction_gap, _ = common_frames(truth_gap, prediction_gap)
    if truth_gap.size == 0:
        return Ratio(0.0, 0.0)
    return Ratio(_variation(prediction_gap), _variation(truth_gap))


def _variation(gap: np.ndarray) -> float:
    mean_gap = gap.mean(axis=1, dtype=np.float64)
    return float(np.square(mean_gap - mean_gap.mean()).sum())
