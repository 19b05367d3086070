"""Texture from an OBJ file and its picture, up to the picture that the lip reader sees."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from learn2talk_core.mesh.texture import read_texture
from learn2talk_core.mesh.topology import Topology, load_topology, save_topology
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.run.errors import BadInput
from tests.toy import sheet, topology

SIZE = 64  # pixels of the picture


@pytest.fixture
def obj(tmp_path: Path) -> Path:
    """The toy sheet with u across and v up; triangles in another order, and each turned by another corner. The red of
    the picture is u, its green 1 - v, its blue 0."""
    points, faces = sheet(), topology().faces
    uv = (points[:, :2] + 0.04) / 0.08
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points] + [f"vt {u:.6f} {v:.6f}" for u, v in uv[::-1]]
    for turn, face in enumerate(faces[::-1]):
        lines.append("f " + " ".join(f"{i + 1}/{len(points) - i}" for i in np.roll(face, turn)))
    (tmp_path / "head.obj").write_text("\n".join(lines))
    ramp = np.tile((np.arange(SIZE) + 0.5) / SIZE * 255, (SIZE, 1)).round().astype(np.uint8)
    cv2.imwrite(str(tmp_path / "head.png"), np.stack([np.zeros_like(ramp), ramp.T, ramp], axis=-1))
    return tmp_path / "head.obj"


def test_every_corner_gets_its_own_coordinates(obj: Path) -> None:
    texture = read_texture(obj, topology().faces)
    expected = (sheet()[topology().faces][..., :2] + 0.04) / 0.08
    np.testing.assert_allclose(texture.uv, expected, atol=2e-5)
    assert texture.image.shape == (SIZE, SIZE, 3)
    assert texture.image[0, -1].tolist() == [253, 2, 0]


def test_a_linear_texture_looks_like_linear_colours(obj: Path) -> None:
    faces, points = topology().faces, sheet()
    textured = dataclasses.replace(topology(), texture=read_texture(obj, faces))
    u, v = ((points[:, :2] + 0.04) / 0.08).T
    coloured = dataclasses.replace(topology(), colours=np.stack([u, 1 - v, 0 * u], axis=1).astype(np.float32))

    def picture(topology: Topology) -> np.ndarray:
        view = mouth_view(topology, points, 1000)
        return render_mouth(view, torch.from_numpy(points[None, view.vertex_ids])).numpy()

    np.testing.assert_allclose(picture(textured), picture(coloured), atol=0.012)


def test_a_topology_keeps_its_texture(obj: Path, tmp_path: Path) -> None:
    textured = dataclasses.replace(topology(), texture=read_texture(obj, topology().faces))
    save_topology(tmp_path / "t.npz", textured)
    again = load_topology(tmp_path / "t.npz").texture
    assert again is not None
    assert textured.texture is not None
    np.testing.assert_array_equal(again.uv, textured.texture.uv)
    np.testing.assert_array_equal(again.image, textured.texture.image)


def test_wrong_files_are_refused(obj: Path, tmp_path: Path) -> None:
    faces = topology().faces
    with pytest.raises(BadInput, match="1 of them missing"):
        read_texture(obj, np.concatenate([faces[:-1], faces[-1:, ::-1]]))
    (tmp_path / "head.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match="no such picture"):
        read_texture(obj, faces)
    (tmp_path / "head.png").unlink()
    with pytest.raises(BadInput, match="beside the OBJ file"):
        read_texture(obj, faces)
    obj.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(BadInput, match="line 4"):
        read_texture(obj, faces)
    with pytest.raises(BadInput, match=r"corpus\.source\.texture"):
        read_texture(tmp_path / "none.obj", faces)
