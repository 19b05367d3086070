import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from learn2talk_core.animation.blend_shapes import ARKIT, OCULUS
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.animation.visemes import viseme_weights, vrm_weights
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.export.presets import (
    metahuman_curves,
    write_godot,
    write_metahuman,
    write_rhubarb,
    write_talkinghead,
    write_unity,
    write_visemes,
    write_vrm,
)
from tests.export.scene import speaking_character, spoilt


def column(name):
    return ARKIT.index(name)


def test_every_shape_drives_controls_of_a_metahuman(tmp_path):
    curves = np.arange(2 * 52).reshape(2, 52) / 104
    found = metahuman_curves(curves)
    assert all(name.startswith("CTRL_expressions_") for name in found)
    used = {tuple(values) for values in found.values()}
    assert len(used) == 52, "no shape is lost"
    for control, shape in (
        ("jawOpen", "jawOpen"),
        ("eyeLookRightL", "eyeLookInLeft"),  # inwards is to the right for the left eye
        ("eyeLookRightR", "eyeLookOutRight"),
        ("mouthCornerPullR", "mouthSmileRight"),
        ("mouthPressUL", "mouthPressLeft"),
        ("mouthLipsTogetherDR", "mouthClose"),
        ("mouthLipsPurseUL", "mouthPucker"),
        ("browRaiseInR", "browInnerUp"),
        ("eyeCheekRaiseL", "cheekSquintLeft"),
    ):
        np.testing.assert_array_equal(found[f"CTRL_expressions_{control}"], curves[:, column(shape)])
    animation = speaking_character()
    written = write_metahuman(tmp_path / "a", animation)
    assert [path.name for path in written] == ["a_metahuman.csv", "a_metahuman.json", "a.wav"]
    rows = list(csv.DictReader((tmp_path / "a_metahuman.csv").read_text().splitlines()))
    weights = arkit_weights(animation)
    jaw = [float(row["CTRL_expressions_jawOpen"]) for row in rows]
    np.testing.assert_allclose(jaw, weights[:, column("jawOpen")], atol=1e-6)
    assert float(rows[15]["seconds"]) == pytest.approx(0.5)
    content = json.loads((tmp_path / "a_metahuman.json").read_text())
    assert (content["fps"], content["names"]) == (30, [name for name in rows[0] if name != "seconds"])


def test_phonemes_give_their_visemes():
    phonemes = (Phoneme(0.2, 0.4, "M"), Phoneme(0.4, 0.7, "AA"), Phoneme(0.7, 0.9, "UW"))
    weights = viseme_weights(np.zeros((36, 52)), 30, phonemes)
    names = list(OCULUS)
    strongest = [names[number] for number in weights.argmax(axis=1)]
    assert strongest[0] == "sil"
    assert set(strongest[7:12]) == {"PP"}
    assert set(strongest[13:20]) == {"aa"}
    assert set(strongest[22:26]) == {"U"}
    assert strongest[-1] == "sil"
    np.testing.assert_allclose(weights[12, [names.index("PP"), names.index("aa")]], 0.5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in OCULUS if name not in ("sil", "nn", "DD")])
def test_a_pure_viseme_is_recognised_from_its_curves(name):
    from learn2talk_core.animation.visemes import mixture

    weights = viseme_weights(mixture(name)[None], 30)[0]
    assert list(OCULUS)[int(weights[1:].argmax()) + 1] == name
    assert weights.sum() == pytest.approx(1, abs=1e-6)


def test_rest_is_silence():
    weights = viseme_weights(np.zeros((2, 52)), 30)
    np.testing.assert_allclose(weights[:, 0], 1)


def test_viseme_files(tmp_path):
    write_visemes(tmp_path / "a", speaking_character())
    rows = list(csv.reader((tmp_path / "a_visemes.csv").read_text().splitlines()))
    assert rows[0] == ["seconds", *(f"viseme_{name}" for name in OCULUS)]
    np.testing.assert_allclose(np.array(rows[1:], float)[:, 1:].sum(axis=1), 1, atol=1e-5)


def test_rhubarb_letters(tmp_path):
    phonemes = (
        Phoneme(0.1, 0.25, "B"), Phoneme(0.25, 0.45, "AA"), Phoneme(0.45, 0.48, "T"), Phoneme(0.48, 0.7, "UW"),
        Phoneme(0.7, 0.85, "F"),
    )  # fmt: skip
    write_rhubarb(tmp_path / "a", spoilt(speaking_character(), phonemes=phonemes))
    lines = [line.split("\t") for line in (tmp_path / "a_rhubarb.tsv").read_text().splitlines()]
    letters = [letter for _, letter in lines]
    assert letters == ["X", "A", "D", "F", "G", "X", "X"], "T is shorter than 60 ms"
    assert float(lines[2][0]) == pytest.approx(0.25, abs=0.04)
    assert float(lines[-1][0]) == pytest.approx(1.0)


