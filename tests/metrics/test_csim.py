import numpy as np
import pytest

from learn2talk_core.metrics.csim import identity_similarity


def test_known_angles() -> None:
    reference = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert identity_similarity(3 * reference, reference) == pytest.approx(1)
    assert identity_similarity(-reference, reference) == pytest.approx(-1)
    assert identity_similarity(np.array([[1.0, 1.0], [1.0, 0.0]]), reference) == pytest.approx(np.sqrt(0.5) / 2)


def test_one_still_for_all_pictures() -> None:
    turned = np.array([[np.cos(a), np.sin(a)] for a in (0.0, 0.5, 1.0)])
    assert identity_similarity(turned, np.array([[5.0, 0.0]])) == pytest.approx(np.cos([0, 0.5, 1]).mean())


def test_other_numbers_of_pictures_are_refused() -> None:
    for pictures, references in ((3, 2), (0, 1), (0, 0)):
        with pytest.raises(ValueError, match="the same pictures"):
            identity_similarity(np.ones((pictures, 4)), np.ones((references, 4)))
