import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from learn2talk.cli import main
from learn2talk.viewer.scene import ViewerClip
from learn2talk.viewer.sources import find_viewer_clips, short_names, sound_clip
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.own_folder import ANIMATE
from tests.animation.test_animator import speech
from tests.learn2talk.viewer.scene import toy_run
from tests.toy import sheet, topology, toy_corpus


def named(clip: ViewerClip) -> list[str]:
    return [motion.name for motion in clip.motions]


def save(path: Path, frames: int = 5, **more: object) -> np.ndarray:
    """A motion file with triangles and a rate, unless `more` says otherwise."""
    vertices = sheet() + np.random.default_rng(frames).normal(size=(frames, 64, 3)).astype(np.float32) / 1000
    known = {"vertices": vertices, "faces": topology().faces, "fps": 30.0, "mm_per_unit": 1000.0, **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in known.items() if value is not None})
    return vertices


def test_a_run_shows_truth_and_students_in_the_style_that_is_reported(tmp_path: Path) -> None:
    data = toy_run(tmp_path)
    corpus = open_corpus(data / "corpus")
    clips = find_viewer_clips([data])
    assert [(clip.title.split()[0], clip.group) for clip in clips] == [
        ("D102", "Unseen speakers"),
        ("A100", "Seen speakers, new sentences"),
    ]
    unseen, own = clips[0], next(clip for clip in corpus.clips if clip.id == "D102")
    assert named(unseen) == ["Truth", "FaceFormer", "Learn2Talk"]
    assert (unseen.truth, unseen.text, unseen.note) == (0, "p a", "Style B.")
    assert unseen.phonemes == own.phonemes
    np.testing.assert_array_equal(unseen.motions[0].vertices(), corpus.vertices(own))
    for motion, name in zip(unseen.motions[1:], ("faceformer", "learn2talk"), strict=True):
        expected = open_predictions(data / "predicted" / name, corpus).vertices("D102", "B")
        np.testing.assert_allclose(motion.vertices(), expected, atol=1e-7)
    np.testing.assert_allclose(unseen.samples / 32768, corpus.audio(own), atol=1e-6)


