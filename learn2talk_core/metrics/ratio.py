"""Every metric is a ratio of two sums, so that the values of clips combine exactly to that of the corpus."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Ratio(NamedTuple):
    """What one clip adds to a metric: the corpus-level value is Σ total / Σ weight over its clips.

    If the weight is the number of frames, this is the average over all frames (CodeTalker's LVE); if it is 1, the
    average over clips (CodeTalker's FDD).
    """

    total: float
    weight: float

    @property
    def value(self) -> float | None:
        """total / weight, or None if there is nothing to average (no p, b or m in a clip)."""
        return self.total / self.weight if self.weight > 0 else None

    def scaled(self, factor: float) -> "Ratio":
        """The same in another unit, for example millimetres."""
        return Ratio(self.total * factor, self.weight)


def add_ratios(ratios: Iterable[Ratio]) -> Ratio:
    """The ratio of the sums."""
    totals, weights = zip(*ratios, strict=True)
    return Ratio(float(np.sum(totals)), float(np.sum(weights)))
