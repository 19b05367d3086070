"""Many lines by one command: folders, what is current, jobs, failures, control, transcripts, receivers."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from learn2talk.cli import main
from learn2talk_core.animation.animator import Animator
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.export import animate_files as module
from learn2talk_core.export.animate_files import animate_files
from learn2talk_core.run.errors import BadInput
from tests.animation.test_animator import speech
from tests.export.test_onto import users_avatar
from tests.toy_student import toy_student


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command for a folder of three lines, two of them in folders of their own."""
    student, corpus = toy_student(tmp_path)
    for number, name in enumerate(("intro", "act1/hello", "act1/scene2/bye.now")):
        path = tmp_path / "lines" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wave(path, speech(0.5 + 0.1 * number, seed=number))
    (tmp_path / "lines" / "notes.md").write_text("no sound")
    out = str(tmp_path / "out")
    return [str(tmp_path / "lines"), "-o", out, "--model", str(student), "--corpus", str(corpus), "--format", "npz"]


@pytest.fixture
def shapes(tmp_path: Path) -> list[str]:
    """Blend shapes of the toy's mesh."""
    rng = np.random.default_rng(0)
    names = ["jawOpen", "mouthClose", "mouthSmileLeft", "mouthSmileRight", "mouthPucker"]
    np.savez(tmp_path / "shapes.npz", names=names, deltas=0.005 * rng.normal(size=(5, 64, 3)).astype(np.float32))
    return ["--shapes", str(tmp_path / "shapes.npz")]


