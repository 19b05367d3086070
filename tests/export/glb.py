"""A strict reader of GLB that checks all requirements of glTF 2.0, written only from the text of the specification."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
DTYPE = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
REST = {"rotation": [0, 0, 0, 1], "translation": [0, 0, 0]}
ATTRIBUTES = {
    "POSITION": (5126, "VEC3"),
    "NORMAL": (5126, "VEC3"),
    "COLOR_0": (5126, "VEC3"),
    "TEXCOORD_0": (5126, "VEC2"),
    "JOINTS_0": (5121, "VEC4"),
    "WEIGHTS_0": (5126, "VEC4"),
}
PARTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A GLB file, checked while it is read; `document` is its JSON."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", content)
        assert (magic, version, length) == (b"glTF", 2, len(content)), "header"
        assert length % 4 == 0
        chunks = []
        place = 12
        while place < length:
            size, kind = struct.unpack_from("<I4s", content, place)
            assert place % 4 == 0, "a chunk begins at a multiple of 4"
            assert size % 4 == 0, "a chunk's length is a multiple of 4"
            assert place + 8 + size <= length, "a chunk ends inside the file"
            chunks.append((kind, content[place + 8 : place + 8 + size]))
            place += 8 + size
        assert [kind for kind, _ in chunks] == [b"JSON", b"BIN\0"]
        self.document: dict[str, Any] = json.loads(chunks[0][1])
        self.binary = chunks[1][1]
        self._check()

    def array(self, number: int) -> np.ndarray:
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        kind, parts = accessor["componentType"], PARTS[accessor["type"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        assert "byteStride" not in view
        assert start % BYTES[kind] == 0, "aligned to its component"
        size = accessor["count"] * parts * BYTES[kind]
        assert accessor.get("byteOffset", 0) + size <= view["byteLength"], "inside its view"
        array = np.frombuffer(self.binary[start : start + size], DTYPE[kind]).reshape(-1, parts)
        for bound, found in (("min", array.min(axis=0)), ("max", array.max(axis=0))):
            if bound in accessor:
                assert len(accessor[bound]) == parts
                np.testing.assert_array_equal(np.array(accessor[bound], array.dtype), found, bound)
        return array

    def _check(self) -> None:
        document = self.document
        assert document["asset"]["version"] == "2.0"
        (buffer,) = document["buffers"]
        assert "uri" not in buffer
        assert 0 <= len(self.binary) - buffer["byteLength"] <= 3
        for view in document["bufferViews"]:
            assert view["buffer"] == 0
            assert view["byteLength"] >= 1
            assert view.get("byteOffset", 0) + view["byteLength"] <= buffer["byteLength"]
            assert view.get("target") in (None, 34962, 34963)
        for number, accessor in enumerate(document["accessors"]):
            assert accessor["count"] >= 1
            assert accessor["componentType"] in BYTES
            assert np.isfinite(self.array(number)).all()
        for scene in document["scenes"]:
            assert all(node < len(document["nodes"]) for node in scene["nodes"])
        assert document["scene"] < len(document["scenes"])
        for mesh in document["meshes"]:
            self._check_mesh(mesh)
        for animation in document.get("animations", []):
            self._check_animation(animation)

    def _check_mesh(self, mesh: dict[str, Any]) -> None:
        views, accessors = self.document["bufferViews"], self.document["accessors"]
        for primitive in mesh["primitives"]:
            if "KHR_gaussian_splatting" in primitive.get("extensions", {}):
                self._check_splats(primitive)
                continue
            assert primitive.get("mode", 4) == 4
            assert primitive["material"] < len(self.document["materials"])
            position = accessors[primitive["attributes"]["POSITION"]]
            assert {"min", "max"} <= position.keys(), "positions need their bounds"
            for name, number in primitive["attributes"].items():
                accessor = accessors[number]
                assert accessor["count"] == position["count"], name
                assert (accessor["componentType"], accessor["type"]) == ATTRIBUTES[name], name
                assert views[accessor["bufferView"]]["target"] == 34962
            length = np.linalg.norm(self.array(primitive["attributes"]["NORMAL"]), axis=1)
            np.testing.assert_allclose(length, 1, atol=5e-4)
            assert ("COLOR_0" in primitive["attributes"]) != ("TEXCOORD_0" in primitive["attributes"])
            colours = self.array(primitive["attributes"].get("COLOR_0", primitive["attributes"].get("TEXCOORD_0")))
            assert colours.min() >= 0
            assert colours.max() <= 1
            if "WEIGHTS_0" in primitive["attributes"]:
                shares = self.array(primitive["attributes"]["WEIGHTS_0"])
                np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
                assert shares.min() >= 0
            indices = accessors[primitive["indices"]]
            assert indices["type"] == "SCALAR"
            assert indices["componentType"] in (5121, 5123, 5125)
            assert indices["count"] % 3 == 0
            assert views[indices["bufferView"]]["target"] == 34963
            assert self.array(primitive["indices"]).max() < position["count"]
            assert primitive.get("targets", ["none"]), "no empty list"
            if "targets" in primitive:
                assert len(primitive["targets"]) == len(mesh["weights"]) == len(mesh["extras"]["targetNames"])
            for target in primitive.get("targets", []):
                assert target.keys() <= primitive["attributes"].keys()
                morph = accessors[target["POSITION"]]
                assert {"min", "max"} <= morph.keys()
                assert (morph["componentType"], morph["type"]) == (5126, "VEC3")
                assert morph["count"] == position["count"]

    def _check_splats(self, primitive: dict[str, Any]) -> None:
        """The requirements of KHR_gaussian_splatting."""
        name, accessors = "KHR_gaussian_splatting", self.document["accessors"]
        assert name in self.document["extensionsUsed"]
        assert primitive["mode"] == 0, "points"
        about = primitive["extensions"][name]
        assert about["kernel"] == "ellipse"
        assert about["colorSpace"] in ("srgb_rec709_display", "lin_rec709_display")
        kinds = {"POSITION": "VEC3", f"{name}:ROTATION": "VEC4", f"{name}:SCALE": "VEC3", f"{name}:OPACITY": "SCALAR"}
        degree = max(int(key.split("_")[-3]) for key in primitive["attributes"] if "SH_DEGREE" in key)
        kinds |= {f"{name}:SH_DEGREE_{d}_COEF_{c}": "VEC3" for d in range(degree + 1) for c in range(2 * d + 1)}
        assert kinds.keys() == primitive["attributes"].keys() - {"COLOR_0"}
        assert len({accessors[number]["count"] for number in primitive["attributes"].values()}) == 1
        for key, kind in kinds.items():
            accessor = accessors[primitive["attributes"][key]]
            assert (accessor["componentType"], accessor["type"]) == (5126, kind), key
        assert {"min", "max"} <= accessors[primitive["attributes"]["POSITION"]].keys()
        turns = self.array(primitive["attributes"][f"{name}:ROTATION"])
        np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 1, atol=1e-5)
        assert self.array(primitive["attributes"][f"{name}:SCALE"]).min() >= 0
        opacity = self.array(primitive["attributes"][f"{name}:OPACITY"])
        assert opacity.min() >= 0
        assert opacity.max() <= 1

    def _check_animation(self, animation: dict[str, Any]) -> None:
        aims = [(channel["target"]["node"], channel["target"]["path"]) for channel in animation["channels"]]
        assert len(set(aims)) == len(aims)
        for channel in animation["channels"]:
            node, path = self.document["nodes"][channel["target"]["node"]], channel["target"]["path"]
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.document["accessors"][sampler["input"]], self.document["accessors"][sampler["output"]]
            kind, each = {"rotation": ("VEC4", 1), "translation": ("VEC3", 1), "weights": ("SCALAR", 0)}[path]
            each = each or len(self.document["meshes"][node["mesh"]]["weights"])
            assert (times["componentType"], times["type"], values["type"]) == (5126, "SCALAR", kind)
            assert values["componentType"] == 5126
            assert {"min", "max"} <= times.keys()
            assert sampler["interpolation"] == "LINEAR"
            assert values["count"] == times["count"] * each
            if path == "rotation":
                np.testing.assert_allclose(np.linalg.norm(self.array(sampler["output"]), axis=1), 1, atol=1e-6)
            assert (np.diff(self.array(sampler["input"])[:, 0]) > 0).all(), "times increase"
            assert self.array(sampler["input"])[0, 0] >= 0

    def channel(self, path: str) -> tuple[np.ndarray, np.ndarray, int] | None:
        """Times, values and node of the channel that animates `path`."""
        (animation,) = self.document["animations"]
        for channel in animation["channels"]:
            if channel["target"]["path"] == path:
                sampler = animation["samplers"][channel["sampler"]]
                times, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"])
                return times, values.reshape(len(times), -1).astype(np.float64), channel["target"]["node"]
        return None

    def vertices(self) -> tuple[np.ndarray, np.ndarray]:
        """Times (T,) of the key frames, and vertices (T, V, 3) of the first mesh's first primitive in the scene."""
        (primitive,) = self.document["meshes"][0]["primitives"]
        times, weights, node = self.channel("weights")
        targets = np.stack([self.array(target["POSITION"]) for target in primitive["targets"]]).astype(np.float64)
        base = self.array(primitive["attributes"]["POSITION"]).astype(np.float64)
        found = base + np.einsum("tk,kvx->tvx", weights, targets)
        parents = {child: i for i, one in enumerate(self.document["nodes"]) for child in one.get("children", [])}
        while node is not None:  # up to the root: rotate, then translate
            still = self.document["nodes"][node]
            for path in ("rotation", "translation"):
                moving = self.channel(path)
                own = moving[1] if moving is not None and moving[2] == node else np.array([still.get(path, REST[path])])
                if path == "rotation":
                    found = np.einsum("txy,tvy->tvx", Rotation.from_quat(own).as_matrix(), found)
                else:
                    found = found + own[:, None]
            node = parents.get(node)
        return times, found

    def parts(self) -> dict[str, np.ndarray]:
        """Positions (T, n, 3) in the scene of each mesh's vertices, by its name: targets, then joints."""
        (animation,) = self.document["animations"]
        moving = {}
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            count = self.document["accessors"][sampler["input"]]["count"]
            values = self.array(sampler["output"]).astype(np.float64).reshape(count, -1)
            moving[channel["target"]["node"], channel["target"]["path"]] = values
        parents = {child: i for i, one in enumerate(self.document["nodes"]) for child in one.get("children", [])}

        def world(number: int | None) -> tuple[np.ndarray, np.ndarray]:
            if number is None:
                return np.eye(3)[None].repeat(count, 0), np.zeros((count, 3))
            node, (turn, place) = self.document["nodes"][number], world(parents.get(number))
            own = [moving.get((number, path), np.array([node.get(path, REST[path])] * count)) for path in REST]
            return turn @ Rotation.from_quat(own[0]).as_matrix(), place + np.einsum("txy,ty->tx", turn, own[1])

        found = {}
        for number, node in enumerate(self.document["nodes"]):
            if "mesh" not in node:
                continue
            mesh = self.document["meshes"][node["mesh"]]
            (primitive,) = mesh["primitives"]
            positions = self.array(primitive["attributes"]["POSITION"]).astype(np.float64)[None].repeat(count, 0)
            if "targets" in primitive:
                targets = np.stack([self.array(target["POSITION"]) for target in primitive["targets"]])
                positions = positions + np.einsum("tk,kvx->tvx", moving[number, "weights"], targets.astype(np.float64))
            if "skin" not in node:
                turn, place = world(number)
                found[mesh["name"]] = np.einsum("txy,tvy->tvx", turn, positions) + place[:, None]
                continue
            skin = self.document["skins"][node["skin"]]
            inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
            joints = self.array(primitive["attributes"]["JOINTS_0"])
            shares = self.array(primitive["attributes"]["WEIGHTS_0"])
            found[mesh["name"]] = np.zeros_like(positions)
            for joint, matrix in zip(skin["joints"], inverse, strict=True):
                share = np.where(joints == skin["joints"].index(joint), shares, 0).sum(axis=1)
                turn, place = world(joint)
                near = positions @ matrix[:3, :3].T + matrix[:3, 3]
                moved = np.einsum("txy,tvy->tvx", turn, near) + place[:, None]
                found[mesh["name"]] += share[:, None] * moved
        return found

    def weights(self) -> np.ndarray:
        return self.channel("weights")[1]
