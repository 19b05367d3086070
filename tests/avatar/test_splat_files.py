import numpy as np
import pytest
import torch
import trimesh

from learn2talk_core.avatar.splat_files import read_splat_ply, write_splat_ply
from learn2talk_core.run.errors import BadInput
from tests.avatar.scene import some_splats


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_bound_splats_survive_a_file(tmp_path, degree):
    splats = some_splats(30, 8, degree=degree)
    write_splat_ply(tmp_path / "a.ply", splats, bound=True)
    for a, b in zip(read_splat_ply(tmp_path / "a.ply", 8), splats, strict=True):
        assert torch.equal(a, b)


def test_layout_is_the_fields(tmp_path):
    """Read by trimesh: names, and f_rest channel by channel."""
    splats = some_splats(5, 8, degree=1)
    write_splat_ply(tmp_path / "a.ply", splats, bound=False)
    raw = trimesh.load(tmp_path / "a.ply").metadata["_ply_raw"]["vertex"]["data"]
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(9))]
    assert list(raw.dtype.names) == [
        *names,
        "opacity",
        *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)),
    ]
    rest = np.stack([raw[f"f_rest_{i}"].ravel() for i in range(9)], 1)
    np.testing.assert_array_equal(rest[:, 3:6], splats.rest[:, :, 1])  # green
    np.testing.assert_array_equal(raw["opacity"].ravel(), splats.opacity)


def change(path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_bad_files_are_refused(tmp_path):
    path, splats = tmp_path / "a.ply", some_splats(12, 8, degree=1)
    with pytest.raises(BadInput, match="no such file"):
        read_splat_ply(path, 8)
    write_splat_ply(path, splats, bound=False)
    with pytest.raises(BadInput, match="found splats without binding_0"):
        read_splat_ply(path, 8)
    write_splat_ply(path, splats, bound=True)
    with pytest.raises(BadInput, match="expected triangles 0 … 3, found 0 … 7"):
        read_splat_ply(path, 4)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BadInput, match="bytes of 12 splats"):
        read_splat_ply(path, 8)
    write_splat_ply(path, splats._replace(scale=splats.scale * float("nan")), bound=True)
    with pytest.raises(BadInput, match="NaN or infinity in scale"):
        read_splat_ply(path, 8)
    write_splat_ply(path, splats._replace(rotation=0 * splats.rotation), bound=True)
    with pytest.raises(BadInput, match="a quaternion of length 0"):
        read_splat_ply(path, 8)
    write_splat_ply(path, splats, bound=True)
    change(path, b"property float opacity", b"property float opacitx")
    with pytest.raises(BadInput, match="found no opacity"):
        read_splat_ply(path, 8)
    change(path, b"element vertex 12", b"element vertex -1")
    with pytest.raises(BadInput, match="one element vertex with plain numbers"):
        read_splat_ply(path, 8)
    path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n")
    with pytest.raises(BadInput, match="a binary little endian PLY"):
        read_splat_ply(path, 8)
