"""Read Wavefront OBJ: the vertices in the order of the file, and the polygons."""

import codecs
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

POINT, FACE, COORDINATE = b"v", b"f", b"vt"


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertex positions and polygons of an OBJ file.

    Unlike trimesh, this does not duplicate vertices along texture seams. Names, texture coordinates, normals and
    materials are skipped.

    Returns:
        vertices: (V, 3) float64.
        corners: (C,) int64 vertex numbers of all polygons, concatenated.
        counts: (P,) int64, number of corners of each polygon.

    Raises:
        ValueError, OverflowError: an invalid vertex or polygon; the message has the line number.
    """
    vertices, corners, counts = array("d"), array("i"), array("i")
    for line, (kind, *fields) in _statements(_plain(path.read_bytes())):
        try:
            if kind == POINT:
                x, y, z = map(float, fields[:3])
                vertices.extend((x, y, z))
            elif kind == FACE:
                counts.append(len(fields))
                corners.extend(_corner(field, len(vertices) // 3) for field in fields)
        except (ValueError, OverflowError) as error:
            raise type(error)(f"line {line}: {error}") from error
    return np.array(vertices).reshape(-1, 3), np.array(corners, np.int64), np.array(counts, np.int64)


def read_obj_uv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (F, 3) int64 and the texture coordinates (F, 3, 2) float64 of their corners.

    Raises:
        ValueError, OverflowError: another polygon, or a corner without coordinates; the message has the line number.
    """
    known = 0
    coordinates, faces, places = array("d"), array("i"), array("i")
    for line, (kind, *fields) in _statements(_plain(path.read_bytes())):
        try:
            if kind == POINT:
                known += 1
            elif kind == COORDINATE:
                u, v = map(float, fields[:2])
                coordinates.extend((u, v))
            elif kind == FACE:
                if len(fields) != 3:
                    raise ValueError(f"a polygon with {len(fields)} corners")
                faces.extend(_corner(field, known) for field in fields)
                places.extend(_corner(field.partition(b"/")[2], len(coordinates) // 2) for field in fields)
        except (ValueError, OverflowError) as error:
            raise type(error)(f"line {line}: {error}") from error
    if places and not 0 <= min(places) <= max(places) < len(coordinates) // 2:
        raise ValueError(f"texture coordinates {max(places) + 1} of {len(coordinates) // 2}")
    triangles = np.array(faces, np.int64).reshape(-1, 3)
    return triangles, np.array(coordinates).reshape(-1, 2)[np.array(places, np.int64)].reshape(-1, 3, 2)


def _plain(content: bytes) -> bytes:
    """`content` without a byte order mark, UTF-16 converted to UTF-8; other encodings are left alone."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def _statements(content: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Line number and words of each statement; a backslash at the end of a line continues the statement."""
    words: list[bytes] = []
    for number, line in enumerate(content.splitlines(), 1):
        line = line.partition(b"#")[0].rstrip()
        words += line.removesuffix(b"\\").split()
        # in other statements the backslash may be part of a Windows path
        if words and not (line.endswith(b"\\") and words[0] in (POINT, FACE)):
            yield number, words
            words = []
    if words:
        yield number, words


def _corner(field: bytes, known: int) -> int:
    """Zero-based vertex number of `v`, `v/vt`, `v//vn` or `v/vt/vn`; negative ones count back from the last vertex."""
    number = int(field.partition(b"/")[0])
    if number == 0:
        raise ValueError("vertex number 0; the first is 1")
    return number - 1 if number > 0 else known + number
