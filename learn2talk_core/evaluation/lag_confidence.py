"""Confidence of a measured lag: the probability that it is correct within one frame.

Fitted by logistic regression on clips whose sound was shifted by known times, see `scripts/calibrate_score.py`. All
arrays are NumPy; nothing here depends on how the embeddings were made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, write_json
from learn2talk_core.statistics.synchrony import Array, lag, mean_distances, sync_error

FEW = 6  # a mean over fewer windows is left out of the curve
NEAR = 2  # frames around the minimum that are counted as part of it, because windows overlap
RIDGE = 1e-3  # keeps the weights finite when the two classes are separable
MADE_BY = "python -m scripts.calibrate_score"
STORED = Path(__file__).with_name("lag_confidence.json")


@dataclass(frozen=True)
class Evidence:
    """What the distances of one segment of sound say about its lag.

    Attributes:
        mouth_late_ms: milliseconds by which the motion lags behind the sound; negative when it is early.
        contrast: median minus minimum of the mean distance over the shifts (LSE-C's formula, over windows with speech).
        margin: lowest mean distance more than `NEAR` frames away from the minimum, minus the minimum.
        windows: number of windows with speech.
        edge: the minimum is at the first or last shift: the true lag may be beyond it.
        curve: (2 S + 1,) mean distance at the shifts −S … S of the sound.
    """

    mouth_late_ms: float
    contrast: float
    margin: float
    windows: int
    edge: bool
    curve: Array


@dataclass(frozen=True)
class Calibration:
    """See `fit_calibration`.

    Attributes:
        recipe: recipe of the corpus (`Corpus.recipe`) that SyncNet3D and this calibration were made with.
        network: SHA-256 of the weights of that SyncNet3D.
        intercept, contrast, margin, log_windows: the weights of the logistic regression.
        ranges: values in the training data: name of a measure → lowest and highest value.
        about: command, commit, and accuracy on held-out clips.
    """

    recipe: str
    network: str
    intercept: float
    contrast: float
    margin: float
    log_windows: float
    ranges: Mapping[str, Sequence[float]]
    about: Mapping[str, Any]


def evidence(distances: Array, keep: NDArray[np.bool_], fps: float) -> Evidence | None:
    """Lag of a segment and how distinct it is; None if the segment contains too little speech.

    Args:
        distances: (N, 2 S + 1), row n has the distances of window n of the sound to the windows of the motion; column
            S + s is for the sound shifted by s frames. NaN where there is no such window.
        keep: (N,) windows with speech. Windows of silence would favour a mouth that never moves, at shift 0 only.
        fps: frames per second.
    """
    kept = distances[keep]
    curve = mean_distances(distances, keep)
    curve = np.where(np.isfinite(kept).sum(axis=0) >= FEW, curve, np.nan)
    reached = np.flatnonzero(np.isfinite(curve))
    if len(reached) < 2 * NEAR + 3:
        return None
    best = int(np.nanargmin(curve))
    others = np.concatenate([curve[: max(0, best - NEAR)], curve[best + NEAR + 1 :]])
    least, contrast = sync_error(curve)
    return Evidence(
        mouth_late_ms=-lag(curve, fps).milliseconds,
        contrast=contrast,
        margin=float(np.nanmin(others)) - least,
        windows=len(kept),
        edge=best in (reached[0], reached[-1]),
        curve=curve,
    )


def confidence(calibration: Calibration, found: Evidence) -> float:
    """Probability in 0 … 1 that the lag is correct within one frame; 0 at the edge, where it may lie beyond."""
    if found.edge:
        return 0.0
    weights = np.array([calibration.intercept, calibration.contrast, calibration.margin, calibration.log_windows])
    return float(_sigmoid(_features([found]) @ weights)[0])


def fit_calibration(
    tried: Sequence[Evidence],
    right: NDArray[np.bool_],
    *,
    recipe: str,
    network: str,
    ranges: Mapping[str, Sequence[float]],
    about: Mapping[str, Any],
) -> Calibration:
    """Logistic regression of `right` on contrast, margin and the logarithm of the number of windows.

    Args:
        tried: evidence from known lags.
        right: (len(tried),) whether the lag was found within one frame.
        recipe, network, ranges, about: see `Calibration`.
    """
    inside = np.array([not found.edge for found in tried])
    features, wanted = _features(tried)[inside], np.asarray(right)[inside].astype(np.float64)
    if wanted.min(initial=1) == wanted.max(initial=0):
        found = f"{len(wanted)} lags, all of them {'correct' if wanted[0] else 'incorrect'}"
        fix = "Measure more clips at more lags."
        raise BadInput("lags", expected="both correct and incorrect lags", found=found, fix=fix)
    mean, scale = features[:, 1:].mean(axis=0), features[:, 1:].std(axis=0) + 1e-9
    standard = np.column_stack([features[:, :1], (features[:, 1:] - mean) / scale])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = standard @ weights
        value = float((np.logaddexp(0, logit) - wanted * logit).mean() + RIDGE * (weights[1:] ** 2).sum())
        slope = standard.T @ (_sigmoid(logit) - wanted) / len(wanted)
        return value, slope + 2 * RIDGE * np.concatenate([[0.0], weights[1:]])

    standardised = minimize(loss, np.zeros(standard.shape[1]), jac=True, method="BFGS").x
    slopes = standardised[1:] / scale
    contrast, margin, log_windows = (float(slope) for slope in slopes)
    intercept = float(standardised[0] - slopes @ mean)
    return Calibration(recipe, network, intercept, contrast, margin, log_windows, dict(ranges), dict(about))


def reliability(stated: Array, right: NDArray[np.bool_], bins: int = 10) -> dict[str, Any]:
    """How well stated probabilities are calibrated.

    Returns:
        `brier`: mean squared difference to the outcome; `expected_calibration_error`: mean of |mean stated − share
        right| over bins of equal width, weighted by their number of cases (Naeini et al. 2015); `bins`: one row per bin
        with cases, stated and right.
    """
    place = np.minimum((np.asarray(stated) * bins).astype(int), bins - 1)
    table = [
        {"cases": int((place == b).sum()), "stated": float(stated[place == b].mean()),
         "right": float(right[place == b].mean())}
        for b in np.unique(place)
    ]  # fmt: skip
    error = sum(row["cases"] * abs(row["stated"] - row["right"]) for row in table) / max(1, len(stated))
    return {
        "cases": len(stated),
        "brier": float(((stated - right) ** 2).mean()),
        "expected_calibration_error": float(error),
        "bins": table,
    }


def save_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write the calibration as JSON."""
    write_json(path, asdict(calibration))


def load_calibration(path: str | Path = STORED) -> Calibration:
    """Read what `save_calibration` wrote; by default the one that comes with the package."""
    found = read_json(path, made_by=MADE_BY)
    try:
        numbers = {name: float(found[name]) for name in ("intercept", "contrast", "margin", "log_windows")}
        ranges = {str(name): (float(low), float(high)) for name, (low, high) in found["ranges"].items()}
        if not np.isfinite([*numbers.values(), *(value for pair in ranges.values() for value in pair)]).all():
            raise ValueError("NaN or infinity")
        recipe, network = str(found["recipe"]), str(found["network"])
        return Calibration(recipe=recipe, network=network, **numbers, ranges=ranges, about=dict(found["about"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise BadInput(path, expected="a calibration", found=said, fix=f"Make it: {MADE_BY}.") from error


def _features(tried: Sequence[Evidence]) -> NDArray[np.float64]:
    rows = [(1.0, found.contrast, found.margin, np.log(found.windows)) for found in tried]
    return np.array(rows, np.float64).reshape(-1, 4)


def _sigmoid(logit: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * logit))
