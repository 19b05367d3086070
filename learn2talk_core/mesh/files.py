"""Meshes in files that other programs read: OBJ and PLY. Order and number of the vertices are kept."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import trimesh

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing, whole_file


def read_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions (V, 3) float32 and triangles (F, 3) int32 of an `.obj` or `.ply`; polygons are cut into triangles."""
    path = Path(path)
    if path.suffix not in (".obj", ".ply"):
        raise _unknown(path)
    if not path.is_file():
        raise missing(path, "check the path")
    try:
        vertices, faces = _read_obj(path) if path.suffix == ".obj" else _read_ply(path)
    except Exception as error:  # whatever a parser says about a file that is not what it claims to be
        raise BadInput(
            path, expected="a mesh", found=f"{type(error).__name__}: {error}", fix="Export the mesh again."
        ) from error
    least, most = faces.min(initial=0), faces.max(initial=-1)
    if not len(vertices) or not np.isfinite(vertices).all() or least < 0 or most >= len(vertices):
        raise BadInput(
            path,
            expected="finite vertices, and triangles between them",
            found=f"{len(vertices)} vertices, {len(faces)} triangles, vertex numbers from {least} to {most}",
            fix="Export the mesh again.",
        )
    return vertices, faces


def write_mesh(path: str | Path, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None = None) -> None:
    """Write an `.obj` or `.ply`; `colours` are (V, 3) RGB in 0..1."""
    path = Path(path)
    if path.suffix not in (".obj", ".ply"):
        raise _unknown(path)
    if path.suffix == ".obj":
        rows = vertices if colours is None else np.concatenate([vertices, colours], axis=1)
        lines = ["v " + " ".join(f"{number:.9g}" for number in row) for row in rows.tolist()]
        lines += ["f " + " ".join(str(corner + 1) for corner in face) for face in faces.tolist()]
        content = ("\n".join(lines) + "\n").encode()
    else:
        mesh = trimesh.Trimesh(vertices.astype(np.float32), faces, vertex_colors=colours, process=False)
        content = trimesh.exchange.ply.export_ply(mesh)
    with whole_file(path) as partial:
        partial.write_bytes(content)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    # trimesh splits the vertices along texture seams; here they have to stay as they are
    vertices, faces = [], []
    for line in path.read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(field) for field in fields[:3]])
        elif kind == "f":
            numbers = [int(field.split("/")[0]) for field in fields]
            corners = [number - 1 if number > 0 else len(vertices) + number for number in numbers]
            faces += [[corners[0], b, c] for b, c in pairwise(corners[1:])]
    return np.array(vertices, np.float32).reshape(-1, 3), np.array(faces, np.int32).reshape(-1, 3)


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        content = trimesh.exchange.ply.load_ply(file)
    faces = content.get("faces")
    triangles = np.zeros((0, 3)) if faces is None else faces
    return np.array(content["vertices"], np.float32).reshape(-1, 3), np.array(triangles, np.int32)


def _unknown(path: Path) -> BadInput:
    return BadInput(path, expected="a name that ends in .obj or .ply", found=path.name, fix="Choose one of the two.")
