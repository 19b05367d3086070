"""An avatar as GLB: the face with a morph target for each of ARKit's 52 shapes, animated by the curves of the speech.

Programs find shapes by name, in `extras.targetNames` of each mesh. Skin, eyes, teeth, tongue, bust and hair are meshes
and materials of their own; the first has all 52 targets, and each other one those that move it. The curves follow the
motion to within the error of the fit (`animation.curves`); the format `glb-exact` follows it exactly, by targets that
have no meaning. Where shoulders stay while the head moves, the meshes are skinned to two joints.
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, BlendShapes
from learn2talk_core.animation.curves import arkit_weights, shapes_of
from learn2talk_core.animation.visemes import viseme_shapes
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.export.geometry import check_animation, linear_light, mesh_normals, suffixed, write_sound
from learn2talk_core.export.gltf import INDICES, UNSIGNED_BYTE, UNSIGNED_INT, VERTICES, GlbFile
from learn2talk_core.mesh.look import OTHER_ROUGHNESS, ROUGHNESS, TWO_SIDED, split_at_seams

STILL = 1e-6  # of a target's largest displacement in metres, below which it moves nothing


def write_avatar(
    stem: Path, animation: Animation, shapes: BlendShapes | None = None, *, visemes: bool = False
) -> list[Path]:
    """Write `STEM.glb` and `STEM.wav`; metres, y up, the face looks along +z.

    Args:
        stem: path without suffix.
        animation: the animation.
        shapes: the ARKit shapes of its mesh; None takes those that it has.
        visemes: add the 15 Oculus visemes as targets, named viseme_sil …, not animated.

    Raises:
        BadInput: a mesh whose ARKit shapes are unknown; no frames, NaN or infinite values, more than 4 GiB, or a path
            that cannot be written.
    """
    path, sound = suffixed(stem, ".glb"), suffixed(stem, ".wav")
    check_animation(path, animation)
    shapes = shapes_of(animation) if shapes is None else shapes
    curves = arkit_weights(animation, shapes)
    metres = animation.mm_per_unit / 1000
    own = {name: shapes.deltas[number] for number, name in enumerate(shapes.names)}
    targets = {name: metres * own[name] for name in ARKIT if name in own}
    if visemes:
        targets |= {f"viseme_{name}": metres * delta for name, delta in viseme_shapes(own).items()}
    file, document = GlbFile(), _Scene(animation, sound.name)
    material_of = _materials(file, document, animation)
    times = file.add(np.arange(len(curves)) / animation.fps, bounds=True)
    normals = mesh_normals(animation.template, animation.topology.faces)
    skin = _joints(file, document, animation, times)
    for number, (name, faces) in enumerate(_parts(animation)):
        corners, vertices, indices = _corners(animation, faces)
        attributes = {
            "POSITION": file.add(metres * animation.template[vertices], VERTICES, bounds=True),
            "NORMAL": file.add(normals[vertices], VERTICES),
        }
        if animation.look is None:
            attributes["COLOR_0"] = file.add(linear_light(animation.topology.colours[vertices]), VERTICES)
        else:
            attributes["TEXCOORD_0"] = file.add(corners, VERTICES)
        if skin is not None and animation.follow is not None:
            share = animation.follow[vertices].astype(np.float32)
            weights = np.stack([share, 1 - share, 0 * share, 0 * share], axis=1)
            attributes["JOINTS_0"] = file.add(np.where(weights > 0, [0, 1, 0, 0], 0), VERTICES, kind=UNSIGNED_BYTE)
            attributes["WEIGHTS_0"] = file.add(weights, VERTICES)
        moving = [key for key, delta in targets.items() if number == 0 or np.abs(delta[vertices]).max() > STILL]
        primitive: dict[str, Any] = {
            "attributes": attributes,
            "indices": file.add(indices, INDICES, kind=UNSIGNED_INT),
            "material": material_of[name],
        }
        mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
        if moving:
            primitive["targets"] = [
                {"POSITION": file.add(targets[key][vertices], VERTICES, bounds=True)} for key in moving
            ]
            mesh |= {"weights": [0] * len(moving), "extras": {"targetNames": moving}}
        node = document.add_mesh(mesh, skin)
        animated = [key for key in moving if key in ARKIT]
        if animated:
            weights = np.zeros((len(curves), len(moving)), np.float32)
            weights[:, [moving.index(key) for key in animated]] = curves[:, [ARKIT.index(key) for key in animated]]
            document.animate(node, "weights", times, file.add(weights.reshape(-1)))
    file.write(path, document.finished())
    return [path, write_sound(sound, animation)]


class _Scene:
    """The JSON of the file while it is built."""

    def __init__(self, animation: Animation, sound: str) -> None:
        self.nodes: list[dict[str, Any]] = [{"name": "avatar", "children": []}]
        self.meshes: list[dict[str, Any]] = []
        self.channels: list[dict[str, Any]] = []
        self.samplers: list[dict[str, Any]] = []
        self.parent = 0  # node of the meshes
        self.more: dict[str, Any] = {}
        self.extras = {"sound": sound, "sound_start": 0, "fps": float(animation.fps)}

    def add_node(self, node: dict[str, Any], parent: int) -> int:
        self.nodes.append(node)
        self.nodes[parent].setdefault("children", []).append(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def add_mesh(self, mesh: dict[str, Any], skin: int | None) -> int:
        """A mesh and its node; a skinned mesh is moved by its joints alone, so its node is a root."""
        self.meshes.append(mesh)
        node = {"name": mesh["name"], "mesh": len(self.meshes) - 1}
        if skin is None:
            return self.add_node(node, self.parent)
        self.nodes.append({**node, "skin": skin})
        return len(self.nodes) - 1

    def animate(self, node: int, path: str, times: int, values: int) -> None:
        self.channels.append({"sampler": len(self.samplers), "target": {"node": node, "path": path}})
        self.samplers.append({"input": times, "output": values, "interpolation": "LINEAR"})

    def finished(self) -> dict[str, Any]:
        roots = [0, *(i for i, node in enumerate(self.nodes) if "skin" in node)]
        return {
            "asset": {"version": "2.0", "generator": "Learn2Talk"},
            "scene": 0,
            "scenes": [{"nodes": roots, "extras": self.extras}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "animations": [{"name": "speech", "channels": self.channels, "samplers": self.samplers}],
            **self.more,
        }


def _joints(file: GlbFile, scene: _Scene, animation: Animation, times: int) -> int | None:
    """Nodes that move the head; with shoulders that stay, a skin of the joints `head` and `body`. Returns the skin."""
    if animation.pose is None:
        return None
    metres = animation.mm_per_unit / 1000
    pivot = metres * (np.zeros(3) if animation.pivot is None else animation.pivot.astype(np.float64))
    turns = Rotation.from_matrix(animation.rigid()[:, :, :3])
    head = scene.add_node({"name": "head", "translation": pivot.tolist()}, 0)
    scene.animate(head, "rotation", times, file.add(turns.as_quat(canonical=True)))
    scene.animate(head, "translation", times, file.add(pivot + metres * animation.pose[:, 3:]))
    if animation.follow is None:
        scene.parent = scene.add_node({"name": "face", "translation": (-pivot).tolist()}, head)
        return None
    body = scene.add_node({"name": "body"}, 0)
    inverse = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    inverse[0, 3, :3] = -pivot  # column-major: the translation is the last row here
    scene.more["skins"] = [
        {"name": "neck", "joints": [head, body], "inverseBindMatrices": file.add(inverse.reshape(2, 16)), "skeleton": 0}
    ]
    return 0


def _materials(file: GlbFile, scene: _Scene, animation: Animation) -> dict[str, int]:
    """A material for each part, by name; adds the texture if there is one."""
    names = [name for name, _ in _parts(animation)]
    base: dict[str, Any] = {"metallicFactor": 0}
    if animation.look is not None:
        scene.more["images"] = [
            {"name": "skin", "mimeType": "image/jpeg", "bufferView": file.add_bytes(animation.look.encoded)}
        ]
        scene.more["samplers"] = [{"magFilter": 9729, "minFilter": 9987}]
        scene.more["textures"] = [{"source": 0, "sampler": 0}]
        base["baseColorTexture"] = {"index": 0}
    scene.more["materials"] = [
        {
            "name": name,
            "pbrMetallicRoughness": {**base, "roughnessFactor": ROUGHNESS.get(name, OTHER_ROUGHNESS)},
            "doubleSided": name in TWO_SIDED,
        }
        for name in names
    ]
    return {name: number for number, name in enumerate(names)}


def _parts(animation: Animation) -> list[tuple[str, np.ndarray]]:
    """Name and triangles' numbers of each part of the mesh; the skin, or the whole face, is the first."""
    faces = animation.topology.faces
    if animation.look is not None:
        names, part = animation.look.names, animation.look.part
    elif np.array_equal(faces, (face := load_face()).faces):
        names = tuple(face.part)
        part = np.stack([face.part[name] for name in names]).argmax(axis=0)[faces[:, 0]]
    else:
        return [("face", np.arange(len(faces)))]
    found = [(name, np.flatnonzero(part == number)) for number, name in enumerate(names)]
    return [(name, own) for name, own in found if len(own)]


def _corners(animation: Animation, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vertices of a part, as `split_at_seams`; texture coordinates are zero if there is no texture."""
    if animation.look is not None:
        return split_at_seams(animation.topology.faces, animation.look, faces)
    vertices, indices = np.unique(animation.topology.faces[faces].reshape(-1), return_inverse=True)
    return np.zeros((len(vertices), 2), np.float32), vertices, indices.reshape(-1)