def made(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.npz"))


def test_a_folder_keeps_its_tree_and_is_reported(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["animate", *words]) == 0
    assert made(tmp_path) == ["act1/hello/hello.npz", "act1/scene2/bye.now/bye.now.npz", "intro/intro.npz"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["line", "state", "sound", "frames", "took"]
    assert [line.split()[:5] for line in lines[1:4]] == [
        ["act1/hello", "made", "0.6", "s", "18"],
        ["act1/scene2/bye.now", "made", "0.7", "s", "21"],
        ["intro", "made", "0.5", "s", "15"],
    ]
    assert lines[4] == "3 made, 0 current, 0 failed"


def test_only_what_has_changed_is_made_again(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["animate", *words]) == 0
    stamp = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    assert main(["animate", *words]) == 0
    assert "0 made, 3 current, 0 failed" in capsys.readouterr().out
    assert stamp == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npz")}
    write_wave(tmp_path / "lines" / "intro.wav", speech(0.8, seed=9))  # another sound
    (tmp_path / "out" / "act1" / "hello" / "hello.npz").unlink()  # a lost file
    assert main(["animate", *words]) == 0
    assert "2 made, 1 current, 0 failed" in capsys.readouterr().out
    assert main(["animate", *words, "--fps", "25"]) == 0  # another setting
    assert "3 made, 0 current, 0 failed" in capsys.readouterr().out


def test_jobs_give_the_same_bytes(words: list[str], tmp_path: Path) -> None:
    assert main(["animate", *words]) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.npz")}
    os.rename(tmp_path / "out", tmp_path / "old")
    assert main(["animate", *words, "--jobs", "3"]) == 0
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.npz")}


def test_the_model_is_loaded_once(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    count = []

    def load(*arguments: object, **settings: object) -> Animator:
        count.append(1)
        return load_animator(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load_animator", load)
    assert main(["animate", *words]) == 0
    assert len(count) == 1


def test_a_line_that_fails_does_not_stop_the_others(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "lines" / "act1" / "hello.wav").write_text("not a sound")
    assert main(["animate", *words]) == 1
    captured = capsys.readouterr()
    assert "2 made, 0 current, 1 failed" in captured.out
    assert "act1/hello: " in captured.err
    assert "expected a sound file that libsndfile or ffmpeg reads" in captured.err
    assert "Traceback" not in captured.err
    assert made(tmp_path) == ["act1/scene2/bye.now/bye.now.npz", "intro/intro.npz"]


def test_all_lines_have_one_style_and_one_face(words: list[str], tmp_path: Path) -> None:
    assert main(["animate", *words]) == 0
    told = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("manifest.json")]
    assert len({json.dumps(one["style"]) for one in told}) == 1
    assert {one["template"] for one in told} == {"A"}
    assert main(["animate", *words, "--face", "B", "--style", "A"]) == 0
    one = json.loads((tmp_path / "out" / "intro" / "manifest.json").read_text())
    assert (one["template"], one["style"]) == ("B", {"A": 1.0})
    with np.load(tmp_path / "out" / "intro" / "intro.npz", allow_pickle=False) as stored:
        face = load_animator(tmp_path / "student", corpus=tmp_path / "corpus").templates["B"]
        np.testing.assert_array_equal(stored["template"], face)


def test_gains_and_edits_are_applied_on_every_run(words: list[str], shapes: list[str], tmp_path: Path) -> None:
    def jaw() -> np.ndarray:
        stored = json.loads((tmp_path / "out" / "intro" / "intro_arkit.json").read_text())
        return np.array(stored["frames"])[:, stored["names"].index("jawOpen")]

    words[-1] = "arkit"
    (tmp_path / "e.json").write_text(json.dumps([{"shape": "jawOpen", "from": 0, "to": 9, "offset": 0.2}]))
    assert main(["animate", *words, *shapes]) == 0
    plain = jaw()
    for seed in (5, 6):  # a new take with the same edits
        write_wave(tmp_path / "lines" / "intro.wav", speech(0.5, seed=seed))
        assert main(["animate", *words, *shapes]) == 0
        plain = jaw()
        assert main(["animate", *words, *shapes, "--edits", str(tmp_path / "e.json")]) == 0
        np.testing.assert_allclose(jaw(), np.clip(plain + 0.2, 0, 1), atol=2e-3)
    told = json.loads((tmp_path / "out" / "intro" / "manifest.json").read_text())
    assert told["control"]["edits"][0]["offset"] == 0.2


def test_the_users_avatar_gets_the_curves(words: list[str], shapes: list[str], tmp_path: Path) -> None:
    users_avatar(tmp_path / "mine.glb")
    assert main(["animate", *words[:-2], *shapes, "--onto", str(tmp_path / "mine.glb")]) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "intro").iterdir()) == [
        "intro.wav", "intro_avatar.glb", "manifest.json",
    ]  # fmt: skip


def test_transcripts_lie_beside_the_sounds(words: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An aligner takes the text of each; one that refuses is told, and the line is animated without."""
    (tmp_path / "lines" / "intro.txt").write_text("hello there")
    (tmp_path / "lines" / "act1" / "hello.txt").write_text("something else")

    def aligner(wave: np.ndarray, text: str) -> tuple[Phoneme, ...]:
        if text != "hello there":
            raise BadInput("the transcript", expected="what is said", found="other words", fix="Correct it.")
        return (Phoneme(0.1, 0.2, "HH"), Phoneme(0.2, 0.4, "AH"))

    student, corpus = tmp_path / "student", tmp_path / "corpus"
    results = list(
        animate_files([words[0]], tmp_path / "out", formats=["npy"], model=student, corpus=corpus, aligner=aligner)
    )
    assert [one.state for one in results] == ["made"] * 3
    told = json.loads((tmp_path / "out" / "intro" / "manifest.json").read_text())
    assert (told["text"], told["phonemes"]) == ("hello there", [[0.1, 0.2, "HH"], [0.2, 0.4, "AH"]])
    assert "phonemes" not in json.loads((tmp_path / "out" / "act1" / "hello" / "manifest.json").read_text())
    assert "act1/hello: animated without its transcript: the transcript: expected what is said" in caplog.text


def test_curves_are_sent_while_they_are_played(words: list[str], shapes: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        address = f"127.0.0.1:{receiver.getsockname()[1]}"
        words[0] = str(tmp_path / "lines" / "intro.wav")
        assert main(["animate", *words, *shapes, "--to-livelink", address, "--subject", "Toy"]) == 0
        packets = [receiver.recv(1000) for _ in range(15)]
    assert all(b"Toy" in packet for packet in packets)
    assert len({packet[-244:] for packet in packets}) > 10, "the face moves"


def test_a_receiver_that_is_not_there_is_an_error(
    words: list[str], shapes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as once:
        once.bind(("127.0.0.1", 0))
        port = once.getsockname()[1]
    words[0] = str(tmp_path / "lines" / "intro.wav")
    assert main(["animate", *words, *shapes, "--to-livelink", f"127.0.0.1:{port}"]) == 1
    assert "--to-livelink: expected a receiver that listens, found 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--gain", "jaw=much"], "--gain: expected NAME=NUMBER, such as jaw=1.3, found jaw=much"),
        (
            ["--gain", "jaw=2"],
            "ARKit weights: expected the embedded head, or a file with the blend shapes of this mesh",
        ),
        (["--edits", "none.json"], "none.json: expected a file for --edits, found nothing"),
        (["--onto", "none.glb"], "none.glb: expected a file for --onto, found nothing"),
        (["--size", "11"], "--size: expected 512 or 1280x720"),
        (["--background", "no colour"], "--background: expected a colour such as white or #20242c, found no colour"),
        (
            ["--camera", "above"],
            "--camera: expected one of face, head, bust, with an angle such as head:30, found above",
        ),
        (["--jobs", "0"], "--jobs: expected 1 … 64, found 0"),
        (
            ["--face", "ada"],
            "--face: expected a model of the embedded head for a packaged character, found 64 vertices",
        ),
        (["--text", "words"], "--text: expected one sound, found 3"),
        (["--format", "glb"], "ARKit weights: expected the embedded head"),
        (["--to-osc", "nowhere"], "--to-osc: expected "),
        (["--expression", "glad"], "expression: expected one of smile"),
    ],
)
def test_what_is_wrong_is_one_clear_error(
    words: list[str], more: list[str], text: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["animate", *words, *more]) == 1
    err = capsys.readouterr().err
    assert text in err
    assert "Traceback" not in err


def test_a_folder_without_sounds(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["animate", str(tmp_path / "empty"), *words[1:]]) == 1
    assert "empty: expected sounds (.aac .aif" in capsys.readouterr().err
