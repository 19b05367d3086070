"""Read PLY (Turk 1994, "The PLY polygon file format"): the vertices in the order of the file, and the polygons."""

import codecs
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8", "float32": "f4", "float64": "f8"},
}
ORDERS = {"ascii": None, "binary_little_endian": "<", "binary_big_endian": ">"}


class _Property(NamedTuple):
    """A number or a list of numbers: `type` is their NumPy type, `length` that of the list's length (None: no list)."""

    name: str
    type: str
    length: str | None


class _Element(NamedTuple):
    name: str
    rows: int
    properties: list[_Property]


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertex positions and polygons of a PLY file.

    Unlike trimesh, this does not duplicate vertices along texture seams, and it reads binary files that mix triangles
    and quads.

    Returns:
        vertices: (V, 3) float64.
        corners: (C,) int64 vertex numbers of all polygons, concatenated.
        counts: (P,) int64, number of corners of each polygon.

    Raises:
        ValueError: not a PLY file, a file longer or shorter than its header says, or one with triangle strips.
    """
    elements, data = _parts(path.read_bytes())
    vertices, corners, counts = array("d"), array("q"), array("q")
    at = 0
    for element in elements:
        if element.name == "tristrips" and element.rows:
            raise ValueError("triangle strips instead of triangles")
        lists = [p.name for p in element.properties if p.length and p.name.startswith("vertex_ind")]  # or vertex_index
        if element.name == "face" and element.rows and not lists:
            raise ValueError("faces without vertex_indices")
        for rows in _runs(data, at, element):
            at += rows.nbytes
            if element.name == "vertex":
                vertices.frombytes(np.stack([rows[axis] for axis in "xyz"], axis=1).astype(np.float64).tobytes())
            elif element.name == "face":
                numbers = _whole(rows[lists[0]])
                corners.frombytes(numbers.tobytes())
                counts.frombytes(np.full(len(numbers), numbers.shape[1], np.int64).tobytes())
    if data[at:].strip():
        raise ValueError(f"{len(data) - at} bytes after the last element of its header")
    return np.array(vertices).reshape(-1, 3), np.array(corners), np.array(counts)


def _parts(content: bytes) -> tuple[list[_Element], bytes]:
    """The elements of the header, and the data in binary; all numbers of an ASCII file become float64."""
    content = content.removeprefix(codecs.BOM_UTF8)
    header, end, data = content.partition(b"end_header")
    if not header.startswith(b"ply") or not end:
        raise ValueError("it has no PLY header")
    newline = header[3:5] if header[3:5] == b"\r\n" else header[3:4]  # only one: data may begin with a newline byte
    elements: list[_Element] = []
    order: str | None = "<"
    for line in header.splitlines():
        match line.decode("latin-1").split():
            case ["format", name, *_]:
                if name not in ORDERS:
                    raise ValueError(f"unknown format {name}")
                order = ORDERS[name]
            case ["element", name, count]:
                elements.append(_Element(name, int(count), []))
            case ["property", "list", length, type_, name]:
                elements[-1].properties.append(_Property(name, _type(type_, order), _type(length, order)))
            case ["property", type_, name]:
                elements[-1].properties.append(_Property(name, _type(type_, order), None))
    data = data.removeprefix(newline)
    return elements, array("d", map(float, data.split())).tobytes() if order is None else data


def _type(name: str, order: str | None) -> str:
    if name not in TYPES:
        raise ValueError(f"unknown type {name}")
    return "=f8" if order is None else order + TYPES[name]


def _runs(data: bytes, at: int, element: _Element) -> Iterator[np.ndarray]:
    """Rows of an element, starting at byte `at`, as structured arrays; in each array all lists have equal lengths."""
    lists = [property_.name for property_ in element.properties if property_.length]
    left = reach = element.rows if element.properties else 0
    while left > 0:
        row = _row(data, at, element)
        count = min(left, reach, (len(data) - at) // row.itemsize)
        if not count:
            raise ValueError(f"it ends before the last {element.name}")
        rows = np.frombuffer(data, row, count, at)
        alike = np.ones(count, bool)
        for name in lists:
            alike &= rows[f"length of {name}"] == rows[f"length of {name}"][0]
        rows = rows if alike.all() else rows[: np.argmin(alike)]
        yield rows
        at, left, reach = at + rows.nbytes, left - len(rows), 2 * len(rows)


def _row(data: bytes, at: int, element: _Element) -> np.dtype:
    """Structured type of the row at byte `at`, with the lengths of the lists in that row."""
    fields: list[tuple] = []
    for name, type_, length in element.properties:
        shape: tuple[int, ...] = ()
        if length is not None:
            stored = data[at : at + np.dtype(length).itemsize]
            if len(stored) < np.dtype(length).itemsize:
                raise ValueError(f"it ends before the last {element.name}")
            found = np.frombuffer(stored, length)
            if not 0 <= found[0] <= len(data):
                raise ValueError(f"a list of {found[0]:g} numbers in {element.name}")
            shape = (int(found[0]),)
            fields.append((f"length of {name}", length))
            at += found.nbytes
        fields.append((name, type_, shape))
        at += np.dtype((type_, shape)).itemsize
    return np.dtype(fields)


def _whole(values: np.ndarray) -> np.ndarray:
    """Vertex numbers as int64; those of an ASCII file are given as floats."""
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int64)
    if (numbers != values).any():
        raise ValueError("vertex numbers that are not whole numbers")
    return numbers
