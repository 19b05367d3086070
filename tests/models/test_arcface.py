import numpy as np
import pytest

from learn2talk_core.corpus.landmarks import similarity
from learn2talk_core.errors import BadInput
from learn2talk_core.models.arcface import TEMPLATE, aligned, load_arcface
from tests.models.onnx_file import write_mean_colour, write_picture_to_picture


def test_pixels_are_rgb_in_minus_one_to_one(tmp_path):
    write_mean_colour(tmp_path / "mean.onnx")
    embed = load_arcface(tmp_path / "mean.onnx")
    face = np.full((112, 112, 3), [255, 0, 51], np.uint8)
    np.testing.assert_allclose(embed(face), [1, -1, -0.6], atol=1e-3)
    half = face.copy()
    half[:56] = 0
    np.testing.assert_allclose(embed(half), [0, -1, -0.8], atol=1e-3)


def test_faces_are_turned_and_scaled_to_the_template():
    turn = np.array([[0.0, -2.0], [2.0, 0.0]])  # a head that lies on its side, twice as large
    points = TEMPLATE @ turn.T + [260, 20]
    matrix = similarity(points, TEMPLATE)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-3)
    picture = np.zeros((300, 300, 3), np.uint8)
    x, y = np.round(points[2]).astype(int)
    picture[y - 6 : y + 7, x - 6 : x + 7] = 255
    found = aligned(picture, points)
    assert found.shape == (112, 112, 3)
    rows, columns = np.nonzero(found[..., 0] > 127)
    np.testing.assert_allclose([columns.mean(), rows.mean()], TEMPLATE[2], atol=0.5)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(BadInput, match="found no such file"):
        load_arcface(tmp_path / "none.onnx")
    (tmp_path / "page.onnx").write_text("<!DOCTYPE html>")
    with pytest.raises(BadInput, match="expected an ONNX network that OpenCV can run"):
        load_arcface(tmp_path / "page.onnx")
    write_picture_to_picture(tmp_path / "picture.onnx")
    with pytest.raises(BadInput, match=r"one embedding, \(1, E\), found output \(1, 3, 112, 112\)"):
        load_arcface(tmp_path / "picture.onnx")
