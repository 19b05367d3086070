"""Read and write OBJ and PLY meshes. Order and number of the vertices are kept."""

from pathlib import Path

import numpy as np
import trimesh

from learn2talk_core.mesh.obj import read_obj
from learn2talk_core.mesh.ply import read_ply
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing, whole_file

SUFFIXES = (".obj", ".ply")


def is_mesh(path: str | Path) -> bool:
    """Whether the file name has the extension of a mesh, in upper or lower case."""
    return Path(path).suffix.lower() in SUFFIXES


def read_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions (V, 3) float32 and triangles (F, 3) int32 of an `.obj` or `.ply`; polygons are split into triangles.

    Raises:
        BadInput: another extension, no such file, a malformed file, or triangles with vertex numbers that do not exist.
    """
    path = Path(path)
    if not is_mesh(path):
        raise _unknown(path)
    if not path.is_file():
        raise missing(path, "check the path")
    try:
        positions, corners, counts = read_obj(path) if path.suffix.lower() == ".obj" else read_ply(path)
    except Exception as error:  # parsers raise many kinds of errors on malformed files
        raise BadInput(
            path, expected="a mesh", found=f"{type(error).__name__}: {error}", fix="Export the mesh again."
        ) from error
    with np.errstate(over="ignore"):  # numbers too large for float32 become infinite and are refused below
        vertices = positions.astype(np.float32)
    faces = _triangles(corners, counts)
    least, most = faces.min(initial=0), faces.max(initial=-1)
    if not len(vertices) or not np.isfinite(vertices).all() or least < 0 or most >= len(vertices):
        raise BadInput(
            path,
            expected="finite vertices, and triangles between them",
            found=f"{len(vertices)} vertices, {len(faces)} triangles, vertex numbers from {least} to {most}",
            fix="Export the mesh again.",
        )
    return vertices, faces.astype(np.int32)


def write_mesh(path: str | Path, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None = None) -> None:
    """Write an `.obj` or `.ply`; `colours` are (V, 3) RGB in 0..1."""
    path = Path(path)
    if not is_mesh(path):
        raise _unknown(path)
    if path.suffix.lower() == ".obj":
        rows = vertices if colours is None else np.concatenate([vertices, colours], axis=1)
        lines = ["v " + " ".join(f"{number:.9g}" for number in row) for row in rows.tolist()]
        lines += ["f " + " ".join(str(corner + 1) for corner in face) for face in faces.tolist()]
        content = ("\n".join(lines) + "\n").encode()
    else:
        mesh = trimesh.Trimesh(vertices.astype(np.float32), faces, vertex_colors=colours, process=False)
        content = trimesh.exchange.ply.export_ply(mesh)
    with whole_file(path) as partial:
        partial.write_bytes(content)


def _triangles(corners: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Triangle fans (N, 3) of polygons with `counts` corners; polygons with fewer than three corners are skipped."""
    wanted = np.maximum(counts - 2, 0)
    first = np.repeat(np.cumsum(counts) - counts, wanted)
    step = np.arange(len(first)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    return corners[np.stack([first, first + step + 1, first + step + 2], axis=1)]


def _unknown(path: Path) -> BadInput:
    return BadInput(path, expected="a name that ends in .obj or .ply", found=path.name, fix="Choose one of the two.")
