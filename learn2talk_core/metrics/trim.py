"""Two motions of one clip seldom have equally many frames; metrics use the frames that both have."""

import numpy as np


def common_frames(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Cut both motions (T, …) at the shorter one's end.

    CodeTalker's script cuts only the prediction and fails where that is the shorter one, which is the rule with BIWI.

    Returns:
        the two, equally long, and the number of frames dropped from the longer.
    """
    frames = min(len(truth), len(prediction))
    return truth[:frames], prediction[:frames], max(len(truth), len(prediction)) - frames
