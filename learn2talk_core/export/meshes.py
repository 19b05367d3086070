"""A mesh file for each frame, in a folder: Wavefront OBJ, or Stanford PLY with colours."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.geometry import suffixed
from learn2talk_core.export.text import decimals, triples
from learn2talk_core.run.errors import BadInput

CHUNK = 256  # frames of vertices in memory at a time


def write_obj(stem: Path, animation: Animation) -> list[Path]:
    """Write `STEM_obj/000000.obj` …, one per frame, in the template's unit, rounded to 1e-4 mm."""
    folder = new_folder(suffixed(stem, "_obj"))
    end = "".join(f"f {a} {b} {c}\n" for a, b, c in (animation.topology.faces + 1).tolist()).encode()
    places = decimals(animation.mm_per_unit)
    for number, frame in _frames(animation):
        (folder / f"{number:06d}.obj").write_bytes(triples(frame, places, start=b"v ", between=b" ", end=b"\n") + end)
    return [folder]


def write_ply(stem: Path, animation: Animation) -> list[Path]:
    """Write `STEM_ply/000000.ply` …, one per frame, binary, with vertex colours."""
    folder = new_folder(suffixed(stem, "_ply"))
    faces = animation.topology.faces
    rows = np.zeros(len(animation.template), [("position", "<f4", 3), ("colour", "u1", 3)])
    rows["colour"] = np.round(255 * np.clip(animation.topology.colours, 0, 1))
    corners = np.zeros(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    corners["count"], corners["corners"] = 3, faces
    properties = [f"property float {axis}" for axis in "xyz"]
    properties += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}", *properties]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    start, end = "\n".join(header).encode(), corners.tobytes()
    for number, frame in _frames(animation):
        rows["position"] = frame
        (folder / f"{number:06d}.ply").write_bytes(start + rows.tobytes() + end)
    return [folder]


def new_folder(folder: Path) -> Path:
    """Make the folder; it must be empty, since the last frames of a longer animation would remain in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BadInput(folder, expected="no folder, or an empty one", found="files in it", fix="Move it away.")
    return folder


def _frames(animation: Animation) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(animation.states), CHUNK):
        yield from enumerate(animation.vertices(slice(start, start + CHUNK)), start)
