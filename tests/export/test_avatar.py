import json
import subprocess

import numpy as np
import pytest

from learn2talk_core.animation.blend_shapes import ARKIT, OCULUS
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.export.avatar import write_avatar
from learn2talk_core.run.errors import BadInput
from tests.export.glb import Glb
from tests.export.scene import speaking_character, speaking_sphere, spoilt
from tests.export.test_formats import embedded_head
from tests.export.test_gltf import VALIDATE, has_validator


@pytest.mark.parametrize("head", [True, False])
def test_every_vertex_of_a_character_is_where_the_animation_has_it(tmp_path, head):
    """Targets, joints and curves together, to within the error of the fit."""
    animation = speaking_character(head=head)
    assert write_avatar(tmp_path / "a", animation) == [tmp_path / "a.glb", tmp_path / "a.wav"]
    glb = Glb(tmp_path / "a.glb")
    expected, found = animation.vertices().astype(np.float64), glb.parts()
    assert list(found) == ["skin", "left_eye", "right_eye", "teeth", "tongue", "bust", "hair"]
    for name, positions in found.items():
        faces = animation.topology.faces[animation.look.part == animation.look.names.index(name)]
        own = np.unique(faces)
        rest = {tuple(row): vertex for vertex, row in zip(own, animation.template[own].tolist(), strict=True)}
        (primitive,) = next(mesh for mesh in glb.document["meshes"] if mesh["name"] == name)["primitives"]
        base = glb.array(primitive["attributes"]["POSITION"])
        vertices = [rest[tuple(row)] for row in base.tolist()]
        assert set(map(tuple, base.tolist())) == set(rest), "all of them"  # the bust's sharp edge has two at a place
        assert np.abs(positions - expected[:, vertices]).max() < 6e-4, name


def test_the_names_are_arkits_and_each_mesh_has_those_that_move_it(tmp_path):
    write_avatar(tmp_path / "a", speaking_character(), visemes=True)
    meshes = {mesh["name"]: mesh for mesh in Glb(tmp_path / "a.glb").document["meshes"]}
    names = meshes["skin"]["extras"]["targetNames"]
    assert tuple(names[:52]) == ARKIT
    assert names[52:] == [f"viseme_{name}" for name in OCULUS]
    assert set(meshes["left_eye"]["extras"]["targetNames"]) == {
        f"eyeLook{way}Left" for way in ("Up", "Down", "In", "Out")
    }
    assert {"jawOpen", "jawLeft", "viseme_aa"} <= set(meshes["teeth"]["extras"]["targetNames"])
    assert "tongueOut" in meshes["tongue"]["extras"]["targetNames"]
    assert not {"weights", "extras"} & meshes["hair"].keys()


def test_curves_drive_the_targets(tmp_path):
    animation = speaking_character()
    write_avatar(tmp_path / "a", animation)
    glb = Glb(tmp_path / "a.glb")
    skin = next(n for n, node in enumerate(glb.document["nodes"]) if node["name"] == "skin")
    (speech,) = glb.document["animations"]
    (channel,) = [one for one in speech["channels"] if one["target"] == {"node": skin, "path": "weights"}]
    weights = glb.array(speech["samplers"][channel["sampler"]]["output"]).reshape(30, 52)
    np.testing.assert_allclose(weights, arkit_weights(animation), atol=1e-6)
    np.testing.assert_allclose(weights[:, ARKIT.index("eyeBlinkLeft")], animation.states[:, 2], atol=1e-6)
    assert glb.document["scenes"][0]["extras"] == {"sound": "a.wav", "sound_start": 0, "fps": 30.0}


def test_texture_and_coordinates_are_those_of_the_character(tmp_path):
    animation = speaking_character()
    write_avatar(tmp_path / "a", animation)
    glb = Glb(tmp_path / "a.glb")
    (image,) = glb.document["images"]
    view = glb.document["bufferViews"][image["bufferView"]]
    start = view["byteOffset"]
    assert glb.binary[start : start + view["byteLength"]] == animation.look.encoded
    assert len({material["name"] for material in glb.document["materials"]}) == 7
    skin = glb.document["meshes"][0]["primitives"][0]
    uv, indices = glb.array(skin["attributes"]["TEXCOORD_0"]), glb.array(skin["indices"]).reshape(-1, 3)
    expected = animation.look.uv[animation.look.part == 0]
    np.testing.assert_allclose(uv[indices], expected * (1, -1) + (0, 1), atol=1e-5)


def test_a_head_without_a_texture_has_colours_and_parts(tmp_path):
    write_avatar(tmp_path / "a", embedded_head())
    glb = Glb(tmp_path / "a.glb")
    names = [mesh["name"] for mesh in glb.document["meshes"]]
    assert names == ["skin", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue"]
    triangles = sum(glb.array(mesh["primitives"][0]["indices"]).size // 3 for mesh in glb.document["meshes"])
    assert triangles == len(embedded_head().topology.faces)


def test_another_mesh_needs_shapes_and_can_have_them(tmp_path):
    sphere = speaking_sphere()
    with pytest.raises(BadInput, match=r"ARKit weights: expected the embedded head, or a file with the blend shapes"):
        write_avatar(tmp_path / "a", sphere)
    assert not list(tmp_path.iterdir())
    from learn2talk_core.animation.blend_shapes import BlendShapes

    write_avatar(tmp_path / "a", spoilt(sphere, arkit=BlendShapes(("jawOpen",), sphere.basis[:1])))
    (mesh,) = Glb(tmp_path / "a.glb").document["meshes"]
    assert (mesh["name"], mesh["extras"]["targetNames"]) == ("face", ["jawOpen"])


def test_khronos_validator_accepts_the_avatar(tmp_path):
    if not has_validator():
        pytest.skip("node with the package gltf-validator is not installed")
    write_avatar(tmp_path / "face", speaking_character(), visemes=True)
    command = ["node", "-e", VALIDATE, str(tmp_path / "face.glb")]
    issues = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert not issues["messages"], issues
