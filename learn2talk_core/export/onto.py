"""The curves written into a user's own avatar: a GLB with morph targets that have ARKit's or the visemes' names.

Nothing of the file changes but its list of animations: meshes, textures and extensions are copied as they are, and the
new numbers follow the old ones in its binary part.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, OCULUS, BlendShapes, arkit_name
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.animation.visemes import viseme_weights
from learn2talk_core.export.geometry import check_animation, suffixed, write_sound
from learn2talk_core.export.gltf import GlbFile
from learn2talk_core.run.errors import BadInput, some_of

SPEECH = "speech"  # name of our animation; one of this name is replaced
HEADS = ("head", "mixamorig:head", "j_bip_c_head")  # names of a head's joint, in lower case
FIX = "Export it as .glb with shape keys, named jawOpen and so on (ARKit) or viseme_aa and so on (Oculus)."


class UsersAvatar:
    """A GLB file as its JSON and its binary part.

    Attributes:
        path: the file.
        document: its JSON.
        binary: its binary chunk.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise BadInput(path, expected="an avatar as .glb", found=str(error.strerror), fix=FIX) from error
        self.document, self.binary = self._chunks(content)
        animations = self.document.setdefault("animations", [])
        if not isinstance(animations, list) or not self.targets():
            names = sorted({name for _, names in self._named() for name in names})
            found = f"other names: {some_of(names)}" if names else "no morph targets"
            raise BadInput(path, expected="morph targets with ARKit's or the visemes' names", found=found, fix=FIX)

    def _chunks(self, content: bytes) -> tuple[dict[str, Any], bytes]:
        def wrong(found: str) -> BadInput:
            return BadInput(self.path, expected="a GLB file (binary glTF 2.0)", found=found, fix=FIX)

        if len(content) < 20 or content[:4] != b"glTF":
            raise wrong("another format")
        _, version, length = struct.unpack_from("<4sII", content)
        if version != 2 or length > len(content):
            raise wrong(f"version {version}" if version != 2 else "a file that is cut short")
        size, kind = struct.unpack_from("<I4s", content, 12)
        try:
            document = json.loads(content[20 : 20 + size])
        except ValueError as error:
            raise wrong("damaged JSON") from error
        if kind != b"JSON" or not isinstance(document, dict):
            raise wrong("no JSON chunk")
        rest = content[20 + size : length]
        if not rest:
            return document, b""
        if len(rest) < 8:
            raise wrong("a file that is cut short")
        size, kind = struct.unpack_from("<I4s", rest)
        if kind != b"BIN\0" or size > len(rest) - 8:
            raise wrong("a damaged binary chunk")
        return document, rest[8 : 8 + size]

    def _named(self) -> list[tuple[int, list[str]]]:
        """Number of each mesh and the names of its targets, as given or "" for one without."""
        found = []
        meshes = self.document.get("meshes")
        for number, mesh in enumerate(meshes if isinstance(meshes, list) else []):
            try:
                targets = mesh["primitives"][0].get("targets", [])
                extras = [mesh.get("extras"), mesh["primitives"][0].get("extras")]
                names = next((e["targetNames"] for e in extras if isinstance(e, dict) and "targetNames" in e), None)
                if names is None:  # as some exporters do
                    accessors = self.document["accessors"]
                    names = [accessors[target["POSITION"]].get("name", "") for target in targets]
                names = [str(name) for name in names]
            except (KeyError, IndexError, TypeError, AttributeError):
                continue
            if targets and len(names) == len(targets):
                found.append((number, names))
        return found

    def targets(self) -> dict[int, list[str | None]]:
        """For each mesh that speech moves, what each of its targets is: an ARKit shape, viseme_…, or None.

        Visemes are used only in a mesh without ARKit's mouth.
        """
        visemes = {f"viseme_{name}".lower(): f"viseme_{name}" for name in OCULUS}
        found = {}
        for number, names in self._named():
            known: list[str | None] = [arkit_name(name) for name in names]
            if "jawOpen" not in known:
                mouths = [visemes.get(name.lower()) for name in names]
                known = [mouth or shape for mouth, shape in zip(mouths, known, strict=True)]
            if any(known):
                found[number] = known
        return found


def write_onto(stem: Path, animation: Animation, avatar: UsersAvatar, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM_avatar.glb`: the user's avatar with our animation `speech`; and `STEM.wav`.

    Head motion turns the node `Head`, if there is one.
    """
    check_animation(stem, animation)
    curves = arkit_weights(animation, shapes)
    visemes = viseme_weights(curves, animation.fps, animation.phonemes)
    columns = {name: curves[:, number] for number, name in enumerate(ARKIT)}
    columns |= {f"viseme_{name}": visemes[:, number] for number, name in enumerate(OCULUS)}
    document = json.loads(json.dumps(avatar.document))
    file = _Appended(document, avatar)
    times = file.add(np.arange(len(curves)) / animation.fps, bounds=True)
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []

    def animate(node: int, path: str, output: int) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})

    nodes = document.get("nodes", [])
    for mesh, known in avatar.targets().items():
        rest = document["meshes"][mesh].get("weights", [0.0] * len(known))
        moved = [
            columns[name] if name is not None else np.full(len(curves), still)
            for name, still in zip(known, rest, strict=True)
        ]
        output = file.add(np.stack(moved, axis=1).reshape(-1))
        for number, node in enumerate(nodes):
            if node.get("mesh") == mesh:
                animate(number, "weights", output)
    head = next((n for n, node in enumerate(nodes) if str(node.get("name", "")).lower() in HEADS), None)
    if animation.pose is not None and head is not None and "matrix" not in nodes[head]:
        animate(head, "rotation", file.add(_turned(nodes, head, animation)))
    kept = [one for one in document["animations"] if one.get("name") != SPEECH]
    document["animations"] = [*kept, {"name": SPEECH, "channels": channels, "samplers": samplers}]
    path = suffixed(stem, "_avatar.glb")
    file.write(path, document)
    return [path, write_sound(suffixed(stem, ".wav"), animation)]


def _turned(nodes: list[dict[str, Any]], head: int, animation: Animation) -> np.ndarray:
    """Rotations (T, 4) of the head's node that turn it about the scene's axes as the animation turns the head."""
    parents = {child: n for n, node in enumerate(nodes) for child in node.get("children", [])}
    above, place = Rotation.identity(), parents.get(head)
    while place is not None:
        above = Rotation.from_quat(nodes[place].get("rotation", [0, 0, 0, 1])) * above
        place = parents.get(place)
    own = Rotation.from_quat(nodes[head].get("rotation", [0, 0, 0, 1]))
    turns = Rotation.from_matrix(animation.rigid()[:, :, :3])
    return (above.inv() * turns * above * own).as_quat()


class _Appended(GlbFile):
    """The binary part of the user's file, to which arrays are appended."""

    def __init__(self, document: dict[str, Any], avatar: UsersAvatar) -> None:
        super().__init__()
        buffers = document.setdefault("buffers", [{"byteLength": 0}])
        if buffers and "uri" in buffers[0]:
            found = "its first buffer in another file"
            raise BadInput(avatar.path, expected="a GLB that holds its buffers", found=found, fix=FIX)
        content = avatar.binary + bytes(-len(avatar.binary) % 4)
        if content:
            self.arrays.append(np.frombuffer(content, np.uint8))
        self.length = len(content)
        self.views = document.setdefault("bufferViews", [])
        self.accessors = document.setdefault("accessors", [])
        self.more_buffers = buffers[1:]
