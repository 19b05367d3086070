"""The figure of a sync score: the distance between mouth and sound at each lag, and the lag over the clip."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from learn2talk_core.report.names import FIRST, SECOND


def sync_curve(
    title: str,
    shifts_ms: np.ndarray,
    distances: np.ndarray,
    late_ms: float | None,
    rows: Sequence[Mapping[str, float | None]],
    frame_ms: float,
) -> Figure:
    """Two panels: the mean distance at each lag, and the lag of each excerpt over time.

    Args:
        title: title of the figure.
        shifts_ms, distances: lags of the mouth in milliseconds, and the mean distance at each; NaN if unknown.
        late_ms: the lag of the whole clip, None if unknown.
        rows: `time_s`, `mouth_late_ms` and `confidence` of each excerpt; without confidence it is drawn as certain.
        frame_ms: duration of a frame; the band of ± half a frame around 0, which is in sync, is shaded.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    left.plot(shifts_ms, distances, color=SECOND, linewidth=1.6)
    if late_ms is not None:
        left.axvline(late_ms, color=FIRST, linewidth=1.2, linestyle="--")
    left.set(xlabel="mouth late by (ms)", ylabel="mean distance, windows with speech")
    told = [row for row in rows if row["mouth_late_ms"] is not None]
    sure = [1.0 if row["confidence"] is None else row["confidence"] for row in told]
    right.axhspan(-frame_ms / 2, frame_ms / 2, color="#999999", alpha=0.3, linewidth=0)
    points = right.scatter(
        [row["time_s"] for row in told], [row["mouth_late_ms"] for row in told],
        c=sure, vmin=0, vmax=1, cmap="viridis_r", s=22, zorder=3,
    )  # fmt: skip
    figure.colorbar(points, ax=right, label="confidence")
    reach = float(np.abs(shifts_ms).max())
    right.set(xlabel="seconds", ylabel="mouth late by (ms)", ylim=(-1.05 * reach, 1.05 * reach))
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
    figure.suptitle(title, fontsize=10)
    return figure
