"""Two motions of one clip often differ in length; metrics use the frames that both have."""

import numpy as np


def common_frames(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Trim both motions (T, …) to the length of the shorter one.

    CodeTalker's script trims only the prediction and fails if that is the shorter one, which is usual with BIWI.

    Returns:
        Both motions, equally long, and the number of frames dropped from the longer one.
    """
    frames = min(len(truth), len(prediction))
    return truth[:frames], prediction[:frames], max(len(truth), len(prediction)) - frames
