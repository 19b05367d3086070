"""Upper-face dynamics deviation (CodeTalker, `main/cal_metric.py`).

With n_v the template's vertex v, m_{t,v} = ‖x_{t,v} − n_v‖² and the standard deviation over time dyn_v = std_t m_{t,v}:

    FDD = mean over clips of  mean over upper-face vertices v of (dyn_v(truth) − dyn_v(prediction))

The norm is squared, the deviation is the population's, and the sign is kept: a face that never moves gets the highest
value, one that trembles a negative one, and clips of opposite sign cancel out. FaceDiffuser therefore also prints the
mean of absolute values.
"""

import numpy as np

from learn2talk_core.metrics.distance import squared_distance
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.metrics.trim import common_frames


def upper_face_dynamics_deviation(
    truth: np.ndarray, prediction: np.ndarray, template: np.ndarray, upper_face: np.ndarray
) -> Ratio:
    """FDD of one clip, signed, in squared units of the vertices.

    Args:
        truth: vertices (T, V, 3).
        prediction: vertices (T', V, 3).
        template: the speaker's neutral vertices (V, 3).
        upper_face: ids of the upper-face vertices; duplicates count once.
    """
    truth, prediction, _ = common_frames(truth, prediction)
    ids = np.unique(upper_face)
    if len(truth) == 0 or len(ids) == 0:
        return Ratio(0.0, 0.0)
    return Ratio(_dynamics(truth[:, ids], template[ids]) - _dynamics(prediction[:, ids], template[ids]), 1.0)


def absolute(deviation: Ratio) -> Ratio:
    """What the clip adds to the absolute FDD: the mean over clips of |deviation| (FaceDiffuser)."""
    return Ratio(abs(deviation.total), deviation.weight)


def _dynamics(vertices: np.ndarray, template: np.ndarray) -> float:
    return float(squared_distance(vertices, template).std(axis=0).mean())
