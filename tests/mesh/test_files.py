import struct
from pathlib import Path

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


CORNERS = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
SQUARE = [[0, 1, 2], [0, 2, 3]]
FIVE = [[0, 1, 4], [0, 4, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + CORNERS.encode() + b"f 1 2 3 4\n",
        (CORNERS + "f 1 2 3 4\n").encode("utf-16"),  # with its byte order mark
        "# für Jérôme … \x85 v 9 9 9\n".encode("latin-1", "replace") + CORNERS.encode() + b"o T\xeate\nf 1 2 3 4\n",
        ("# … Å\n" + CORNERS + "f 1 2 3 4\n").encode(),
        CORNERS.encode() + b"f 1 2 \\\n  3 \\ \r\n4\n",
        CORNERS.replace("v 1 1 0", "v 1 \\\n1 0").encode() + b"f 1 2 3 4",
        CORNERS.replace("\n", " # a corner\n").encode() + b"f 1 2 3 4# all of them \\\n#f 1 2 3\n",
        b"mtllib C:\\heads\\\n# C:\\heads\\\n" + CORNERS.encode() + b"g a b\ns 1\nusemtl C:\\\nf 1 2 3 4\nl 1 2\n",
        (CORNERS + "vn 0 0 1\nvt 0 0\nf 1/1/1 2//1 3/1 4\n").replace("\n", "\r\n").encode(),
        (CORNERS + "f -4/1 -3/1 -2/1 -1/1\n").replace("\n", "\r").encode(),
        CORNERS.replace(" 0\n", " 0 0.5 0.5 0.5\n").encode() + b"f\t1 2\t3 4\n",
        b"f 1 2 3\nf 1 3 4\n" + CORNERS.encode() + b"f 1 2\n",
    ],
)
@pytest.mark.parametrize("name", ["a.obj", "A.OBJ"])
def test_obj_as_many_programs_write_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    vertices, faces = read_mesh(tmp_path / name)
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert faces.tolist() == SQUARE


POINTS = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0]]


def ply(path: Path, kind: str, polygons: list[list[int]], *, corner: str = "", newline: str = "\n") -> None:
    """A PLY of `POINTS`; `corner` is a list of texture coordinates, two for each corner, a number, or nothing."""
    texture = {"wedge": "property list uchar float texcoord\n", "flag": "property short flag\n"}.get(corner, "")
    header = (
        f"ply\nformat {kind} 1.0\ncomment TextureFile é.png\nelement camera 1\nproperty double focus\n"
        f"element vertex {len(POINTS)}\nproperty uchar red\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(polygons)}\nproperty list uchar int vertex_indices\n{texture}"
        "element material 1\nproperty list ushort uchar name\nend_header\n"
    )
    order = ">" if kind == "binary_big_endian" else "<"
    rows = [("d", [50.0]), *(("B3f", [7, *point]) for point in POINTS)]
    for number, polygon in enumerate(polygons):
        more = {
            "wedge": (f"B{2 * len(polygon)}f", [2 * len(polygon), *(number + i / 8 for i in range(2 * len(polygon)))]),
            "flag": ("h", [number]),
        }.get(corner, ("", []))
        rows.append((f"B{len(polygon)}i" + more[0], [len(polygon), *polygon, *more[1]]))
    rows.append(("H3B", [3, 65, 66, 67]))
    if kind == "ascii":
        body = "".join(" ".join(map(str, values)) + newline for _, values in rows).encode()
    else:
        body = b"".join(struct.pack(order + form, *values) for form, values in rows)
    path.write_bytes(header.replace("\n", newline).encode("latin-1") + body)


