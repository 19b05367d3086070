import io
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from learn2talk.cli import main
from learn2talk_core.animation.head_motion import STORED
from learn2talk_core.animation.life import Life
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.corpus.format import sha256
from learn2talk_core.export import formats, mp4
from learn2talk_core.export.formats import FORMATS
from learn2talk_core.export.vertices import write_npy
from learn2talk_core.mesh.files import read_mesh, write_mesh
from learn2talk_core.video.video_file import read_video
from tests.animation.test_animator import speech
from tests.toy import sheet, topology
from tests.toy_student import toy_student


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command without its formats, for one file of a second."""
    student, corpus = toy_student(tmp_path)
    write_wave(tmp_path / "speech.wav", speech(1))
    out = str(tmp_path / "out")
    return [str(tmp_path / "speech.wav"), "-o", out, "--model", str(student), "--corpus", str(corpus), "--style", "B"]


def left(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))


def test_every_format_holds_the_same_motion(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["animate", *words, "--format", "mp4,npy,npz,obj,ply", "--fps", "25"]) == 0
    folder = tmp_path / "out" / "speech"
    assert str(folder / "speech.mp4") in capsys.readouterr().out.splitlines()
    animator = load_animator(tmp_path / "student", corpus=tmp_path / "corpus")
    face = replace(animator, template=animator.templates["A"]).animate(tmp_path / "speech.wav", style="B", fps=25)
    vertices = face.vertices()
    assert vertices.shape == (25, 64, 3)

    np.testing.assert_array_equal(np.load(folder / "speech.npy"), vertices)
    with np.load(folder / "speech.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["vertices"], vertices)
        np.testing.assert_array_equal(stored["faces"], topology().faces)
        np.testing.assert_array_equal(stored["template"], face.template)
        assert (stored["fps"], stored["mm_per_unit"]) == (25, 1000)
    for kind, tolerance in (("obj", 5.01e-8), ("ply", 0)):
        files = sorted((folder / f"speech_{kind}").iterdir())
        assert [file.name for file in files] == [f"{number:06d}.{kind}" for number in range(25)]
        for number in (0, 24):
            found, faces = read_mesh(files[number])
            np.testing.assert_allclose(found, vertices[number], atol=tolerance)
            np.testing.assert_array_equal(faces, topology().faces)
    frames, fps, audio = read_video(folder / "speech.mp4")
    assert (len(frames), fps, frames.shape[1:]) == (25, 25, (384, 384, 3))
    assert audio is not None
    assert np.corrcoef(audio[:15000], speech(1)[:15000])[0, 1] > 0.5
    assert np.abs(frames[0].astype(int) - frames[12]).max() > 20

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["audio"] == {"name": "speech.wav", "sha256": sha256(tmp_path / "speech.wav"), "seconds": 1.0}
    assert manifest["model"]["sha256"] == sha256(tmp_path / "student" / "model.safetensors")
    assert (manifest["style"], manifest["style_chosen"], manifest["template"]) == ({"B": 1.0}, "by name", "A")
    assert (manifest["fps"], manifest["model_fps"], manifest["frames"], manifest["vertices"]) == (25, 30, 25, 64)
    assert manifest["files"]["speech.npy"] == (folder / "speech.npy").stat().st_size
    assert manifest["sequences"] == {"speech_obj": 25, "speech_ply": 25}


def test_a_head_that_moves_is_in_every_format_and_in_the_manifest(words: list[str], tmp_path: Path) -> None:
    """Head motion is part of the vertices; `head` in the .npz can undo it; the same seed gives the same motion."""
    life = ["--head", "0.5", "--seed", "3"]
    assert main(["animate", *words, "--format", "npz,glb-exact,usd,ply"]) == 0
    folder = tmp_path / "out" / "speech"
    with np.load(folder / "speech.npz", allow_pickle=False) as stored:
        still, files = stored["vertices"], stored.files
    assert "head" not in files
    assert main(["animate", *words, "--format", "npz,glb-exact,usd,ply,npy,mp4", *life]) == 0
    with np.load(folder / "speech.npz", allow_pickle=False) as stored:
        moved, head = stored["vertices"], stored["head"]
    assert np.abs(moved - still).max() > 1e-4
    np.testing.assert_allclose((moved - head[:, None, :, 3]) @ head[:, :, :3], still, atol=1e-7)
    np.testing.assert_array_equal(np.load(folder / "speech.npy"), moved)
    np.testing.assert_array_equal(read_mesh(folder / "speech_ply" / "000007.ply")[0], moved[7])
    assert "xformOp:transform:head" in (folder / "speech.usda").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    weights = STORED / "model.safetensors"
    about = {"name": "head_motion", "sha256": sha256(weights)}
    assert manifest["life"] == {"head": 0.5, "blinks": 0, "gaze": 0, "seed": 3, "head_model": about}
    before = (folder / "speech.npz").read_bytes()
    assert main(["animate", *words, "--format", "npz", *life]) == 0
    assert (folder / "speech.npz").read_bytes() == before
    assert main(["animate", *words, "--format", "npz", "--head", "0.5", "--seed", "4"]) == 0
    assert (folder / "speech.npz").read_bytes() != before


def test_blinks_by_shapes_are_in_the_arkit_weights(words: list[str], tmp_path: Path) -> None:
    life = Life(blinks=3, gaze=1, seed=1)
    deltas = 1e-2 * np.random.default_rng(1).normal(size=(10, 64, 3))
    np.savez(tmp_path / "shapes.npz", names=life.shapes(), deltas=deltas.astype(np.float32))
    options = ["--shapes", str(tmp_path / "shapes.npz"), "--blinks", "3", "--gaze", "1", "--seed", "1"]
    write_wave(tmp_path / "speech.wav", speech(6))
    assert main(["animate", *words, "--format", "arkit", *options]) == 0
    stored = json.loads((tmp_path / "out" / "speech" / "speech_arkit.json").read_text())
    found = np.array(stored["frames"])[:, [stored["names"].index(name) for name in life.shapes()]]
    expected = life.weights(np.arange(180) / 30)
    assert expected.max() == 1
    np.testing.assert_allclose(found, expected, atol=0.15)  # the student's motion is fitted with the same shapes


def test_several_files_and_standard_input(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wave(tmp_path / "more.wav", speech(0.5))
    content = (tmp_path / "speech.wav").read_bytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert main(["animate", "-", str(tmp_path / "more.wav"), *words, "--format", "npy"]) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["more", "speech", "stdin"]
    assert (out / "stdin" / "stdin.npy").read_bytes() == (out / "speech" / "speech.npy").read_bytes()
    assert len(np.load(out / "more" / "more.npy")) == 15
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content[:1000])))
    assert main(["animate", "-", *words, "--format", "npy"]) == 1
    assert "standard input: expected " in capsys.readouterr().err


def test_a_second_run_replaces_the_first_and_nothing_else(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["animate", *words, "--format", "npy"]) == 0
    assert main(["animate", *words, "--format", "npz"]) == 0
    assert left(tmp_path) == ["speech", "speech/manifest.json", "speech/speech.npz"]
    for other in ("{}", "[]"):
        (tmp_path / "out" / "speech" / "manifest.json").write_text(other)
        assert main(["animate", *words, "--format", "npy"]) == 1
        assert "speech: expected a folder that learn2talk animate made, or none, found something else" in (
            capsys.readouterr().err
        )
    assert left(tmp_path) == ["speech", "speech/manifest.json", "speech/speech.npz"]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--format", "dae"], "--format: expected some of mp4, npy, npz, obj, ply, glb, glb-exact, usd, arkit, "),
        (["--format", "npy", "--style", "Z"], "style: expected one or a mixture of A, B, found Z"),
        (["--format", "npy", "--fps", "0"], "fps: expected 1 … 1000 frames per second, found 0"),
        (
            ["--format", "npy", "--face", "Q"],
            "--face: expected a character, ada, ben, carl, a speaker of the corpus, or a mesh, found",
        ),
        (["--format", "npy", "--chunk", "-1"], "chunk: expected"),
        (["--format", "flame"], "--flame: expected FLAME's model file, found none"),
        (["--format", "npy", "--head", "-1"], "head: expected a strength of 0 … 3, found -1"),
        (
            ["--format", "npy", "--blinks", "1"],
            "life: expected a mesh with blend shapes for eyelids and eyes, found none",
        ),
        (
            ["--format", "npy", "--head", "1", "--head-model", "w.pth"],
            "w.pth: expected a file of weights, found nothing",
        ),
        (
            ["--format", "npy", "--model", "nothing"],
            "nothing: expected a folder, a file, or the name of a student",
        ),
    ],
)
def test_what_is_wrong_is_one_clear_error(
    words: list[str], more: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["animate", *words, *more]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err
    assert left(tmp_path) == []


def test_a_bad_sound_leaves_nothing(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "speech.wav").write_text("not a sound")
    assert main(["animate", *words, "--format", "npy"]) == 1
    assert "speech.wav: expected a sound file that libsndfile or ffmpeg reads" in capsys.readouterr().err
    assert left(tmp_path) == []
    assert main(["animate", str(tmp_path / "speech.flac"), *words]) == 1
    assert "speech: expected one sound file, found several of this name" in capsys.readouterr().err


def chord(seconds: float) -> np.ndarray:
    """Music: a chord of three tones that swells twice a second."""
    time = np.arange(int(16000 * seconds)) / 16000
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6))
    return (0.2 * (1 - np.cos(4 * np.pi * time)) / 2 * tones).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "wave"),
    [
        ("silence", np.zeros(24000, np.float32)),
        ("noise", np.random.default_rng(0).uniform(-1, 1, 24000).astype(np.float32)),
        ("music", chord(1.5)),
    ],
)
def test_what_is_no_speech_is_animated(
    kind: str, wave: np.ndarray, words: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_wave(tmp_path / "speech.wav", wave)
    assert main(["animate", *words, "--format", "npz,glb-exact", "--head", "1"]) == 0
    assert ("speech.wav: silent, so the mouth hardly moves" in caplog.text) == (kind == "silence")
    with np.load(tmp_path / "out" / "speech" / "speech.npz", allow_pickle=False) as stored:
        assert stored["vertices"].shape == (45, 64, 3)
        assert np.isfinite(stored["vertices"]).all()


def test_nan_and_no_samples_at_all_are_refused(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for content, text in (
        (np.full(8000, np.nan, np.float32), "speech.wav: expected finite samples, found NaN or infinity"),
        (np.zeros(0, np.float32), "speech.wav: expected at least 0.1 s of sound, found 0.000 s of it"),
    ):
        soundfile.write(tmp_path / "speech.wav", content, 16000, "FLOAT")
        assert main(["animate", *words, "--format", "npy"]) == 1
        assert text in capsys.readouterr().err
        assert left(tmp_path) == []
    whole = io.BytesIO()
    soundfile.write(whole, chord(1), 16000, format="WAV")
    (tmp_path / "speech.wav").write_bytes(whole.getvalue()[:9000])
    assert main(["animate", *words, "--format", "npy"]) == 1
    assert "cut short" in capsys.readouterr().err
    assert left(tmp_path) == []


def test_a_template_of_another_topology_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    faces = topology().faces
    write_mesh(tmp_path / "head.obj", sheet()[:50], faces[(faces < 50).all(axis=1)])
    assert main(["animate", *words, "--format", "npy", "--template", str(tmp_path / "head.obj")]) == 1
    assert "head.obj: expected 64 vertices, as in the model, found 50" in capsys.readouterr().err
    assert left(tmp_path) == []


@pytest.mark.parametrize("place", ["speech.wav/out", "/proc/learn2talk"])
def test_a_place_that_cannot_be_written(
    place: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["animate", *words, "-o", str(tmp_path / place)]) == 1
    assert "expected a folder that can be written, found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError(28, "No space left on device"), 1, "expected to be able to write it, found No space left on device"),
    ],
)
def test_what_stops_in_the_middle_leaves_the_old_or_nothing(
    error: BaseException,
    status: int,
    text: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def stop(stem: Path, _: Any, **__: Any) -> None:
        stem.with_suffix(".mp4").write_bytes(b"half")
        raise error

    monkeypatch.setattr(formats, "write_mp4", stop)
    for before in ([], ["speech", "speech/manifest.json", "speech/speech.npy"]):
        if before:
            assert main(["animate", *words, "--format", "npy"]) == 0
        assert main(["animate", *words, "--format", "npy,mp4"]) == status
        assert text in capsys.readouterr().err
        assert left(tmp_path) == before


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit on the size of files, which writers see as they see a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "kind", [kind for kind in FORMATS if kind in ("mp4", "npy", "npz", "obj", "ply", "glb-exact", "usd")]
)
def test_no_room_for_the_whole_of_a_format(
    kind: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with files_of_at_most(1500):
        status = main(["animate", *words, "--format", kind])
    assert status == 1
    err = capsys.readouterr().err
    assert "expected to be able to write it, found File too large. Free disk space" in err
    assert "Traceback" not in err
    assert left(tmp_path) == []


def test_a_render_that_shows_nothing_fails(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(vertices: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
        return np.full((len(vertices), 384, 384, 3), 200, np.uint8)

    monkeypatch.setattr(mp4, "portraits", nothing)
    assert main(["animate", *words]) == 1
    assert left(tmp_path) == []


def test_two_runs_at_one_folder_leave_one_whole_result(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second runs from start to end while the first is writing."""

    def meanwhile(stem: Path, animation: Any) -> list[Path]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)  # another process
            assert main(["animate", *words, "--format", "npz"]) == 0
        assert left(tmp_path)[-3:] == ["speech", "speech/manifest.json", "speech/speech.npz"]
        return write_npy(stem, animation)

    monkeypatch.setattr(formats, "write_npy", meanwhile)
    assert main(["animate", *words, "--format", "npy"]) == 0
    assert left(tmp_path) == ["speech", "speech/manifest.json", "speech/speech.npy"]
