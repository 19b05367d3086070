"""Cosine similarity of identity (CSIM): how similar a face recogniser finds the generated face to the true one.

The recogniser is ArcFace (Deng et al. 2019) in SadTalker's and this paper's tables. A CSIM is only meaningful together
with the network that made the embeddings.
"""

import numpy as np

from learn2talk_core.statistics.synchrony import Array


def identity_similarity(embeddings: Array, reference: Array) -> float:
    """Mean over pictures of the cosine between embeddings, −1 … 1, higher is better.

    Args:
        embeddings: (T, E), at least one, of the generated pictures.
        reference: (T, E) of the true pictures at the same times, or (1, E) of one still image.
    """
    if len(embeddings) == 0 or len(reference) not in (1, len(embeddings)):
        raise ValueError(f"expected embeddings of the same pictures, found {embeddings.shape} and {reference.shape}")
    a, b = np.asarray(embeddings, np.float64), np.asarray(reference, np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(norms, 1e-12)).mean())
