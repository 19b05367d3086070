"""What all frames of a corpus have in common: triangles, named regions and colours of the mesh."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import inner_file, whole_file
from learn2talk_core.untrusted.npz import read_npz

REGION = "region_"  # prefix of a region's array in the file


@dataclass(frozen=True)
class Texture:
    """The picture of a face's skin, and where each triangle of the mesh has its part of it.

    Attributes:
        uv: (F, 3, 2) float32 coordinates of each triangle's corners; v = 0 is the bottom of the picture.
        image: (H, W, 3) uint8 RGB, row 0 on top.
    """

    uv: np.ndarray
    image: np.ndarray


@dataclass(frozen=True)
class Topology:
    """The mesh without its positions.

    Attributes:
        faces: (F, 3) int32 vertex numbers, counter-clockwise seen from outside.
        regions: name → sorted int64 vertex numbers. The names used here: `lips` (scored by LVE), `mouth` (input of
            SyncNet3D), `upper_face` (scored by FDD), `mouth_view` (what the lip reader's camera sees, with the whole
            mouth cavity), and, if `lips` contains more than lips, `mouth_centre` (the camera looks at its centre).
        lip_pairs: (P, 2) int64, a vertex of the inner upper lip and the opposite one of the lower lip.
        colours: (V, 3) float32 albedo, RGB in 0..1.
        texture: a finer picture of the skin, for the lip reader; None without.
    """

    faces: np.ndarray
    regions: Mapping[str, np.ndarray]
    lip_pairs: np.ndarray
    colours: np.ndarray
    texture: Texture | None = None


def save_topology(path: str | Path, topology: Topology) -> None:
    """Write an `.npz`; equal topologies give byte-identical files."""
    arrays: dict[str, Any] = {
        "faces": np.asarray(topology.faces, np.int32),
        "lip_pairs": np.asarray(topology.lip_pairs, np.int64).reshape(-1, 2),
        "colours": np.asarray(topology.colours, np.float32),
    }
    if topology.texture is not None:
        arrays |= {"uv": np.asarray(topology.texture.uv, np.float32), "texture": topology.texture.image}
    for name in sorted(topology.regions):
        arrays[REGION + name] = np.asarray(topology.regions[name], np.int64)
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_topology(path: str | Path, *, made_by: str = "dvc repro corpus") -> Topology:
    """Read a file of `save_topology` and check that every vertex number exists."""
    path = inner_file(path, made_by=made_by)
    needed, fix = ("faces", "lip_pairs", "colours"), f"Make it again: {made_by}."
    arrays = read_npz(path, expected="a topology file", fix=fix, needed=needed)
    topology = Topology(
        faces=arrays["faces"],
        regions={key.removeprefix(REGION): value for key, value in arrays.items() if key.startswith(REGION)},
        lip_pairs=arrays["lip_pairs"],
        colours=arrays["colours"],
        texture=Texture(arrays["uv"], arrays["texture"]) if {"uv", "texture"} <= arrays.keys() else None,
    )
    ends = {"faces": (3,), "lip_pairs": (2,), "colours": (3,), "uv": (3, 2)}
    if topology.texture is not None:
        ends["texture"] = (arrays["texture"].shape[1:2] or (0,))[0], 3
        if len(arrays["uv"]) != len(topology.faces) or arrays["texture"].dtype != np.uint8:
            found = f"{len(arrays['uv'])} triangles, {arrays['texture'].dtype}"
            expected = f"{len(topology.faces)} triangles with texture coordinates, and a picture of bytes"
            raise BadInput(f"{path}: texture", expected=expected, found=found, fix=fix)
    for name, array in arrays.items():
        right = (
            array.shape[1:] == ends.get(name, ())
            and array.ndim
            and array.dtype.kind in ("f" if name in ("colours", "uv") else "iu")
        )
        if not right or not np.isfinite(array).all():
            found = f"{array.dtype} of shape {array.shape}"
            raise BadInput(f"{path}: {name}", expected="numbers of a topology file", found=found, fix=fix)
    vertex_count = len(topology.colours)
    for name, ids in {"faces": topology.faces, "lip_pairs": topology.lip_pairs, **topology.regions}.items():
        if ids.size and (ids.min() < 0 or ids.max() >= vertex_count):
            raise BadInput(
                path,
                expected=f"vertex numbers 0 … {vertex_count - 1} in {name}",
                found=f"{ids.min()} … {ids.max()}",
                fix=f"Make it again: {made_by}.",
            )
    return topology


def submesh(faces: np.ndarray, vertex_ids: np.ndarray) -> np.ndarray:
    """Triangles with all corners in `vertex_ids`: (G, 3) int32, numbered by position in `vertex_ids`."""
    vertex_ids = np.asarray(vertex_ids, np.int64)
    position = np.full(max(int(faces.max(initial=-1)), int(vertex_ids.max(initial=-1))) + 1, -1, np.int32)
    position[vertex_ids] = np.arange(len(vertex_ids), dtype=np.int32)
    renumbered = position[faces]
    return np.ascontiguousarray(renumbered[(renumbered >= 0).all(axis=1)])


def lip_gap(vertices: Any, lip_pairs: Any) -> Any:
    """Signed distance of each lip pair along y, in the unit of `vertices`; negative if the lips overlap.

    Args:
        vertices: (..., V, 3) array or tensor, y up.
        lip_pairs: (P, 2) array, or tensor where `vertices` is.

    Returns:
        (..., P), array or tensor like `vertices`.
    """
    return vertices[..., lip_pairs[:, 0], 1] - vertices[..., lip_pairs[:, 1], 1]
