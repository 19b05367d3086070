import numpy as np
import pytest
from scipy.linalg import sqrtm

from learn2talk_core.metrics.frechet import frechet_distance


def draw(seed: int, count: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


def textbook(a: np.ndarray, b: np.ndarray) -> float:
    """Heusel et al. 2017, Eq. 6, with a matrix square root, as in pytorch-fid."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(first @ second).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root))


@pytest.mark.parametrize(("count", "others", "width"), [(50, 70, 6), (7, 9, 6), (200, 31, 12)])
def test_against_the_root_of_a_matrix(count: int, others: int, width: int) -> None:
    a, b = draw(1, count, width), draw(2, others, width)
    assert frechet_distance(a, b) == pytest.approx(textbook(a, b), rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))


def test_fewer_samples_than_features() -> None:
    """The matrix under the root is singular; a little noise on the diagonal makes the root computable."""
    a, b = draw(3, 5, 20), draw(4, 8, 20)
    first, second = (np.cov(x, rowvar=False) + 1e-10 * np.eye(20) for x in (a, b))
    rough = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(a, b) == pytest.approx(rough, rel=1e-4)


def test_closed_forms() -> None:
    a = draw(5, 40, 5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + np.array([3, 0, 4, 0, 0])) == pytest.approx(25)
    # The same directions with twice the spread: Tr(C + 4 C − 4 C) = Tr C.
    assert frechet_distance(a, 2 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(np.trace(np.cov(a, rowvar=False)))
    one = np.random.default_rng(6).normal(size=(30, 1))
    assert frechet_distance(one, 3 * one) == pytest.approx(4 * (one.mean() ** 2 + one.var(ddof=1)))


def test_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two samples"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match="at least two samples"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))
