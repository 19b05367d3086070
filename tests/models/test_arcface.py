import numpy as np
import pytest

from learn2talk_core.models.arcface import load_arcface
from learn2talk_core.run.errors import BadInput
from tests.models.onnx_file import write_mean_colour, write_picture_to_picture


def test_pixels_are_rgb_in_minus_one_to_one(tmp_path):
    write_mean_colour(tmp_path / "mean.onnx")
    embed = load_arcface(tmp_path / "mean.onnx")
    face = np.full((112, 112, 3), [255, 0, 51], np.uint8)
    np.testing.assert_allclose(embed(face), [1, -1, -0.6], atol=1e-3)
    half = face.copy()
    half[:56] = 0
    np.testing.assert_allclose(embed(half), [0, -1, -0.8], atol=1e-3)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(BadInput, match="found no such file"):
        load_arcface(tmp_path / "none.onnx")
    (tmp_path / "page.onnx").write_text("<!DOCTYPE html>")
    with pytest.raises(BadInput, match="expected an ONNX network that OpenCV can run"):
        load_arcface(tmp_path / "page.onnx")
    write_picture_to_picture(tmp_path / "picture.onnx")
    with pytest.raises(BadInput, match=r"one embedding, \(1, E\), found output \(1, 3, 112, 112\)"):
        load_arcface(tmp_path / "picture.onnx")