KINDS = ["ascii", "binary_little_endian", "binary_big_endian"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("corner", ["", "wedge", "flag"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("polygons", "triangles"),
    [
        ([[0, 1, 2], [0, 2, 3]], SQUARE),
        ([[0, 1, 2, 3]], SQUARE),
        ([[0, 1, 2, 3], [1, 4, 2]], [*SQUARE, [1, 4, 2]]),
        ([[1, 4, 2], [1, 4, 2], [0, 1, 4, 2, 3], [0, 1, 2]], [[1, 4, 2], [1, 4, 2], *FIVE, [0, 1, 2]]),
        ([[0, 1], [1, 4, 2], []], [[1, 4, 2]]),
        ([], []),
    ],
)  # fmt: skip
def test_ply_as_many_programs_write_it(tmp_path, caplog, kind, corner, newline, polygons, triangles):
    ply(tmp_path / "a.PLY", kind, polygons, corner=corner, newline=newline)
    vertices, faces = read_mesh(tmp_path / "a.PLY")
    assert vertices.tolist() == POINTS
    assert faces.tolist() == triangles
    assert (faces.dtype, faces.shape) == (np.int32, (len(triangles), 3))
    assert not caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_ply_of_another_length_than_its_header_says(tmp_path, kind):
    ply(tmp_path / "a.ply", kind, [[0, 1, 2, 3], [1, 4, 2]])
    whole = (tmp_path / "a.ply").read_bytes()
    start = whole.index(b"end_header") + len(b"end_header\n")
    for end in range(start, len(whole) - 2):
        (tmp_path / "cut.ply").write_bytes(whole[:end])
        with pytest.raises(BadInput, match=r"cut\.ply: expected a mesh, found ValueError: it ends"):
            read_mesh(tmp_path / "cut.ply")
    (tmp_path / "long.ply").write_bytes(whole + b"\0\0\0\0 1 2 3"[4 * (kind == "ascii") :])
    with pytest.raises(BadInput, match="bytes after the last element of its header"):
        read_mesh(tmp_path / "long.ply")


def test_counts_of_a_header_take_no_memory(tmp_path):
    axes = "".join(f"property double {axis}\n" for axis in "xyz")
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex 900000000000\n{axes}end_header\n"
    (tmp_path / "a.ply").write_bytes(header.encode() + bytes(48))
    with pytest.raises(BadInput, match="it ends before the last vertex"):
        read_mesh(tmp_path / "a.ply")


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
        ("a.obj", "v 0 0\n", r"a\.obj: expected a mesh, found ValueError: line 1: not enough values to unpack"),
        ("a.obj", "v 0 0 0\n\nf 0 1 1\n", r"line 3: vertex number 0; the first is 1"),
        ("a.obj", "v 0,5 0,5 0,5\n", r"line 1: could not convert string to float"),
        ("b.obj", "v 0 0 1e300\nf 1 1 1", r"b\.obj: expected finite vertices"),
        ("b.obj", "v 0 0 nan\nf 1 1 1", r"b\.obj: expected finite vertices"),
        ("c.obj", "v 0 0 0\nf 1 2 3", r"found 1 vertices, 1 triangles, vertex numbers from 0 to 2"),
        ("c.obj", "v 0 0 0\nv 1 0 0\nf 1 2 -3", r"found 2 vertices, 1 triangles, vertex numbers from -1 to 1"),
        ("c.obj", "v 0 0 0\nf 1 1 4294967297", r"c\.obj: expected a mesh, found OverflowError"),
        ("c.ply", PLY.format(kind="int", number=-1), r"found 3 vertices, 1 triangles, vertex numbers from -1 to 1"),
        ("c.ply", PLY.format(kind="uint", number=2**32 - 3), r"expected finite vertices, and triangles between"),
        ("c.ply", PLY.format(kind="int", number=1.5), r"vertex numbers that are not whole"),
        ("c.ply", PLY.format(kind="bit", number=1), r"unknown type bit"),
        ("c.ply", PLY.format(kind="int", number=1).replace("ascii", "morse"), r"unknown format morse"),
        ("c.ply", PLY.format(kind="int", number=1).replace("vertex_ind", "ind"), r"faces without vertex_indices"),
        ("c.ply", PLY.format(kind="int", number=1).replace(" face ", " tristrips "), r"triangle strips instead"),
        ("c.ply", PLY.format(kind="int", number=1).replace("3 0 1", "-3 0 1"), r"a list of -3 numbers in face"),
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
