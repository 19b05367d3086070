import numpy as np
import pytest

from learn2talk_core.animation.animation import Animation
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.export.formats import FORMATS, formats, write_formats
from learn2talk_core.export.names import FORMAT_NAMES, check_names
from learn2talk_core.run.errors import BadInput
from tests.export.scene import speaking_sphere
from tests.export.test_flame import model_file, speech


def embedded_head() -> Animation:
    face = load_face()
    return Animation(
        states=np.linspace(0, 1, 4, dtype=np.float32)[:, None],
        basis=face.unit["jawOpen"][None],
        offset=np.zeros_like(face.neutral),
        template=face.neutral,
        fps=30,
        mm_per_unit=1000,
        topology=face.topology,
        wave=np.zeros(2133, np.float32),
    )


def test_every_format_tells_what_it_wrote_and_keeps_dots_in_the_name(tmp_path):
    expected = {
        "mp4": {"a.b.mp4"},
        "npy": {"a.b.npy"},
        "npz": {"a.b.npz"},
        "obj": {"a.b_obj"},
        "ply": {"a.b_ply"},
        "glb": {"a.b.glb", "a.b.wav"},
        "glb-exact": {"a.b.glb", "a.b.wav"},
        "usd": {"a.b.usda", "a.b.wav"},
        "arkit": {"a.b_arkit.csv", "a.b_arkit.json", "a.b.wav"},
        "metahuman": {"a.b_metahuman.csv", "a.b_metahuman.json", "a.b.wav"},
        "visemes": {"a.b_visemes.csv", "a.b_visemes.json", "a.b.wav"},
        "vrm": {"a.b.vrma", "a.b.wav"},
        "rhubarb": {"a.b_rhubarb.tsv", "a.b.wav"},
        "unity": {"a.b.anim", "a.b.wav"},
        "godot": {"a.b.tres", "a.b.wav"},
        "talkinghead": {"a.b_talkinghead.json", "a.b.wav"},
    }
    assert list(FORMATS) == [*expected, "fbx", "flame", "onto"]
    for name, files in expected.items():
        (tmp_path / name).mkdir()
        written = FORMATS[name](tmp_path / name / "a.b", embedded_head())
        assert {path.name for path in written} == files == {path.name for path in (tmp_path / name).iterdir()}


def test_flame_needs_its_model(tmp_path):
    with pytest.raises(BadInput, match=r"flame: expected FLAME's model file, found none\. Download generic_model\.pkl"):
        FORMATS["flame"](tmp_path / "x", speaking_sphere())
    path = model_file(tmp_path / "flame.pkl")
    written = formats(flame_model=path)["flame"](tmp_path / "x", speech(path, frames=2)[0])
    assert [path.name for path in written] == ["x_flame.npz", "x.wav"]


def test_arkit_takes_the_shapes_of_another_mesh(tmp_path):
    animation = speaking_sphere()
    np.savez(tmp_path / "shapes.npz", names=["jawOpen"], deltas=animation.basis[:1])
    written = formats(blend_shapes=tmp_path / "shapes.npz")["arkit"](tmp_path / "x", animation)
    assert [path.name for path in written] == ["x_arkit.csv", "x_arkit.json", "x.wav"]
    assert all(path.is_file() for path in written)


def test_several_formats_share_one_sound(tmp_path):
    written = write_formats(tmp_path / "new" / "a", embedded_head(), ["glb", "usd", "glb"])
    assert [path.name for path in written] == ["a.glb", "a.wav", "a.usda"]


def test_the_names_are_those_of_the_writers() -> None:
    assert tuple(FORMATS) == FORMAT_NAMES


@pytest.mark.parametrize(("names", "found"), [(["npy", "dae"], "dae"), ([], "none")])
def test_unknown_formats_are_refused(names, found):
    with pytest.raises(BadInput, match=rf"formats: expected some of mp4, npy, .*flame, onto, found {found}"):
        check_names(names, "formats")


@pytest.mark.parametrize("name", ["obj", "ply"])
def test_frames_of_another_animation_are_left_alone(tmp_path, name):
    FORMATS[name](tmp_path / "a", embedded_head())
    with pytest.raises(BadInput, match=rf"a_{name}: expected no folder, or an empty one, found files in it"):
        FORMATS[name](tmp_path / "a", embedded_head())
    assert len(list((tmp_path / f"a_{name}").iterdir())) == 4
