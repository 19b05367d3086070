"""How far a measured lag can be trusted: the probability that it is right within one frame.

Fitted by logistic regression on clips whose sound was moved by known times, see `scripts/calibrate_score.py`. All
arrays are NumPy; nothing here knows how the embeddings were made.
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

FEW = 6  # a mean over fewer windows is left out of a curve
NEAR = 2  # frames around the least distance that belong to it: windows overlap
RIDGE = 1e-3  # keeps the weights finite where the two kinds are told apart without an error
MADE_BY = "python -m scripts.calibrate_score"
STORED = Path(__file__).with_name("lag_confidence.json")


@dataclass(frozen=True)
class Evidence:
    """What the distances of one stretch of sound say about its lag.

    Attributes:
        mouth_late_ms: milliseconds by which the motion lags behind the sound; negative when it is early.
        contrast: median minus least mean distance over the shifts (LSE-C's formula, over the windows with speech).
        margin: least mean distance that is more than `NEAR` frames away from the least one, minus that.
        windows: number of windows with speech.
        edge: the least distance is the first or last shift: the lag may be beyond.
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
        recipe: of the corpus (`Corpus.recipe`) that SyncNet3D and this were made with.
        network: SHA-256 of the weights of that SyncNet3D.
        intercept, contrast, margin, log_windows: the weights of the logistic regression.
        ranges: what was seen in training: name of a measure → lowest and highest value.
        about: command, commit, and how well it does on clips that it was not fitted on.
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
    """Lag of a stretch and how clearly it stands out; None where too little is said in it.

    Args:
        distances: (N, 2 S + 1), row n the distances of window n of the sound to the windows of the motion; column S + s
            is the one that the sound meets when it is shifted by s frames. NaN where there is none.
        keep: (N,) windows with speech: at silence a mouth that never moves is right, and that at shift 0 alone.
        fps: frames a second.
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
    """Probability in 0 … 1 that the lag is right within one frame; 0 at the edge, where it may lie beyond."""
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
        tried: evidence with known lags.
        right: (len(tried),) whether the lag was found within one frame.
        recipe, network, ranges, about: see `Calibration`.
    """
    inside = np.array([not found.edge for found in tried])
    features, wanted = _features(tried)[inside], np.asarray(right)[inside].astype(np.float64)
    if wanted.min(initial=1) == wanted.max(initial=0):
        found = f"{len(wanted)} of one kind"
        raise BadInput("lags", expected="lags that are found and others that are not", found=found, fix="Try more.")
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
    """How honest stated probabilities are.

    Returns:
        `brier`: mean squared difference to what happened; `expected_calibration_error`: mean over equally wide bins, by
        their number of cases, of |mean stated − share right| (Naeini et al. 2015); `bins`: rows of these three numbers.
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
    """Write it as JSON."""
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
