"""The teacher's contact sheet."""

import cv2
import numpy as np

from learn2talk_core.report.teacher_sheet import write_teacher_sheet


def test_sheet_shows_every_video(tmp_path):
    red, blue = np.zeros((2, 4, 16, 16, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    clips = [("a", {"truth": red, "still": blue}), ("b", {"truth": red, "still": blue})]
    write_teacher_sheet(tmp_path / "sheet.png", clips, [["0 s", "1 s", "2 s", "3 s"]] * 2)
    image = cv2.imread(str(tmp_path / "sheet.png"))
    is_red = (image == (0, 0, 255)).all(axis=2).any(axis=1)
    is_blue = (image == (255, 0, 0)).all(axis=2).any(axis=1)
    order = np.where(is_red, "r", np.where(is_blue, "b", ""))
    assert [c for i, c in enumerate(order) if c and (i == 0 or order[i - 1] != c)] == ["r", "b", "r", "b"]


def test_no_label_is_cut(tmp_path):
    videos = {name: np.full((16, 16, 16, 3), 255, np.uint8) for name in ("truth", "generated", "still")}
    write_teacher_sheet(tmp_path / "sheet.png", [("", videos)] * 3, [[""] * 16] * 3)  # only the labels of the rows
    image = cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    inked = np.flatnonzero((image < 200).any(axis=0))
    assert inked[0] > 0
    assert inked[-1] - inked[0] > 40  # pixels: the width of "generated"
