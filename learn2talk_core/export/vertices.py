"""Vertices as NumPy arrays: `.npy`, and `.npz` with the mesh, the frame rate and the unit."""

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.geometry import suffixed
from learn2talk_core.run.files import whole_file

CHUNK = 256  # frames of vertices in memory at a time


def write_npy(stem: Path, animation: Animation) -> list[Path]:
    """Write `STEM.npy`: vertices (T, V, 3) float32, in the template's unit."""
    path = suffixed(stem, ".npy")
    with whole_file(path) as partial, partial.open("wb") as file:
        _write_vertices(file, animation)
    return [path]


def write_npz(stem: Path, animation: Animation) -> list[Path]:
    """Write `STEM.npz`: `vertices` (T, V, 3) float32, `template` (V, 3), `faces` (F, 3) int32, `fps`, `mm_per_unit`.

    If the head moves, also `head` (T, 3, 4) float64: [R | t], which maps each vertex u of the unmoved head to R u + t.
    """
    path = suffixed(stem, ".npz")
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        with archive.open("vertices.npy", "w", force_zip64=True) as file:
            _write_vertices(file, animation)
        others = {
            "template": animation.template,
            "faces": np.asarray(animation.topology.faces, np.int32),
            "fps": np.float64(animation.fps),
            "mm_per_unit": np.float64(animation.mm_per_unit),
            **({} if animation.pose is None else {"head": animation.rigid()}),
        }
        for key, value in others.items():
            with archive.open(f"{key}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)
    return [path]


def _write_vertices(file: IO[bytes], animation: Animation) -> None:
    shape = (len(animation.states), *animation.template.shape)
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for start in range(0, len(animation.states), CHUNK):
        file.write(animation.vertices(slice(start, start + CHUNK)).astype("<f4", copy=False).tobytes())