def test_two_runs_stand_side_by_side(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, second = (toy_run(tmp_path / name) for name in "ab")
    assert named(find_viewer_clips([first, second])[0]) == [
        "Truth",
        f"FaceFormer (a/{first.name})",
        f"Learn2Talk (a/{first.name})",
        f"FaceFormer (b/{second.name})",
        f"Learn2Talk (b/{second.name})",
    ]


def test_what_animate_made_is_shown_with_its_sound(tmp_path: Path) -> None:
    data = toy_run(tmp_path)
    model = ["--model", str(data / "models/students/learn2talk"), "--corpus", str(data / "corpus"), "--style", "B"]
    for name in ("one", "two"):
        write_wave(tmp_path / f"{name}.wav", speech(0.6 + 0.1 * len(name)))
    sounds = [str(tmp_path / "one.wav"), str(tmp_path / "two.wav")]
    assert main(["animate", *sounds, "-o", str(tmp_path / "out"), "--format", "npz,mp4", *model]) == 0
    assert (
        main(["animate", sounds[0], "-o", str(tmp_path / "again"), "--format", "npy,mp4", *model, "--fps", "25"]) == 0
    )
    clips = find_viewer_clips([tmp_path / "out", tmp_path / "again"], corpus=data / "corpus")
    assert [(clip.title, named(clip)) for clip in clips] == [
        ("one", ["Learn2Talk (out)", "Learn2Talk (again)"]),
        ("two", ["Learn2Talk (out)"]),
    ]
    one = clips[0]
    with np.load(tmp_path / "out/one/one.npz") as stored:
        np.testing.assert_array_equal(one.motions[0].vertices(), stored["vertices"])
    assert [motion.fps for motion in one.motions] == [30, 25]
    assert one.note == "Sound: one.mp4"
    assert np.corrcoef(one.samples[:14000], speech(0.9)[:14000])[0, 1] > 0.5
    assert find_viewer_clips([tmp_path / "out" / "two"])[0].title == "two"
    assert isinstance(one.motions[0].rows, np.memmap), "an hour of vertices stays on disk"


def test_files_are_compared_in_one_clip(tmp_path: Path) -> None:
    first = save(tmp_path / "a" / "x.npz")
    save(tmp_path / "b" / "x.npz", frames=8, fps=25.0)
    write_wave(tmp_path / "b" / "x.wav", speech(0.3))
    files = [tmp_path / "a" / "x.npz", tmp_path / "b" / "x.npz"]
    (clip,) = find_viewer_clips(files)
    assert named(clip) == ["a/x.npz", "b/x.npz"], "two of the same name are told apart"
    np.testing.assert_array_equal(clip.motions[0].vertices(), first)
    assert clip.seconds == pytest.approx(0.3)
    assert clip.truth is None
    (silent,) = find_viewer_clips(files[:1])
    assert (named(silent), silent.seconds) == (["x"], pytest.approx(5 / 30, abs=1e-4))
    assert silent.note == "No sound: there is no sound file of the same name (see --audio)."
    assert not silent.samples.any()
    write_wave(tmp_path / "other.wav", speech(0.4))
    assert find_viewer_clips(files, audio=tmp_path / "other.wav")[0].seconds == pytest.approx(0.4)
    merged = find_viewer_clips([tmp_path / "a", tmp_path / "b"])
    assert [(clip.title, named(clip)) for clip in merged] == [("x", ["a", "b"])]


def test_an_array_alone_takes_its_mesh_from_elsewhere(tmp_path: Path) -> None:
    vertices = save(tmp_path / "x.npz")
    np.save(tmp_path / "y.npy", vertices.reshape(5, -1))
    write_mesh(tmp_path / "head.obj", sheet(), topology().faces)
    given = {"fps": 30.0, "mm_per_unit": 1000.0}
    (clip,) = find_viewer_clips([tmp_path / "y.npy"], template=str(tmp_path / "head.obj"), **given)
    np.testing.assert_array_equal(clip.motions[0].vertices(), vertices)
    assert len(clip.motions[0].topology.lip_pairs) == 0
    corpus = toy_run(tmp_path) / "corpus"
    (clip,) = find_viewer_clips([tmp_path / "y.npy"], corpus=corpus, fps=30.0)
    assert len(clip.motions[0].topology.lip_pairs) == 4
    assert clip.motions[0].mm_per_unit == 1000


DISPLACED = "mm per unit: displacements. Give positions, not displacements, and --mm-per-unit."


@pytest.mark.parametrize("corpus", [True, False])
@pytest.mark.parametrize(
    ("scale", "rest", "unit", "text"),
    [
        (1000, 0, 1000.0, "mm across, found 1.14e+05 mm at 1000 mm per unit. --mm-per-unit 1 would fit."),
        (1, 0, 1.0, "found 0.114 mm at 1 mm per unit. --mm-per-unit 1000 would fit."),
        (1, 1, 1000.0, DISPLACED),
        (1000, 1, 1000.0, DISPLACED),
        (1000, 1, 1.0, DISPLACED),
        (0, 0, 1000.0, DISPLACED),
    ],
)
def test_displacements_and_other_units_are_refused(
    tmp_path: Path, corpus: bool, scale: float, rest: float, unit: float, text: str
) -> None:
    vertices = save(tmp_path / "base.npz", 40)
    np.savez(tmp_path / "x.npz", vertices=scale * (vertices - rest * sheet()), faces=topology().faces)
    given = {"corpus": toy_corpus(tmp_path / "corpus").folder if corpus else None, "fps": 30.0}
    find_viewer_clips([tmp_path / "base.npz"], **given)
    with pytest.raises(BadInput, match=re.escape("x.npz: expected a face about ") + ".*" + re.escape(text)):
        find_viewer_clips([tmp_path / "x.npz"], **given, mm_per_unit=unit)


def test_a_motion_is_as_large_as_its_template(tmp_path: Path) -> None:
    vertices = save(tmp_path / "x.npz", 40)
    write_mesh(tmp_path / "head.PLY", sheet(), topology().faces)
    given = {"template": str(tmp_path / "head.PLY"), "fps": 30.0, "mm_per_unit": 1000.0}
    for name, change in (("ok", vertices), ("mm", 1000 * vertices), ("offsets", vertices - sheet())):
        np.save(tmp_path / f"{name}.npy", change)
    find_viewer_clips([tmp_path / "ok.npy"], **given)
    with pytest.raises(BadInput, match=r"mm.npy: expected a face, as the template, about 113 mm across, found 1"):
        find_viewer_clips([tmp_path / "ok.npy", tmp_path / "mm.npy"], **given)
    with pytest.raises(BadInput, match=r"offsets.npy: expected a face, as the template, .* displacements\. Give"):
        find_viewer_clips([tmp_path / "offsets.npy"], **given)


def test_capitals_and_hidden_files(tmp_path: Path) -> None:
    save(tmp_path / "made.npz")
    (tmp_path / "made.npz").rename(tmp_path / "X.NPZ")
    write_wave(tmp_path / "X.wav", speech(0.3))
    (tmp_path / "X.wav").rename(tmp_path / "X.WAV")
    for name in ("._X.NPZ", "._X.WAV", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    for path in (tmp_path, tmp_path / "X.NPZ"):
        (clip,) = find_viewer_clips([path])
        assert clip.note == "Sound: X.WAV"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"faces": None}, "x.npz: expected the triangles of its mesh, found none for 64 vertices"),
        ({"fps": None}, "x.npz: expected fps in the file, found none. Give --fps"),
        ({"fps": -1.0}, "x.npz: fps: expected a number above 0, found -1.0"),
        ({"mm_per_unit": None}, "x.npz: expected mm_per_unit in the file, found none. Give --mm-per-unit"),
        ({"faces": np.array([[0, 1, 64]])}, "x.npz: faces: expected vertex numbers 0 … 63, found 0 … 64"),
        (
            {"faces": np.zeros((2, 4), int)},
            "x.npz: faces: expected integers of shape (F, 3), found int64 of shape (2, 4)",
        ),
        (
            {"vertices": np.zeros((3, 64, 2))},
            "numbers of shape (frames, V, 3) or (frames, 3 V), found float64 of shape",
        ),
        ({"vertices": np.zeros((0, 64, 3))}, "found float64 of shape (0, 64, 3)"),
        ({"vertices": np.array(["a"])}, "found <U1 of shape (1,)"),
        ({"vertices": None}, "x.npz: expected a whole .npz of numbers with vertices, found no vertices"),
    ],
)
def test_a_bad_motion_is_one_clear_error(tmp_path: Path, more: dict, text: str) -> None:
    save(tmp_path / "x.npz", **more)
    with pytest.raises(BadInput, match=re.escape(text)):
        find_viewer_clips([tmp_path / "x.npz"])


