"""Velocity error: the mean over frames and vertices of ‖(p_{t+1,v} − p_{t,v}) − (g_{t+1,v} − g_{t,v})‖ · fps.

It shows what errors of position hide: trembling, and motion that lags or is smoothed.
"""

import numpy as np

from learn2talk_core.metrics.distance import squared_distance
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.metrics.trim import common_frames


def velocity_error(truth: np.ndarray, prediction: np.ndarray, vertex_ids: np.ndarray, fps: float) -> Ratio:
    """Velocity error of one clip in units of the vertices per second, summed over the steps between consecutive frames.

    Args:
        truth: vertices (T, V, 3).
        prediction: vertices (T', V, 3).
        vertex_ids: the vertices to use; duplicates count once.
        fps: frames per second.
    """
    truth, prediction, _ = common_frames(truth, prediction)
    ids = np.unique(vertex_ids)
    if len(truth) < 2 or len(ids) == 0:
        return Ratio(0.0, 0.0)
    steps = (np.diff(motion[:, ids], axis=0) for motion in (truth, prediction))
    speed = np.sqrt(squared_distance(*steps)).mean(axis=1) * fps
    return Ratio(float(speed.sum()), len(speed))
