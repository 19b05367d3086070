import json
import struct

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from learn2talk_core.animation.blend_shapes import ARKIT
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.export.avatar import write_avatar
from learn2talk_core.export.onto import UsersAvatar, write_onto
from learn2talk_core.run.errors import BadInput
from tests.export.glb import Glb
from tests.export.scene import speaking_character


def glb_bytes(document, binary=b""):
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def users_avatar(path, names=("Jaw_Open", "jawOpen", "MouthSmile_L", "mine"), extras=True):
    """A triangle with a target for each name, a turned body, a head bone, and an animation of the user's."""
    triangle = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
    arrays = [triangle, *(0.1 * n * triangle for n in range(1, 1 + len(names))), np.array([0, 1], "<f4")]
    arrays += [np.array([[0, 0, 0], [0, 1, 0]], "<f4")]
    views, accessors, place = [], [], 0
    for number, array in enumerate(arrays):
        views.append({"buffer": 0, "byteOffset": place, "byteLength": array.nbytes})
        kind = "SCALAR" if array.ndim == 1 else "VEC3"
        accessor = {"bufferView": number, "componentType": 5126, "count": len(array), "type": kind}
        if 0 < number <= len(names) and not extras:
            accessor["name"] = names[number - 1]
        flat = array.reshape(len(array), -1)
        accessors.append({**accessor, "min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()})
        place += array.nbytes
    turn = Rotation.from_euler("x", -90, degrees=True).as_quat().tolist()
    targets = [{"POSITION": number} for number in range(1, 1 + len(names))]
    mesh = {"name": "Face", "primitives": [{"attributes": {"POSITION": 0}, "targets": targets}]}
    mesh |= {"weights": [0.0] * (len(names) - 1) + [0.25]}
    if extras:
        mesh["extras"] = {"targetNames": list(names)}
    document = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [
            {"name": "Armature", "rotation": turn, "children": [1, 2]}, {"name": "Head"}, {"name": "Face", "mesh": 0},
        ],
        "meshes": [mesh], "buffers": [{"byteLength": place}], "bufferViews": views, "accessors": accessors,
        "animations": [{"name": "idle", "channels": [{"sampler": 0, "target": {"node": 1, "path": "translation"}}],
                        "samplers": [{"input": len(arrays) - 2, "output": len(arrays) - 1}]}],
        "extensionsUsed": ["VENDOR_mine"], "extensions": {"VENDOR_mine": {"kept": True}},
    }  # fmt: skip
    path.write_bytes(glb_bytes(document, b"".join(array.tobytes() for array in arrays)))
    return document


def speech_of(path):
    content = path.read_bytes()
    size = struct.unpack_from("<I", content, 12)[0]
    document, binary = json.loads(content[20 : 20 + size]), content[28 + size :]

    def array(number):
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        return np.frombuffer(binary, "<f4", view["byteLength"] // 4, view["byteOffset"])

    speech = document["animations"][-1]
    found = {}
    for channel in speech["channels"]:
        sampler = speech["samplers"][channel["sampler"]]
        times = array(sampler["input"])
        found[channel["target"]["path"]] = array(sampler["output"]).reshape(len(times), -1)
    return document, binary, found


@pytest.mark.parametrize("extras", [True, False])
def test_curves_go_to_the_targets_of_their_names_and_nothing_else_changes(tmp_path, extras):
    before = users_avatar(tmp_path / "mine.glb", extras=extras)
    animation = speaking_character()
    written = write_onto(tmp_path / "a", animation, UsersAvatar(tmp_path / "mine.glb"))
    assert [path.name for path in written] == ["a_avatar.glb", "a.wav"]
    document, binary, speech = speech_of(tmp_path / "a_avatar.glb")
    curves = arkit_weights(animation)
    expected = np.zeros((30, 4))
    expected[:, 1] = curves[:, ARKIT.index("jawOpen")]
    expected[:, 2] = curves[:, ARKIT.index("mouthSmileLeft")]
    expected[:, 3] = 0.25  # a target that speech does not know keeps the weight that it has at rest
    np.testing.assert_allclose(speech["weights"], expected, atol=1e-6)
    assert [one["name"] for one in document["animations"]] == ["idle", "speech"]
    size = before["buffers"][0]["byteLength"]
    assert binary[:size] == (tmp_path / "mine.glb").read_bytes()[-size:]
    for key in ("nodes", "meshes", "scenes", "extensions", "extensionsUsed"):
        assert document[key] == before[key]
    assert document["accessors"][: len(before["accessors"])] == before["accessors"]
    assert document["buffers"][0]["byteLength"] == len(binary)


def test_the_head_bone_turns_about_the_axes_of_the_scene(tmp_path):
    """The bone hangs on a body that lies on its back in its own axes, as in Blender's exports."""
    users_avatar(tmp_path / "mine.glb")
    animation = speaking_character()
    write_onto(tmp_path / "a", animation, UsersAvatar(tmp_path / "mine.glb"))
    document, _, speech = speech_of(tmp_path / "a_avatar.glb")
    body = Rotation.from_quat(document["nodes"][0]["rotation"])
    world = body * Rotation.from_quat(speech["rotation"])
    expected = Rotation.from_matrix(animation.rigid()[:, :, :3]) * body
    np.testing.assert_allclose(world.as_matrix(), expected.as_matrix(), atol=1e-6)


def test_written_again_the_speech_is_replaced(tmp_path):
    users_avatar(tmp_path / "mine.glb")
    write_onto(tmp_path / "a", speaking_character(), UsersAvatar(tmp_path / "mine.glb"))
    write_onto(tmp_path / "b", speaking_character(frames=12), UsersAvatar(tmp_path / "a_avatar.glb"))
    document, _, speech = speech_of(tmp_path / "b_avatar.glb")
    assert [one["name"] for one in document["animations"]] == ["idle", "speech"]
    assert len(speech["weights"]) == 12


def test_visemes_drive_an_avatar_without_arkit(tmp_path):
    users_avatar(tmp_path / "mine.glb", names=("viseme_aa", "viseme_sil", "eyeBlinkLeft"))
    animation = speaking_character()
    write_onto(tmp_path / "a", animation, UsersAvatar(tmp_path / "mine.glb"))
    _, _, speech = speech_of(tmp_path / "a_avatar.glb")
    assert speech["weights"][:, 0].max() > 0.1
    np.testing.assert_allclose(speech["weights"][:, 2], animation.states[:, 2], atol=1e-6)


def test_our_own_avatar_takes_other_speech(tmp_path):
    write_avatar(tmp_path / "ours", speaking_character(head=False))
    other = speaking_character(frames=9, head=False)
    write_onto(tmp_path / "a", other, UsersAvatar(tmp_path / "ours.glb"))
    glb = Glb(tmp_path / "a_avatar.glb")
    assert glb.document["animations"][0]["name"] == "speech"
    expected = other.vertices()[4, other.topology.faces[other.look.part == 3]]
    (primitive,) = next(m for m in glb.document["meshes"] if m["name"] == "teeth")["primitives"]
    found = glb.parts()["teeth"][4][glb.array(primitive["indices"]).reshape(-1, 3)]
    np.testing.assert_allclose(found, expected, atol=6e-4)


def named(name):
    return {"meshes": [{"primitives": [{"targets": [{"POSITION": 0}]}], "extras": {"targetNames": [name]}}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a GLB at all, but long enough", r"expected a GLB file \(binary glTF 2.0\), found another format"),
        (struct.pack("<4sII", b"glTF", 1, 20) + bytes(8), r"found version 1"),
        (glb_bytes({"asset": {}})[:-4], r"found a file that is cut short"),
        (struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b"{{{{", r"found damaged JSON"),
        (glb_bytes({"asset": {}}), r"mine\.glb: expected morph targets with ARKit's or .*, found no morph targets"),
        (glb_bytes(named("Bigger")), r"found other names: Bigger\. Export it as \.glb with shape keys"),
        (glb_bytes({"meshes": [{"primitives": "x"}, 7], "accessors": 3}), r"found no morph targets"),
    ],
)  # fmt: skip
def test_what_is_no_avatar_is_refused(tmp_path, content, message):
    (tmp_path / "mine.glb").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        UsersAvatar(tmp_path / "mine.glb")


def test_an_avatar_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match=r"none\.glb: expected an avatar as \.glb, found No such file"):
        UsersAvatar(tmp_path / "none.glb")
