import math

import numpy as np
import pytest

from learn2talk_core.metrics.vertex_error import mean_vertex_error


@pytest.mark.parametrize("frames", [(4, 4), (4, 6), (6, 4)])
def test_against_a_loop(frames: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    truth, prediction = (rng.normal(size=(n, 5, 3)).astype(np.float32) for n in frames)
    expected = np.mean([math.dist(truth[t, v], prediction[t, v]) for t in range(4) for v in range(5)])
    found = mean_vertex_error(truth, prediction)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.weight == 4
