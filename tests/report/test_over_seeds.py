"""Metrics over seeds, against sums in loops."""

import numpy as np
import pytest

from learn2talk_core.metrics.bootstrap import bootstrap_interval
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.report.over_seeds import ClipRow, OverSeeds, pooled_seeds, seed_table

PROTOCOL = {
    "lse_d": {"name": "LSE-D", "unit": "", "goal": "lower"},
    "lve": {"name": "LVE", "unit": "m²", "goal": "lower"},
    "fdd": {"name": "FDD", "unit": "m²", "goal": "zero"},
    "lrp": {"name": "LRP", "unit": "%", "goal": "higher"},
}


def runs(seeds: int, clips: int) -> list[list[ClipRow]]:
    draw = np.random.default_rng(0)
    return [[{"clip": f"c{i}", "x": float(draw.normal()), "x_weight": int(draw.integers(1, 9)), "y": None,
              "y_weight": 0} for i in range(clips)] for _ in range(seeds)]  # fmt: skip


def test_mean_and_seeds_are_weighted_by_frames() -> None:
    given = runs(3, 5)
    found = pooled_seeds(given, "x")
    assert found is not None
    total = weight = 0.0
    seeds = []
    for run in given:
        own_total = own_weight = 0.0
        for row in run:
            own_total += row["x"] * row["x_weight"]
            own_weight += row["x_weight"]
        seeds.append(own_total / own_weight)
        total, weight = total + own_total, weight + own_weight
    assert found.mean == pytest.approx(total / weight)
    assert found.seeds == pytest.approx(seeds)
    assert found.spread == pytest.approx((max(seeds) - min(seeds)) / 2)


def test_interval_is_over_clips_that_keep_their_seeds() -> None:
    """Against 4000 draws in a loop: a clip that is drawn brings all of its seeds."""
    given = runs(2, 12)
    found = pooled_seeds(given, "x")
    assert found is not None
    clips = [
        Ratio(sum(run[i]["x"] * run[i]["x_weight"] for run in given), sum(run[i]["x_weight"] for run in given))
        for i in range(12)
    ]
    assert (found.low, found.high) == pytest.approx(bootstrap_interval(clips, seed=0))
    draw, values = np.random.default_rng(5), []
    for _ in range(4000):
        drawn = [clips[i] for i in draw.integers(12, size=12)]
        values.append(sum(c.total for c in drawn) / sum(c.weight for c in drawn))
    np.testing.assert_allclose((found.low, found.high), np.quantile(values, [0.025, 0.975]), atol=0.05)


def test_a_metric_that_no_clip_has() -> None:
    assert pooled_seeds(runs(2, 3), "y") is None
    assert pooled_seeds(runs(2, 3), "absent") is None
    assert pooled_seeds([[], []], "x") is None


def test_table() -> None:
    rows: dict[str, dict[str, OverSeeds | float | None]] = {
        "A": {"lse_d": OverSeeds(8.9, 8.5, 9.25, (8.8, 9.0)), "lve": OverSeeds(2.5e-5, 2e-5, 3e-5, (2.5e-5,)),
              "fdd": OverSeeds(-1e-8, -2e-8, 0.0, (-1e-8,)), "lrp": None},
        "B": {"lse_d": OverSeeds(9.1, 9.0, 9.2, (9.1, 9.1)), "lve": OverSeeds(1.25e-5, 1e-5, 2e-5, (1.25e-5,)),
              "fdd": OverSeeds(9e-9, 8e-9, 1e-8, (9e-9,)), "lrp": None},
        "B, paper": {"lse_d": 8.0, "lve": 2.5148e-5, "fdd": None},
    }  # fmt: skip
    assert seed_table(rows, ["lse_d", "lve", "fdd", "lrp"], PROTOCOL).splitlines() == [
        "| | LSE-D | LVE 10⁻⁵ m² | FDD 10⁻⁸ m² |",
        "|---|---|---|---|",
        "| A | **8.900 [8.500, 9.250] ± 0.100** | 2.500 [2.000, 3.000] | -1.000 [-2.000, 0.000] |",
        "| B | 9.100 [9.000, 9.200] ± 0.000 | **1.250 [1.000, 2.000]** | **0.900 [0.800, 1.000]** |",
        "| B, paper | 8.000 | 2.515 | – |",
    ]


def test_percent_have_one_digit() -> None:
    rows = {"A": {"lrp": OverSeeds(83.26, 80.0, 90.0, (83.26,))}}
    assert seed_table(rows, ["lrp"], PROTOCOL).splitlines()[-1] == "| A | **83.3 [80.0, 90.0]** |"


def test_differences_are_bold_if_their_interval_is_on_one_side_of_zero() -> None:
    given = {"less": (-0.3, -0.1), "more": (0.1, 0.3), "unknown": (-0.2, 0.1)}
    rows = {title: {"lse_d": OverSeeds(sum(ends) / 2, *ends, (0.0,))} for title, ends in given.items()}
    assert seed_table(rows, ["lse_d"], PROTOCOL, differences=True).splitlines()[2:] == [
        "| less | **-0.200 [-0.300, -0.100]** |",
        "| more | **0.200 [0.100, 0.300]** |",
        "| unknown | -0.050 [-0.200, 0.100] |",
    ]
