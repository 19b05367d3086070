"""glTF 2.0 in one binary file (GLB): the face at rest, one morph target per direction of motion, animated weights.

The motion is exact, since it is linear in the states: the target of direction k is that direction times the range of
its state. Blender clamps weights to 0..1 when it plays them. So a first target, whose weight is always 1, holds the
offset and all states at their minimum; the weight of each other target is its state, scaled from its range to 0..1:

    vertices(t) = template + 1 · (offset + Σ_k least_k basis_k) + Σ_k weight_k(t) · (range_k basis_k).

With all weights 0 the face is at rest. If the head moves, a node `head` at the neck rotates and translates it,
independently of the morph targets. Section numbers are those of the glTF 2.0 specification (Khronos, 2.0.1).
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.geometry import check_animation, linear_light, mesh_normals, suffixed, write_sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file

FLOAT, UNSIGNED_INT = 5126, 5125  # §3.6.2.2
VERTICES, INDICES = 34962, 34963  # §5.11.5, targets of a buffer view
KIND = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
LARGEST = 2**32 - 1  # bytes of a GLB, §4.4


def write_gltf(stem: Path, animation: Animation) -> list[Path]:
    """Write `STEM.glb` and `STEM.wav`.

    Metres, y up, the face looks along +z. Frame t is at t / fps seconds, with linear interpolation; the animation
    starts with the sound. glTF itself has no sound: the scene's `extras` name the file.

    Returns:
        Both paths.

    Raises:
        BadInput: no frames, NaN or infinite values, more than 4 GiB, or a path that cannot be written.
    """
    path, sound = suffixed(stem, ".glb"), suffixed(stem, ".wav")
    check_animation(path, animation)
    metres = animation.mm_per_unit / 1000
    states = animation.states.astype(np.float64)
    least, span = states.min(axis=0), np.ptp(states, axis=0)
    # A state that never changes is in the first target only; dividing by 1 avoids a division by zero.
    weights = np.concatenate([np.ones((len(states), 1)), (states - least) / np.where(span > 0, span, 1)], axis=1)
    basis = animation.basis.reshape(len(span), -1)
    start = animation.offset + (least @ basis).reshape(-1, 3)

    file = GltfFile()
    attributes = {
        "POSITION": file.add(metres * animation.template, VERTICES, bounds=True),
        "NORMAL": file.add(mesh_normals(animation.template, animation.topology.faces), VERTICES),
        "COLOR_0": file.add(linear_light(animation.topology.colours), VERTICES),
    }
    indices = file.add(animation.topology.faces.reshape(-1), INDICES, kind=UNSIGNED_INT)
    targets = [file.add(metres * start, VERTICES, bounds=True)]
    targets += [
        file.add(metres * far * direction, VERTICES, bounds=True)
        for far, direction in zip(span, animation.basis, strict=True)
    ]
    times = file.add(np.arange(len(states)) / animation.fps, bounds=True)
    values = file.add(weights.reshape(-1))
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []

    def animate(node: int, aim: str, output: int) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": aim}})
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})

    nodes: list[dict[str, Any]] = [{"name": "face", "mesh": 0}]
    animate(0, "weights", values)
    if animation.pose is not None:
        pivot = metres * (np.zeros(3) if animation.pivot is None else animation.pivot.astype(np.float64))
        turns = Rotation.from_matrix(animation.rigid()[:, :, :3])
        nodes[0]["translation"] = (-pivot).tolist()
        nodes.append({"name": "head", "children": [0], "translation": pivot.tolist()})
        animate(1, "rotation", file.add(turns.as_quat(canonical=True)))
        animate(1, "translation", file.add(pivot + metres * animation.pose[:, 3:]))
    extras = {"sound": sound.name, "sound_start": 0, "fps": float(animation.fps)}
    own = len(span) - len(animation.shapes)
    names = ["start", *(f"state_{k:03d}" for k in range(own)), *animation.shapes]
    document = {
        "asset": {"version": "2.0", "generator": "Learn2Talk"},
        "scene": 0,
        "scenes": [{"nodes": [len(nodes) - 1], "extras": extras}],
        "nodes": nodes,
        "meshes": [
            {
                "name": "face",
                "primitives": [
                    {
                        "attributes": attributes,
                        "indices": indices,
                        "material": 0,
                        "targets": [{"POSITION": target} for target in targets],
                    }
                ],
                "weights": [0] * len(targets),
                "extras": {"targetNames": names},  # where Blender, three.js and Unreal look for them
            }
        ],
        "materials": [{"name": "skin", "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.6}}],
        "animations": [{"name": "speech", "channels": channels, "samplers": samplers}],
    }
    file.write(path, document)
    return [path, write_sound(sound, animation)]


class GltfFile:
    """The binary part of a GLB: each array has its own accessor and buffer view."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.length = 0

    def add(self, array: np.ndarray, target: int | None = None, *, kind: int = FLOAT, bounds: bool = False) -> int:
        """Append an array (n,), (n, 3) or (n, 4) of 4-byte numbers (keeps alignment); returns the accessor's index."""
        array = np.ascontiguousarray(array, "<f4" if kind == FLOAT else "<u4")
        view = {"buffer": 0, "byteOffset": self.length, "byteLength": array.nbytes}
        columns = array.reshape(len(array), -1)
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": kind,
            "count": len(array),
            "type": KIND[columns.shape[1]],
        }
        if bounds:  # in the precision that is stored (§3.6.2.5)
            accessor |= {"min": columns.min(axis=0).tolist(), "max": columns.max(axis=0).tolist()}
        self.arrays.append(array)
        self.views.append(view if target is None else {**view, "target": target})
        self.accessors.append(accessor)
        self.length += array.nbytes
        return len(self.accessors) - 1

    def write(self, path: Path, document: dict[str, Any]) -> None:
        """Write header, JSON and binary chunk (§4.4)."""
        rest = {"buffers": [{"byteLength": self.length}], "bufferViews": self.views, "accessors": self.accessors}
        text = json.dumps(document | rest, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self.length
        if total > LARGEST:
            fix = "Write it in parts, or as npz."
            raise BadInput(path, expected="at most 4 GiB, the limit of GLB", found=f"{total} bytes", fix=fix)
        with whole_file(path) as partial, partial.open("wb") as out:
            out.write(struct.pack("<4sII", b"glTF", 2, total))
            out.write(struct.pack("<I4s", len(text), b"JSON") + text)
            out.write(struct.pack("<I4s", self.length, b"BIN\0"))
            for array in self.arrays:
                out.write(array.data)
