"""The report's figures. Functions take arrays and tables and return figures; `png.save_png` writes a figure.

Nothing here uses pyplot or a display, so the pictures are the same on a server.
"""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from learn2talk_core.corpus.phonemes import BILABIALS, Phoneme
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.render.shading import Light
from learn2talk_core.report.face import portrait_camera, portraits
from learn2talk_core.report.names import PALETTE, SECOND, row_colours, row_title
from learn2talk_core.report.png import DPI

OTHERS = ("#d98a00", "#009e73", "#cc79a7", "#777777", "#56b4e9")
ERROR_MAP = "YlOrRd"


def error_heat_maps(
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    labels: Sequence[str],
    mean_errors: Mapping[str, np.ndarray],
    template: np.ndarray,
    topology: Topology,
    mm_per_unit: float,
    *,
    size: int = 168,
) -> Figure:
    """Fig. 7: the distance of every vertex from the true motion, as colour on the predicted face.

    Args:
        truth: (K, V, 3) the true vertices of K frames.
        predictions: model → its vertices in the same frames, (K, V, 3).
        labels: a label for each of the K frames: the spoken phoneme, or the time.
        mean_errors: model → error averaged over all frames of a test set, (V,) in mm; shown on the template.
        template: (V, 3) the template of the speaker in these frames.
        size: height of one picture in pixels.
    """
    errors = {name: mm_per_unit * np.linalg.norm(found - truth, axis=2) for name, found in predictions.items()}
    worst = max((float(np.quantile(error, 0.995)) for error in errors.values()), default=1.0)
    scale = Normalize(0, max(0.5, np.ceil(2 * worst) / 2), clip=True)
    colour_map = mpl.colormaps[ERROR_MAP]
    camera, width = portrait_camera(topology, template), int(0.8 * size)

    def picture(vertices: np.ndarray, colours: np.ndarray | None) -> np.ndarray:
        light = Light(ambient=0.6, diffuse=0.4, specular=0.0) if colours is not None else Light()
        return portraits(
            vertices, topology, camera, size, width, colours=colours, background=(1.0, 1.0, 1.0), light=light
        )

    # A pixel of a picture is a pixel of the figure: the layout is computed in pixels, then in fractions of the figure.
    rows, columns = len(predictions) + 1, len(truth) + 1
    left, right, top, bottom = 34, 86, 30, 6
    total_width, total_height = left + columns * width + right, top + rows * size + bottom
    figure = Figure(figsize=(total_width / DPI, total_height / DPI))
    axes = figure.subplots(
        rows, columns, squeeze=False,
        gridspec_kw={
            "left": left / total_width, "right": 1 - right / total_width, "wspace": 0,
            "top": 1 - top / total_height, "bottom": bottom / total_height, "hspace": 0,
        },
    )  # fmt: skip
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, label in zip(axes[0], picture(truth, None), labels, strict=False):
        axis.imshow(image)
        axis.set_title(label, fontsize=11)
    axes[0, -1].set_title("mean of test", fontsize=11)
    for row, (name, error) in enumerate(errors.items(), 1):
        images = [*picture(predictions[name], colour_map(scale(error))[..., :3])]
        images += [*picture(template[None], colour_map(scale(mean_errors[name]))[None, :, :3])]
        for axis, image in zip(axes[row], images, strict=True):
            axis.imshow(image)
    for row, name in enumerate(["truth", *errors]):
        middle = (bottom + (rows - row - 0.5) * size) / total_height
        figure.text(17 / total_width, middle, row_title(name), rotation=90, ha="center", va="center", fontsize=11)
    bar = figure.add_axes((1 - (right - 12) / total_width, bottom / total_height + 0.06, 14 / total_width, 0.5))
    figure.colorbar(ScalarMappable(scale, colour_map), cax=bar, label="distance from the truth (mm)")
    return figure


