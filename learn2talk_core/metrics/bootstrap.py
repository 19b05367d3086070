"""How much a metric depends on the choice of test clips: percentile bootstrap over clips (Efron 1979)."""

from collections.abc import Sequence

import numpy as np

from learn2talk_core.metrics.ratio import Ratio


def bootstrap_interval(
    clips: Sequence[Ratio], *, seed: int, resamples: int = 1000, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Percentile interval of the corpus-level value Σ total / Σ weight, clips drawn with replacement.

    The frames of one clip are not independent, so whole clips are drawn.

    Args:
        clips: what each clip adds to the metric.
        seed: seed of the draws. They depend only on it and on the number of clips, so two models get the same draws.
        resamples: how many times the corpus is resampled.
        confidence: share of the resampled values inside the interval.

    Returns:
        Lower and upper end, or None when no clip has any weight.
    """
    totals, weights = np.array(clips, np.float64).reshape(-1, 2).T
    if weights.sum() <= 0:
        return None
    drawn = np.random.default_rng(seed).integers(len(clips), size=(resamples, len(clips)))
    total, weight = totals[drawn].sum(axis=1), weights[drawn].sum(axis=1)
    values = total[weight > 0] / weight[weight > 0]  # a draw may consist of clips without any p, b or m
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def paired_interval(
    first: Sequence[Ratio], second: Sequence[Ratio], *, seed: int, resamples: int = 1000, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Percentile interval of value(second) − value(first), both on the same draws of the same clips.

    Two models tend to have large errors on the same clips, so the interval of the difference is much narrower than the
    two separate intervals suggest. If it excludes zero, the difference is not due to the choice of clips.
    """
    one = np.array(first, np.float64).reshape(-1, 2)
    two = np.array(second, np.float64).reshape(-1, 2)
    if one[:, 1].sum() <= 0 or two[:, 1].sum() <= 0:
        return None
    drawn = np.random.default_rng(seed).integers(len(one), size=(resamples, len(one)))
    sums_one, sums_two = one[drawn].sum(axis=1), two[drawn].sum(axis=1)
    kept = (sums_one[:, 1] > 0) & (sums_two[:, 1] > 0)
    difference = sums_two[kept, 0] / sums_two[kept, 1] - sums_one[kept, 0] / sums_one[kept, 1]
    tail = (1 - confidence) / 2
    low, high = np.quantile(difference, [tail, 1 - tail])
    return float(low), float(high)
