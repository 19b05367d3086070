"""Speech perception: what a lip reader recognises in a face, compared with what was said and with the true face.

The judging lip reader is never used as a loss. This module works on the reader's NumPy outputs for each clip.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from learn2talk_core.statistics.recognition import ctc_greedy, edit_distance, plain_text, spelled
from learn2talk_core.statistics.recognition import viseme_accuracy as viseme_accuracy

Tokens = Sequence[int]


def phoneme_error(log_probs: ArrayLike, said: Tokens) -> float:
    """Phoneme error rate of greedy CTC decoding of `log_probs` (T, V): edits divided by the number of phonemes `said`.

    Tokens count from 1; 0 is the CTC blank. NaN when nothing was said.
    """
    return edit_distance(said, ctc_greedy(log_probs)) / len(said) if len(said) else float("nan")


def character_error(log_probs: ArrayLike, text: str, units: Sequence[str]) -> float:
    """Character error rate of greedy CTC decoding of `log_probs` (T, V): edits divided by the length of `text`.

    Both texts are normalised by `recognition.plain_text`. NaN when nothing was said.

    Args:
        units: (V,) text of each token.
    """
    said = plain_text(text)
    return edit_distance(said, spelled(ctc_greedy(log_probs), units)) / len(said) if said else float("nan")


def feature_cosine(features: ArrayLike, true_features: ArrayLike) -> float:
    """Mean over time of the cosine between the reader's features (T, C) of a face and those of the true face."""
    a, b = np.asarray(features, np.float64), np.asarray(true_features, np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / np.maximum(norms, 1e-12)).mean())
