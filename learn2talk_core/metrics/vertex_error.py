"""Mean vertex error (FaceDiffuser, ScanTalk, ProbTalk3D): the mean over frames and vertices of ‖g_{t,v} − p_{t,v}‖."""

import numpy as np

from learn2talk_core.metrics.distance import squared_distance
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.metrics.trim import common_frames


def mean_vertex_error(truth: np.ndarray, prediction: np.ndarray) -> Ratio:
    """Mean vertex error of one clip in the unit of the vertices (root taken), summed over its frames.

    Args:
        truth: vertices (T, V, 3).
        prediction: vertices (T', V, 3).
    """
    distance = vertex_distance(truth, prediction)
    return Ratio(float(distance.mean(axis=1, dtype=np.float64).sum()), len(distance))


def vertex_distance(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """‖g_{t,v} − p_{t,v}‖ for the common frames, (T, V) float32."""
    truth, prediction, _ = common_frames(truth, prediction)
    return np.sqrt(squared_distance(truth, prediction, np.float32))
