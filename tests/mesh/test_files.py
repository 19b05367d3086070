import numpy as np
import pytest

from learn2talk_core.mesh.files import read_mesh, write_mesh
from learn2talk_core.run.errors import BadInput
from tests.render.meshes import bumpy_sphere


@pytest.mark.parametrize("suffix", ["obj", "ply"])
@pytest.mark.parametrize("coloured", [True, False])
def test_what_is_written_is_read_in_the_same_order(tmp_path, suffix, coloured):
    vertices, faces, colours = (np.asarray(x) for x in bumpy_sphere())
    vertices = vertices[0].astype(np.float32)
    write_mesh(tmp_path / f"mesh.{suffix}", vertices, faces, colours if coloured else None)
    found, triangles = read_mesh(tmp_path / f"mesh.{suffix}")
    assert (found.dtype, triangles.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(found, vertices)
    np.testing.assert_array_equal(triangles, faces)


def test_polygons_texture_numbers_and_numbers_from_the_end(tmp_path):
    (tmp_path / "a.obj").write_text(
        "# x\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\n\nf 1/1 2/1/1 3//1 4\nf -4 -2 -1\n"
    )
    vertices, faces = read_mesh(tmp_path / "a.obj")
    assert vertices.shape == (4, 3)
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]


def test_seams_of_the_texture_do_not_split_vertices(tmp_path):
    (tmp_path / "a.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 1\nf 1/1 2/1 3/1\nf 1/2 3/2 4/2\n"
    )
    assert len(read_mesh(tmp_path / "a.obj")[0]) == 4


PLY = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar {kind} vertex_indices
end_header
0 0 0
1 0 0
0 1 0
3 0 1 {number}
"""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.stl", "", r"a\.stl: expected a name that ends in \.obj or \.ply"),
        ("a.ply", "ply of a kind", r"a\.ply: expected a mesh"),
        ("a.obj", "v 0 0 nothing", r"a\.obj: expected a mesh, found ValueError"),
        ("b.obj", "v 0 0 nan\nf 1 1 1", r"b\.obj: expected finite vertices"),
        ("c.obj", "v 0 0 0\nf 1 2 3", r"found 1 vertices, 1 triangles, vertex numbers from 0 to 2"),
        ("c.obj", "v 0 0 0\nv 1 0 0\nf 1 2 -3", r"found 2 vertices, 1 triangles, vertex numbers from -1 to 1"),
        ("c.obj", "v 0 0 0\nf 1 1 4294967297", r"c\.obj: expected a mesh, found OverflowError"),
        ("c.ply", PLY.format(kind="int", number=-1), r"found 3 vertices, 1 triangles, vertex numbers from -1 to 1"),
        ("c.ply", PLY.format(kind="uint", number=2**32 - 3), r"expected finite vertices, and triangles between"),
        ("d.obj", "", r"found 0 vertices"),
    ],
)
def test_broken_files_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        read_mesh(tmp_path / name)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.ply: expected a file, found nothing"):
        read_mesh(tmp_path / "none.ply")
