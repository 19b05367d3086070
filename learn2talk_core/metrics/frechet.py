"""Fréchet distance between two sets of features (Dowson & Landau 1982); with Inception features this is FID (Heusel et
al. 2017, "GANs trained by a two time-scale update rule", Eq. 6).

Both sets are assumed to be Gaussian. Only distances from features of the same network can be compared. The fewer the
samples, the larger the distance, so compare sets of similar size.
"""

import numpy as np

from learn2talk_core.statistics.synchrony import Array


def frechet_distance(features: Array, others: Array) -> float:
    """d² = |m₁ − m₂|² + Tr(C₁ + C₂ − 2 (C₁ C₂)^½), in squared units of the features.

    C are the unbiased covariances. With centred samples A and B as rows, the trace of the root is the sum of the
    singular values of A Bᵀ over √((n₁ − 1)(n₂ − 1)), which avoids the root of a nearly singular matrix.

    Args:
        features: (N, d), N ≥ 2.
        others: (M, d), M ≥ 2.
    """
    if min(len(features), len(others)) < 2 or features.shape[1:] != others.shape[1:]:
        raise ValueError(f"expected two sets of at least two samples, found {features.shape} and {others.shape}")
    first, second = (np.asarray(given, np.float64) for given in (features, others))
    means = first.mean(axis=0), second.mean(axis=0)
    roots = [_root(given - mean) / np.sqrt(len(given) - 1) for given, mean in zip((first, second), means, strict=True)]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(np.square(root).sum() for root in roots)
    return float(max(0.0, np.square(means[0] - means[1]).sum() + spread - 2 * shared))


def _root(centred: np.ndarray) -> np.ndarray:
    """X (n, d) → R with at most d rows and RᵀR = XᵀX."""
    return np.linalg.qr(centred).R if len(centred) > centred.shape[1] else centred
