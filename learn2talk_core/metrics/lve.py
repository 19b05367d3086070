"""Lip vertex error.

CodeTalker's formula (`main/cal_metric.py`), with which the published numbers are computed:

    LVE = mean over the frames of all clips of  max over lip vertices v of ‖g_{t,v} − p_{t,v}‖²

The norm is squared, so the unit is the square of the corpus's unit, even where the captions of papers say otherwise.
"""

import numpy as np

from learn2talk_core.metrics.distance import squared_distance
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.metrics.trim import common_frames


def lip_vertex_error(truth: np.ndarray, prediction: np.ndarray, lips: np.ndarray) -> Ratio:
    """LVE of one clip, in squared units of the vertices, summed over its frames.

    Args:
        truth: vertices (T, V, 3).
        prediction: vertices (T', V, 3).
        lips: ids of the lip vertices.
    """
    squared = worst_squared_distance(truth, prediction, lips)
    return Ratio(float(squared.sum()), len(squared))


def lip_vertex_distance(truth: np.ndarray, prediction: np.ndarray, lips: np.ndarray) -> Ratio:
    """The same with the root taken: mean over frames of the largest lip vertex distance, in the unit of the vertices.

    This is a length (times millimetres per unit: `lve_mm`). It is not the root of LVE: the mean of roots is smaller.
    """
    distance = np.sqrt(worst_squared_distance(truth, prediction, lips))
    return Ratio(float(distance.sum()), len(distance))


def worst_squared_distance(truth: np.ndarray, prediction: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """max over v of ‖g_{t,v} − p_{t,v}‖² for each common frame, (T,) float64."""
    truth, prediction, _ = common_frames(truth, prediction)
    return squared_distance(truth[:, lips], prediction[:, lips]).max(axis=1, initial=0.0)