def test_vrm_animation_obeys_the_specification(tmp_path):
    animation = speaking_character()
    assert [path.name for path in write_vrm(tmp_path / "a", animation)] == ["a.vrma", "a.wav"]
    content = (tmp_path / "a.vrma").read_bytes()
    assert content[:4] == b"glTF"
    document = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    extension = document["extensions"]["VRMC_vrm_animation"]
    assert document["extensionsUsed"] == ["VRMC_vrm_animation"]
    assert extension["specVersion"] == "1.0"
    preset = extension["expressions"]["preset"]
    assert set(preset) == {"aa", "ih", "ou", "ee", "oh", "blink", "blinkLeft", "blinkRight"}
    (speech,) = document["animations"]
    curves = arkit_weights(animation)
    expected = vrm_weights(viseme_weights(curves, 30), curves)
    binary = content[28 + int.from_bytes(content[12:16], "little") :]
    for name, place in preset.items():
        (channel,) = [
            one for one in speech["channels"] if one["target"] == {"node": place["node"], "path": "translation"}
        ]
        view = document["bufferViews"][
            document["accessors"][speech["samplers"][channel["sampler"]]["output"]]["bufferView"]
        ]
        values = np.frombuffer(binary, "<f4", view["byteLength"] // 4, view["byteOffset"]).reshape(-1, 3)
        np.testing.assert_allclose(values[:, 0], expected[name], atol=1e-6)
        assert not values[:, 1:].any()
    assert expected["blinkLeft"].max() > 0.1


def test_unity_clip_has_every_key(tmp_path):
    animation = speaking_character()
    write_unity(tmp_path / "a", animation)
    text = (tmp_path / "a.anim").read_text()
    assert text.startswith("%YAML 1.1\n%TAG !u! tag:unity3d.com,2011:\n--- !u!74 &7400000\nAnimationClip:\n")
    from ruamel.yaml import YAML

    clip = YAML(typ="safe").load("\n".join(text.splitlines()[3:]))["AnimationClip"]
    assert clip["m_SampleRate"] == 30
    curves = {one["attribute"]: one for one in clip["m_FloatCurves"]}
    assert list(curves) == [f"blendShape.{name}" for name in ARKIT]
    keys = curves["blendShape.jawOpen"]["curve"]["m_Curve"]
    expected = 100 * arkit_weights(animation)[:, column("jawOpen")]
    np.testing.assert_allclose([key["value"] for key in keys], expected, atol=1e-3)
    np.testing.assert_allclose([key["time"] for key in keys], np.arange(30) / 30, atol=1e-5)
    np.testing.assert_allclose([key["inSlope"] for key in keys], np.gradient(expected) * 30, atol=0.01)
    assert {(one["classID"], one["path"]) for one in curves.values()} == {(137, "skin")}


TALK = """
const { pathToFileURL } = require("url");
const file = pathToFileURL(require.resolve("@met4citizen/talkinghead"));
import(file).then(({ TalkingHead }) => {
  const head = Object.create(TalkingHead.prototype);  // the constructor needs a page
  Object.assign(head, { avatar: {}, mtAvatar: {}, speechQueue: [], startSpeaking() {}, opt: {} });
  head.speakAudio(JSON.parse(require("fs").readFileSync(process.argv[1])));
  console.log(JSON.stringify(head.speechQueue[0].anim[0]));
});
"""


def test_talkinghead_plays_the_curves(tmp_path):
    animation = speaking_character()
    write_talkinghead(tmp_path / "a", animation)
    expected = arkit_weights(animation)
    speech = json.loads((tmp_path / "a_talkinghead.json").read_text())["anim"]
    assert set(speech["vs"]) == {name for n, name in enumerate(ARKIT) if expected[:, n].any()}
    np.testing.assert_allclose(np.cumsum(speech["dt"]), [*np.arange(30) / 30 * 1000, 29 / 30 * 1000 + 200])
    np.testing.assert_allclose(speech["vs"]["jawOpen"], [*expected[:, column("jawOpen")], 0], atol=1e-5)


def test_talkinghead_itself_reads_the_curves(tmp_path):
    """The npm package @met4citizen/talkinghead, if node finds it (NODE_PATH)."""
    package = "require.resolve('@met4citizen/talkinghead')"
    if shutil.which("node") is None or subprocess.run(["node", "-e", package], capture_output=True).returncode:
        pytest.skip("node with the package @met4citizen/talkinghead is not installed")
    animation = speaking_character()
    path, _ = write_talkinghead(tmp_path / "a", animation)
    played = json.loads(subprocess.run(["node", "-e", TALK, path], capture_output=True, text=True, check=True).stdout)
    jaw = arkit_weights(animation)[:, column("jawOpen")]
    np.testing.assert_allclose(played["ts"][1:31], np.arange(30) / 30 * 1000, atol=1e-6)
    np.testing.assert_allclose(np.array(played["vs"]["jawOpen"][1:31], float), jaw, atol=1e-5)


def test_godot_resource_has_every_track(tmp_path):
    animation = speaking_character()
    write_godot(tmp_path / "a", animation)
    text = (tmp_path / "a.tres").read_text()
    assert text.startswith('[gd_resource type="Animation" format=3]\n\n[resource]\n')
    assert "length = 1\n" in text
    tracks = re.findall(r'path = NodePath\("skin:(\w+)"\)\n.*\n.*\ntracks/\d+/keys = PackedFloat32Array\((.*)\)', text)
    assert [name for name, _ in tracks] == list(ARKIT)
    keys = np.array(dict(tracks)["jawOpen"].split(", "), float).reshape(-1, 3)
    expected = arkit_weights(animation)[:, column("jawOpen")]
    np.testing.assert_allclose(keys, np.stack([np.arange(30) / 30, np.ones(30), expected], axis=1), atol=1e-5)
