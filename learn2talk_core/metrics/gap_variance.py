"""Lip-gap variance ratio: how much the mouth opens and closes, against the truth. 1 is right; a regression student
that smooths everything away is below, an exaggerating one above.

    ratio = Σ over clips and frames (gap(prediction) − its clip mean)² / the same of the truth
"""

import numpy as np

from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.metrics.trim import common_frames


def gap_variance_ratio(truth_gap: np.ndarray, prediction_gap: np.ndarray) -> Ratio:
    """Variation of the prediction's lip gap over that of the truth's, in one clip.

    Args:
        truth_gap: gap of each lip pair (T, P).
        prediction_gap: the same of the prediction, (T', P).
    """
    truth_gap, prediction_gap, _ = common_frames(truth_gap, prediction_gap)
    if truth_gap.size == 0:
        return Ratio(0.0, 0.0)
    return Ratio(_variation(prediction_gap), _variation(truth_gap))


def _variation(gap: np.ndarray) -> float:
    mean_gap = gap.mean(axis=1, dtype=np.float64)
    return float(np.square(mean_gap - mean_gap.mean()).sum())
