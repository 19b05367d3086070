"""Lip-closure error: do the lips come together where the mouth must be shut, at p, b and m?

The gap of a frame is the signed height of the upper lip above the lower one, averaged over the lip pairs (see
`mesh.topology.lip_gap`). The error is

    closure = mean over the frames inside a p, b or m of |gap(prediction) − gap(truth)|

The reference is the gap of the true motion, not zero, because the gap at rest differs between faces. The metric needs
phonemes.
"""

import numpy as np

from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.metrics.trim import common_frames


def closure_error(truth_gap: np.ndarray, prediction_gap: np.ndarray, bilabial: np.ndarray) -> Ratio:
    """Lip-closure error of one clip in the unit of the gaps, summed over its p, b and m frames.

    Args:
        truth_gap: gap of each lip pair in the true motion, (T, P).
        prediction_gap: the same of the prediction, (T', P).
        bilabial: (T,) bool, True at frames inside a p, b or m.
    """
    truth_gap, prediction_gap, _ = common_frames(truth_gap, prediction_gap)
    bilabial = bilabial[: len(truth_gap)]
    if truth_gap.shape[1] == 0 or not bilabial.any():
        return Ratio(0.0, 0.0)
    error = np.abs(prediction_gap.mean(axis=1, dtype=np.float64) - truth_gap.mean(axis=1, dtype=np.float64))
    return Ratio(float(error[bilabial].sum()), int(np.count_nonzero(bilabial)))