def test_a_bad_path_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing: expected a run or a motion, found nothing\. Run make repro first"):
        find_viewer_clips([tmp_path / "nothing"])
    with pytest.raises(BadInput, match="expected a run or a motion, found a folder with neither"):
        find_viewer_clips([tmp_path])
    (tmp_path / "x.npz").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(BadInput, match=r"x.npz: expected a whole .npz of numbers with vertices, found BadZipFile"):
        find_viewer_clips([tmp_path / "x.npz"])
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "manifest.json").write_text("{}")
    with pytest.raises(BadInput, match=r"speech: expected speech.npz or .npy, found manifest.json. Make it again with"):
        find_viewer_clips([tmp_path / "speech"])


def test_a_sound_waits_for_a_face(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", speech(0.5))
    clip = sound_clip(tmp_path / "a.wav")
    assert (clip.title, clip.motions, clip.seconds) == ("a.wav", (), 0.5)
    assert io.BytesIO(clip.sound).read(4) == b"RIFF"


def test_labels_have_as_many_parts_of_a_path_as_tell_them_apart() -> None:
    paths = [Path("/home/me/run/data"), Path("/home/me/other/data"), Path("/home/me/new")]
    assert list(short_names(paths).values()) == ["run/data", "other/data", "new"]
    assert short_names([Path("/home/me/run/data")]) == {Path("/home/me/run/data"): "data"}


def test_phonemes_of_a_transcript_are_on_the_timeline(tmp_path: Path) -> None:
    save(tmp_path / "line" / "line.npz")
    manifest = tmp_path / "line" / "manifest.json"
    manifest.write_text(
        json.dumps({"made_by": ANIMATE, "text": "hi", "phonemes": [[0.0, 0.1, "HH"], [0.1, 0.2, "AY"]]})
    )
    (clip,) = find_viewer_clips([tmp_path / "line"])
    assert clip.text == "hi"
    assert clip.phonemes == (Phoneme(0.0, 0.1, "HH"), Phoneme(0.1, 0.2, "AY"))
    manifest.write_text(json.dumps({"made_by": ANIMATE, "phonemes": [["soon", 1, "HH"]]}))
    with pytest.raises(BadInput, match=r"manifest\.json: expected phonemes with times, found could not convert"):
        find_viewer_clips([tmp_path / "line"])


def test_columns_have_the_name_of_the_model_that_made_them(tmp_path: Path) -> None:
    made = {"first": "data/models/students/faceformer", "second": "elsewhere/mine", "third": "elsewhere/mine"}
    for folder, model in made.items():
        save(tmp_path / folder / "line" / "line.npz")
        about = {"made_by": ANIMATE, "model": {"folder": model}}
        (tmp_path / folder / "line" / "manifest.json").write_text(json.dumps(about))
    (clip,) = find_viewer_clips([tmp_path / name for name in ("first", "second")])
    assert named(clip) == ["FaceFormer", "mine"]
    (clip,) = find_viewer_clips([tmp_path / name for name in made])
    assert named(clip) == ["FaceFormer", "mine (second)", "mine (third)"]
    (tmp_path / "first" / "line" / "manifest.json").write_text(json.dumps({"made_by": ANIMATE, "model": 3}))
    (clip,) = find_viewer_clips([tmp_path / "first", tmp_path / "second"])
    assert named(clip) == ["first", "mine"], "a manifest without a model"
