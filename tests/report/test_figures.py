from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from learn2talk_core.report.figures import distance_histogram, error_heat_maps, lip_opening, loss_curves
from learn2talk_core.report.png import save_png
from tests.report.scene import PHONEMES, grid


def pixels(figure: Figure, folder: Path) -> np.ndarray:
    save_png(folder / "a.png", figure)
    save_png(folder / "b.png", figure)
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    return np.asarray(Image.open(folder / "a.png")).astype(int)


def test_heat_maps_are_red_where_the_error_is(tmp_path: Path) -> None:
    template, topology = grid()
    truth = np.repeat(template[None], 2, axis=0)
    wrong = truth.copy()
    wrong[:, topology.regions["lips"], 2] += 0.0039
    error = 1000 * np.linalg.norm(wrong - truth, axis=2).mean(axis=0)
    figure = error_heat_maps(
        truth, {"faceformer": wrong, "learn2talk": truth}, ["m", "aa"], {"faceformer": error, "learn2talk": 0 * error},
        template, topology, 1000.0,
    )  # fmt: skip
    image = pixels(figure, tmp_path)
    left, top, width, size = 34, 30, int(0.8 * 168), 168
    red = []
    for r in range(3):
        row = image[top + r * size : top + (r + 1) * size]
        red.append([_red(row[:, left + c * width : left + (c + 1) * width]) for c in range(3)])
    assert all(share > 0.005 for share in red[1])
    assert red[0][:2] == [0, 0]
    assert red[2] == [0, 0, 0]
    assert figure.axes[-1].get_ylabel() == "distance from the truth (mm)"
    assert figure.axes[-1].get_ylim() == (0, 4.0)


def test_loss_curves() -> None:
    curve = pd.DataFrame({"step": [0.0, 1.0, 2.0], "loss": [1.0, 0.5, 0.25], "vertex": [0.9, 0.4, 0.2]})
    figure = loss_curves({"student": curve, "syncnet3d-loss": -curve}, columns=4)
    student, other = figure.axes
    assert (student.get_title(), student.get_yscale(), other.get_yscale()) == ("student", "log", "linear")
    assert {line.get_label(): list(line.get_ydata()) for line in student.lines} == {
        "loss": [1.0, 0.5, 0.25],
        "vertex": [0.9, 0.4, 0.2],
    }
    assert len(loss_curves({str(n): curve for n in range(6)}, columns=4).axes) == 8


def test_distance_histogram_shows_shares() -> None:
    table = pd.DataFrame({"distance": [0.25, 0.75], "genuine": [30, 10], "false": [1.0, 3.0]})
    bars = distance_histogram(table, "title").axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([75, 25, 25, 75])
    assert [bar.get_width() for bar in bars] == pytest.approx([0.5] * 4)


def test_lip_opening(tmp_path: Path) -> None:
    gaps = {"truth": np.arange(20.0), "learn2talk": np.arange(18.0)}
    figure = lip_opening([("title", gaps, PHONEMES)], 30.0)
    (axis,) = figure.axes
    assert [line.get_label() for line in axis.lines] == ["Truth", "Learn2Talk"]
    np.testing.assert_allclose(axis.lines[1].get_xdata(), (np.arange(18) + 0.5) / 30)
    assert [text.get_text() for text in axis.texts] == ["m", "aa", "f", "uw", "s", "iy", "p"]
    assert len(axis.patches) == 2  # bands behind m and p
    assert pixels(figure, tmp_path).shape[2] == 3


def _red(picture: np.ndarray) -> float:
    return float(((picture[..., 0] > 100) & (picture[..., 1] < 60) & (picture[..., 2] < 80)).mean())
