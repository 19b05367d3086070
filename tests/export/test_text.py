import re

import numpy as np
import pytest

from learn2talk_core.export.text import decimals, triples


@pytest.mark.parametrize("places", [0, 1, 7])
def test_numbers_are_those_that_python_writes(places: int) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(50, 3)) * 10.0 ** rng.integers(-9, 6, (50, 3)), np.zeros((1, 3))])
    expected = "".join("v " + ", ".join(f"{x:.{places}f}" for x in row) + "\n" for row in values.tolist())
    expected = re.sub(r"-(0\.?0*)(?=[,\n])", r"\1", expected)  # no negative zero
    assert triples(values, places, start=b"v ", between=b", ", end=b"\n").decode() == expected
    assert triples(values[:0], places, start=b"(", between=b" ", end=b")") == b""


def test_widest_numbers_fit() -> None:
    values = np.full((1000, 3), -9.2e18)
    assert triples(values, 0, start=b"", between=b"", end=b"").decode() == "-9200000000000000000" * 3000
    assert triples(values / 1e12, 12, start=b"", between=b"", end=b"").decode() == "-9200000.000000000000" * 3000


@pytest.mark.parametrize(("mm_per_unit", "places"), [(1000.0, 7), (1.0, 4), (250.0, 7), (1e-5, 0)])
def test_digits_hold_a_ten_thousandth_of_a_millimetre(mm_per_unit: float, places: int) -> None:
    assert decimals(mm_per_unit) == places
