"""How well speech was recognised or lip-read: greedy CTC decoding, error rate, viseme accuracy.

Used by the training of the networks, for held-out scores, and by the evaluation.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax


def ctc_greedy(log_probs: ArrayLike, blank: int = 0) -> list[int]:
    """The most probable token at each frame of `log_probs` (T, V), repeats merged, blanks left out."""
    best = np.asarray(log_probs).argmax(-1)
    first = np.diff(best, prepend=-1) != 0
    return best[first & (best != blank)].tolist()


def edit_distance(reference: Sequence[object], hypothesis: Sequence[object]) -> int:
    """The fewest insertions, deletions and substitutions that turn one sequence into the other (Levenshtein)."""
    above = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, start=1):
        row = [i]
        for j, found in enumerate(hypothesis, start=1):
            row.append(min(row[-1] + 1, above[j] + 1, above[j - 1] + (expected != found)))
        above = row
    return above[-1]


def error_rate(references: Sequence[Sequence[object]], hypotheses: Sequence[Sequence[object]]) -> float:
    """Edits over all clips divided by the tokens of all references, as word and phoneme error rates are counted.

    It exceeds 1 if there are many insertions; an empty output gives 1. NaN if the references contain no token.
    """
    edits = sum(edit_distance(r, h) for r, h in zip(references, hypotheses, strict=True))
    tokens = sum(map(len, references))
    return edits / tokens if tokens else float("nan")


def viseme_accuracy(frame_logits: ArrayLike, labels: ArrayLike, visemes: ArrayLike, silence: int = 0) -> float:
    """Share of non-silent frames at which the most probable viseme is the true one.

    The probability of a viseme is the sum of those of its phonemes: lips do not show whether a sound is P or B, so its
    probability is divided among them.

    Args:
        frame_logits: (T, C), class 0 is silence, class 1 + i phoneme i.
        labels: (T,), the true class at each frame.
        visemes: (C,), the viseme of each class.
        silence: the viseme of silence. Its frames are excluded, because a closed mouth is common and easy to recognise.
    """
    visemes = np.asarray(visemes)
    spoken = visemes[np.asarray(labels)]
    read = viseme_probabilities(frame_logits, visemes).argmax(-1)
    speaking = spoken != silence
    return float((read == spoken)[speaking].mean()) if speaking.any() else float("nan")


def viseme_probabilities(frame_logits: ArrayLike, visemes: ArrayLike) -> np.ndarray:
    """Logits (T, C) of phonemes → probabilities (T, number of visemes); `visemes` (C,) is the viseme of each class."""
    visemes = np.asarray(visemes)
    return softmax(np.asarray(frame_logits, np.float64), axis=-1) @ np.eye(visemes.max() + 1)[visemes]


def most_frequent_accuracy(known: ArrayLike, labels: ArrayLike, visemes: ArrayLike, silence: int = 0) -> float:
    """Viseme accuracy on `labels` (T,) of a constant guess: the viseme that is most frequent in `known` (N,)."""
    visemes = np.asarray(visemes)
    spoken = visemes[np.asarray(known)]
    guess = np.bincount(spoken[spoken != silence], minlength=1).argmax()
    truth = visemes[np.asarray(labels)]
    return float((truth[truth != silence] == guess).mean())


def spelled(tokens: Sequence[int], units: Sequence[str]) -> str:
    """The text of `tokens`: characters, or sub-words, where `▁` begins a word. Special tokens such as `<eos>` are
    dropped; `<space>` becomes a space."""
    pieces = (" " if units[token] == "<space>" else units[token] for token in tokens)
    return plain_text("".join(piece for piece in pieces if not piece.startswith("<")).replace("▁", " "))


def plain_text(text: str) -> str:
    """Capital letters, digits, apostrophes and single spaces: the form in which lip readers are compared."""
    kept = "".join(sign if sign.isalnum() or sign == "'" else " " for sign in text.replace("’", "'").upper())
    return " ".join(kept.split())
