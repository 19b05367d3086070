"""Speech perception: what a lip reader makes of a face, compared with what was said and with the true face.

The reader that judges never served as a loss. Everything here is NumPy on what the reader put out for each clip.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from learn2talk_core.metrics.error_rate import ctc_greedy, edit_distance

Tokens = Sequence[int]


def phoneme_error(log_probs: ArrayLike, said: Tokens) -> float:
    """Edits between the phonemes read by greedy CTC decoding of `log_probs` (T, V) and those `said`, over the latter.

    Tokens count from 1; 0 is the CTC blank. NaN when nothing was said.
    """
    return edit_distance(said, ctc_greedy(log_probs)) / len(said) if len(said) else float("nan")


def viseme_accuracy(frame_logits: ArrayLike, labels: ArrayLike, visemes: ArrayLike, silence: int = 0) -> float:
    """Share of speaking frames whose phoneme was read as one that looks the same.

    Args:
        frame_logits: (T, C), class 0 is silence, class 1 + i phoneme i.
        labels: (T,), the class that was spoken at each frame.
        visemes: (C,), the viseme of each class.
        silence: the viseme of silence. Frames of it are left out: a closed mouth is easy to read, and common.
    """
    visemes = np.asarray(visemes)
    spoken = visemes[np.asarray(labels)]
    read = visemes[np.asarray(frame_logits).argmax(-1)]
    speaking = spoken != silence
    return float((read == spoken)[speaking].mean()) if speaking.any() else float("nan")


def most_frequent_accuracy(known: ArrayLike, labels: ArrayLike, visemes: ArrayLike, silence: int = 0) -> float:
    """Viseme accuracy on `labels` (T,) of always saying the viseme that is most frequent in `known` (N,)."""
    visemes = np.asarray(visemes)
    spoken = visemes[np.asarray(known)]
    guess = np.bincount(spoken[spoken != silence], minlength=1).argmax()
    truth = visemes[np.asarray(labels)]
    return float((truth[truth != silence] == guess).mean())


def feature_cosine(features: ArrayLike, true_features: ArrayLike) -> float:
    """Mean over time of the cosine between the reader's features (T, C) of a face and those of the true face."""
    a, b = np.asarray(features, np.float64), np.asarray(true_features, np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / np.maximum(norms, 1e-12)).mean())
