"""Error rates of what was read or recognised: greedy CTC decoding and edit distance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


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

    It exceeds 1 where too much is read; reading nothing gives 1. NaN when the references hold no token.
    """
    edits = sum(edit_distance(r, h) for r, h in zip(references, hypotheses, strict=True))
    tokens = sum(map(len, references))
    return edits / tokens if tokens else float("nan")
