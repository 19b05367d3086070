import json
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from learn2talk_core.export.gltf import write_gltf
from learn2talk_core.run.errors import BadInput
from tests.export.glb import Glb
from tests.export.scene import nodding_sphere, speaking_sphere, spoilt


@pytest.mark.parametrize("frames", [1, 7])
@pytest.mark.parametrize("sphere", [speaking_sphere, nodding_sphere])
def test_file_obeys_the_specification_and_gives_every_frame_back(tmp_path, frames, sphere):
    animation = sphere(frames)
    assert write_gltf(tmp_path / "face", animation) == [tmp_path / "face.glb", tmp_path / "face.wav"]
    glb = Glb(tmp_path / "face.glb")
    times, vertices = glb.vertices()
    np.testing.assert_allclose(times, np.arange(frames) / 30, atol=1e-6)
    np.testing.assert_allclose(vertices, 0.25 * animation.vertices(), atol=1e-6)  # 250 mm per unit, in metres


def test_weights_stay_where_blender_does_not_clamp_them(tmp_path):
    write_gltf(tmp_path / "face", speaking_sphere())
    weights = Glb(tmp_path / "face.glb").weights()
    assert weights.min() == 0
    assert weights.max() == 1
    assert (weights[:, 0] == 1).all()
    assert (np.ptp(weights[:, 1:5], axis=0) == 1).all()
    assert (weights[:, 5] == 0).all()  # the state that never changes


def test_the_head_moves_apart_from_the_face(tmp_path):
    """Without the channels of the node `head`, the head does not move; the names of morph targets identify blinks."""
    animation = nodding_sphere()
    write_gltf(tmp_path / "face", animation)
    glb = Glb(tmp_path / "face.glb")
    (head,) = [node for node in glb.document["nodes"] if node["name"] == "head"]
    np.testing.assert_allclose(head["translation"], 0.25 * animation.pivot, atol=1e-7)
    assert glb.document["scenes"][0]["nodes"] == [glb.document["nodes"].index(head)]
    names = glb.document["meshes"][0]["extras"]["targetNames"]
    assert names == ["start", "state_000", "state_001", "state_002", "eyeBlinkLeft", "eyeBlinkRight"]
    (speech,) = glb.document["animations"]
    speech["channels"] = [one for one in speech["channels"] if one["target"]["path"] == "weights"]
    np.testing.assert_allclose(glb.vertices()[1], 0.25 * animation.unposed().vertices(), atol=1e-6)


def test_without_weights_the_face_rests(tmp_path):
    animation = speaking_sphere()
    write_gltf(tmp_path / "face", animation)
    glb = Glb(tmp_path / "face.glb")
    (mesh,) = glb.document["meshes"]
    assert not any(mesh["weights"])
    base = glb.array(mesh["primitives"][0]["attributes"]["POSITION"])
    np.testing.assert_allclose(base, 0.25 * animation.template, atol=1e-7)
    np.testing.assert_array_equal(glb.array(mesh["primitives"][0]["indices"]).reshape(-1, 3), animation.topology.faces)


def test_normals_of_a_sphere_point_outwards_and_colours_are_linear(tmp_path):
    animation = speaking_sphere()
    write_gltf(tmp_path / "face", animation)
    glb = Glb(tmp_path / "face.glb")
    attributes = glb.document["meshes"][0]["primitives"][0]["attributes"]
    outwards = animation.template / np.linalg.norm(animation.template, axis=1, keepdims=True)
    assert ((glb.array(attributes["NORMAL"]) * outwards).sum(axis=1) > 0.3).all()
    grey = np.full((642, 3), 0.5, np.float32)
    topology = type(animation.topology)(**{**vars(animation.topology), "colours": grey})
    write_gltf(tmp_path / "grey", spoilt(animation, topology=topology))
    glb = Glb(tmp_path / "grey.glb")
    np.testing.assert_allclose(glb.array(attributes["COLOR_0"]), 0.21404, atol=1e-5)  # from the definition of sRGB


def test_the_sound_lies_beside_and_is_named(tmp_path):
    animation = speaking_sphere()
    write_gltf(tmp_path / "a b", animation)
    extras = Glb(tmp_path / "a b.glb").document["scenes"][0]["extras"]
    assert extras == {"sound": "a b.wav", "sound_start": 0, "fps": 30.0}
    wave, rate = soundfile.read(tmp_path / "a b.wav")
    assert rate == 16000
    np.testing.assert_allclose(wave, animation.wave, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"states": np.zeros((0, 5), np.float32)}, r"x\.glb: expected an animation, found no frames"),
        ({"states": np.full((2, 5), np.nan, np.float32)}, r"expected finite numbers, found NaN or infinity in states"),
        ({"offset": np.full((642, 3), np.inf, np.float32)}, r"found NaN or infinity in offset"),
    ],
)
def test_what_no_file_can_hold_is_refused_and_nothing_is_written(tmp_path, fields, message):
    with pytest.raises(BadInput, match=message):
        write_gltf(tmp_path / "x", spoilt(speaking_sphere(), **fields))
    assert not list(tmp_path.iterdir())


def test_more_than_a_glb_can_count_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("learn2talk_core.export.gltf.LARGEST", 10_000)
    with pytest.raises(BadInput, match=r"expected at most 4 GiB, the limit of GLB"):
        write_gltf(tmp_path / "x", speaking_sphere())
    assert not list(tmp_path.iterdir())


VALIDATE = """
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[1]));
require("gltf-validator").validateBytes(bytes).then(report => console.log(JSON.stringify(report.issues)));
"""


def has_validator() -> bool:
    """The npm package gltf-validator, if node finds it (NODE_PATH)."""
    if shutil.which("node") is None:
        return False
    return subprocess.run(["node", "-e", "require('gltf-validator')"], capture_output=True).returncode == 0


def test_khronos_validator_finds_nothing(tmp_path):
    if not has_validator():
        pytest.skip("node with the package gltf-validator is not installed")
    write_gltf(tmp_path / "face", nodding_sphere())
    command = ["node", "-e", VALIDATE, str(tmp_path / "face.glb")]
    issues = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert not issues["messages"], issues