def distance_histogram(table: pd.DataFrame, title: str) -> Figure:
    """Fig. 5: histogram of the distances between SyncNet3D's audio and motion embeddings, genuine and false pairs.

    Args:
        table: columns `distance` (middle of each bin), `genuine` and `false` (pairs in the bin; counts or shares).
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    distance = table["distance"].to_numpy(float)
    step = float(np.diff(distance).mean()) if len(distance) > 1 else 1.0
    for column, colour, label in (
        ("genuine", SECOND, "genuine pairs"),
        ("false", "#cc3311", "false pairs (sound shifted)"),
    ):
        share = table[column].to_numpy(float)
        share = 100 * share / max(share.sum(), 1e-12)
        axis.bar(distance, share, width=step, color=colour, alpha=0.55, label=label)
    axis.set(xlabel="L2 distance between sound and motion embeddings", ylabel="share of the pairs (%)", title=title)
    axis.legend(frameon=False)
    _plain(axis)
    return figure


def loss_curves(curves: Mapping[str, pd.DataFrame], *, columns: int = 4) -> Figure:
    """All training curves in one figure, one panel each: every column over `step`.

    Args:
        curves: name of the training → table with `step`, `loss` and any other columns.
    """
    rows = max(1, -(-len(curves) // columns))
    figure = Figure(figsize=(3.4 * min(columns, max(1, len(curves))), 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, min(columns, max(1, len(curves))), squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.set_axis_off()
    for axis, (name, curve) in zip(axes.flat, curves.items(), strict=False):
        others = [column for column in curve.columns if column not in ("step", "loss")]
        positive = bool((curve.drop(columns="step") > 0).all(axis=None))
        for column, colour in zip(others, itertools.cycle(OTHERS), strict=False):
            axis.plot(curve["step"], curve[column], label=column, color=colour, linewidth=0.9)
        axis.plot(curve["step"], curve["loss"], label="loss", color=SECOND, linewidth=1.6)
        if positive:
            axis.set_yscale("log")
        axis.set_title(name, fontsize=10)
        axis.tick_params(labelsize=8, which="both")
        if others:
            axis.legend(fontsize=7, frameon=False)
        _plain(axis)
    figure.supxlabel("training step", fontsize=10)
    return figure


def lip_opening(clips: Sequence[tuple[str, Mapping[str, np.ndarray], Sequence[Phoneme]]], fps: float) -> Figure:
    """The lip gap over time, true and predicted, with the phonemes. Grey bands: p, b, m.

    Args:
        clips: for each clip its title, model → gap in mm (T,), and its phonemes.
    """
    figure = Figure(figsize=(11, 2.9 * max(1, len(clips))), layout="constrained")
    axes = figure.subplots(max(1, len(clips)), squeeze=False)[:, 0]
    for axis, (title, gaps, phonemes) in zip(axes, clips, strict=False):
        shades, again = row_colours(list(gaps)), [name for name in gaps if name != "truth"][len(PALETTE) :]
        for name, gap in gaps.items():
            time = (np.arange(len(gap)) + 0.5) / fps
            axis.plot(
                time, gap, "--" if name in again else "-", color=shades[name], label=row_title(name), linewidth=1.4
            )
        for phoneme in phonemes:
            bilabial = phoneme.name in BILABIALS
            if bilabial:
                axis.axvspan(phoneme.start, phoneme.end, color="#999999", alpha=0.3, linewidth=0)
            axis.text(
                (phoneme.start + phoneme.end) / 2, 1.01, phoneme.name.lower(), transform=axis.get_xaxis_transform(),
                ha="center", va="bottom", fontsize=8, weight="bold" if bilabial else "normal",
            )  # fmt: skip
        longest = max((len(gap) for gap in gaps.values()), default=1)
        axis.set(xlim=(0, longest / fps), ylabel="lip gap (mm)")
        axis.set_title(title, fontsize=10, pad=18)
        _plain(axis)
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=9, ncols=3, loc="outside lower right")
    axes[-1].set_xlabel("seconds")
    return figure


def _plain(axis: mpl.axes.Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)


def empty(text: str) -> Figure:
    """A placeholder figure with a text that explains why there is no picture."""
    figure = Figure(figsize=(6, 0.6), dpi=DPI)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
