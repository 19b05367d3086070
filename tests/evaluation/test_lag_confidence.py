import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.evaluation.lag_confidence import (
    Calibration,
    Evidence,
    confidence,
    evidence,
    fit_calibration,
    load_calibration,
    reliability,
    save_calibration,
)
from learn2talk_core.metrics.lse import lse
from learn2talk_core.run.errors import BadInput
from learn2talk_core.statistics.synchrony import shifted_distances

PLAIN = Calibration("toy", "0" * 64, -1.0, 2.0, 3.0, 0.5, {"speech": (0.2, 1.0)}, {})


def planted(late: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of a motion and of its sound, where the motion is late by the given number of frames."""
    rng = np.random.default_rng(seed)
    long = rng.normal(size=(140, 16))
    long = (long[1:] + long[:-1]) / 2
    return long[20 - late : 110 - late], long[20:110] + 0.1 * rng.normal(size=(90, 16))


def rows(mesh: np.ndarray, audio: np.ndarray) -> np.ndarray:
    return shifted_distances(audio, mesh)[:, ::-1]


@pytest.mark.parametrize("late", [-10, -1, 0, 3, 10])
def test_a_late_mouth_is_positive_and_agrees_with_lse(late: int) -> None:
    mesh, audio = planted(late)
    found = evidence(rows(mesh, audio), np.ones(90, bool), 30)
    assert found is not None
    assert found.mouth_late_ms == pytest.approx(late / 30 * 1000, abs=5)
    whole = lse(mesh, audio, 30)
    assert found.mouth_late_ms == pytest.approx(-whole.lag_ms, abs=1)
    np.testing.assert_allclose(found.curve, whole.curve, atol=0.05)  # the same pairs except at the ends of the clip
    others = np.delete(found.curve, range(15 - late - 2, 15 - late + 3))
    assert found.margin == pytest.approx(others.min() - found.curve.min())
    assert found.contrast == pytest.approx(np.median(found.curve) - found.curve.min())
    assert (found.windows, found.edge) == (90, False)


def test_the_end_of_the_search_is_no_answer() -> None:
    found = evidence(rows(*planted(15)), np.ones(90, bool), 30)
    assert found is not None
    assert found.edge
    assert confidence(PLAIN, found) == 0.0


def test_silence_and_too_few_windows() -> None:
    table = rows(*planted(4))
    assert evidence(table, np.zeros(90, bool), 30) is None
    assert evidence(table[:5], np.ones(5, bool), 30) is None
    speech = np.zeros(90, bool)
    speech[30:60] = True
    found = evidence(table, speech, 30)
    assert found is not None
    assert found.windows == 30
    np.testing.assert_allclose(found.curve, np.nanmean(table[30:60], axis=0))


def test_the_fit_gives_back_the_probabilities_that_made_the_cases() -> None:
    rng = np.random.default_rng(1)
    tried = [
        Evidence(0.0, float(c), float(m), int(n), False, np.zeros(0))
        for c, m, n in zip(rng.uniform(0, 1, 6000), rng.uniform(0, 0.5, 6000), rng.integers(6, 300, 6000), strict=True)
    ]
    true = replace(PLAIN, intercept=-6.0, contrast=3.0, margin=8.0, log_windows=0.7)
    truly = np.array([confidence(true, found) for found in tried])
    fitted = fit_calibration(tried, rng.uniform(size=6000) < truly, recipe="toy", network="", ranges={}, about={})
    stated = np.array([confidence(fitted, found) for found in tried])
    assert np.abs(stated - truly).max() < 0.06
    honest = reliability(stated, rng.uniform(size=6000) < truly)
    assert honest["expected_calibration_error"] < 0.03
    assert sum(row["cases"] for row in honest["bins"]) == honest["cases"] == 6000
    with pytest.raises(BadInput, match="expected both correct and incorrect lags, found 6000 lags, all of them"):
        fit_calibration(tried, np.ones(6000, bool), recipe="toy", network="", ranges={}, about={})


def test_reliability_by_hand() -> None:
    found = reliability(np.array([0.05, 0.05, 1.0, 0.75]), np.array([False, True, True, True]))
    assert found["brier"] == pytest.approx((0.05**2 + 0.95**2 + 0 + 0.25**2) / 4)
    assert found["expected_calibration_error"] == pytest.approx((2 * 0.45 + 0 + 0.25) / 4)


def test_a_calibration_there_and_back_and_broken_ones(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    save_calibration(path, PLAIN)
    assert load_calibration(path) == PLAIN
    whole = json.loads(path.read_text())
    for broken in (
        [], {**whole, "margin": "x"}, {**whole, "ranges": {"speech": [1]}}, {**whole, "margin": None}, {"margin": 1},
        {**whole, "ranges": []},
    ):  # fmt: skip
        path.write_text(json.dumps(broken))
        with pytest.raises(
            BadInput, match=r"expected a calibration, found .*Make it: python -m scripts.calibrate_score"
        ):
            load_calibration(path)


def test_the_packages_own_calibration_is_honest() -> None:
    found = load_calibration()
    assert found.recipe == "embedded"
    assert set(found.ranges) == {"mouth_mm", "rest", "energy", "speed", "explained", "speech", "loudness_db"}
    honest = found.about["reliability"]
    assert honest["cases"] > 300
    assert honest["brier"] < 0.1
    assert honest["expected_calibration_error"] < 0.08
