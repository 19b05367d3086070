import math

import numpy as np
import pytest

from learn2talk_core.metrics.distance import squared_distance


def test_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 5, 3)), rng.normal(size=(5, 3))
    found = squared_distance(a, b)
    for t, v in np.ndindex(4, 5):
        assert found[t, v] == pytest.approx(math.dist(a[t, v], b[v]) ** 2)
    assert squared_distance(a.astype(np.float32), b.astype(np.float32), np.float32).dtype == np.float32
