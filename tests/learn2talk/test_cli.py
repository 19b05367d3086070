import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learn2talk import cli
from learn2talk.cli import COMMANDS, main
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.run.files import write_json
from tests.toy import toy_corpus


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["results", "--help"],
        ["show-corpus", "--help"],
        ["check-corpus", "-h"],
        ["prepare-fixtures", "-h"],
        ["import-checkpoint", "-h"],
        ["export-checkpoint", "-h"],
        ["score-video", "-h"],
        ["score", "-h"],
        ["check-teacher", "-h"],
        ["teacher-inputs", "-h"],
        ["pack", "-h"],
        ["animate", "-h"],
        ["view", "-h"],
        ["live", "-h"],
    ],
)
def test_help_everywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: learn2talk")


def test_fixtures_say_which_folders_they_replace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prepare-fixtures", "-h"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "an existing one is replaced only if this command made it" in shown
    (tmp_path / "mine.txt").touch()
    assert main(["prepare-fixtures", "folder", str(tmp_path)]) == 1
    assert "expected a folder that learn2talk prepare-fixtures made, or none" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").exists()


def test_help_answers_at_once_and_the_module_is_the_command() -> None:
    heavy = "import sys; from learn2talk.cli import main\ntry: main(['--help'])\n"
    heavy += "finally: print(sorted({'numpy', 'torch', 'pandas', 'av'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True, text=True).stdout
    *usage, imported = shown.splitlines()
    assert imported == "[]"
    again = subprocess.run([sys.executable, "-m", "learn2talk", "--help"], check=True, capture_output=True, text=True)
    assert again.stdout.splitlines() == usage


MISSING = {
    "none.wav: expected a sound file, or a folder with sounds, found nothing": ["none.wav"],
    "none: expected a folder, a file, or the name of a student": ["a.wav", "--model", "none"],
    "expected a file for --face": ["a.wav", "--face", "none.obj"],
    "expected a file for --onto": ["a.wav", "--onto", "none.glb"],
    "expected a file for --edits": ["a.wav", "--edits", "none.json"],
    "expected a file for --text": ["a.wav", "--text", "none.txt"],
    "expected a folder for --avatar": ["a.wav", "--avatar", "none"],
    "expected NAME=NUMBER, such as jaw=1.3, found jaw=much": ["a.wav", "--gain", "jaw=much"],
    "found jow": ["a.wav", "--gain", "jow=2"],
    "expected one of smile": ["a.wav", "--expression", "glad"],
    "edits.json, entry 1: expected an ARKit shape": ["a.wav", "--edits", "edits.json"],
    "--format: expected some of mp4, npy": ["a.wav", "--format", "mp5"],
    "--style: expected one or a mixture of S00, S01, found S09": ["a.wav", "--model", "own", "--style", "S00=1,S09=1"],
    "--face: expected a character, ada": ["a.wav", "--model", "own", "--corpus", "own", "--face", "nobody"],
    "none: expected a folder for --corpus, found nothing": ["a.wav", "--corpus", "none"],
    "--size: expected 512 or 1280x720": ["a.wav", "--size", "7"],
    "--to-livelink: expected HOST:PORT, found 1:2:x": ["a.wav", "--to-livelink", "1:2:x"],
    "fbx: expected Blender's Python module, found none installed": ["a.wav", "--format", "fbx"],
}


def test_what_is_missing_is_said_before_the_libraries_are_loaded(tmp_path: Path) -> None:
    """Importing torch takes seconds; an error about a path or a setting need not wait for it."""
    for name in ("a.wav", "model"):
        (tmp_path / name).touch()
    (tmp_path / "own").mkdir()
    for name in ("model", "corpus"):
        (tmp_path / "own" / f"{name}.json").write_text('{"speakers": ["S00", "S01"]}')
    (tmp_path / "edits.json").write_text('[{"shape": "jawOpn", "gain": 1}]')
    program = (
        f"import os, sys; os.chdir({str(tmp_path)!r}); sys.modules['bpy'] = None\nfrom learn2talk.cli import main\n"
    )
    program += f"for words in {list(MISSING.values())}: main(['animate', '--model', 'model', *words])\n"
    program += "print(sorted({'torch', 'scipy', 'pandas', 'av', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
    for said, line in zip(MISSING, done.stderr.splitlines(), strict=True):
        assert said in line


def test_each_command_is_a_file_and_is_listed() -> None:
    files = {path.stem for path in (Path(cli.__file__).parent / "commands").glob("*.py")} - {"__init__", "options"}
    assert {command.__name__.rpartition(".")[2] for command in COMMANDS} == files
    assert len(COMMANDS) == len(files)


def test_help_that_nobody_reads_on_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "learn2talk.cli", "animate", "--help"]
    run = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert run.stderr == ""
    assert run.returncode in (0, 141)  # argparse hides the error if the text is longer than the buffer


def test_a_corpus_that_leads_out_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_corpus(tmp_path / "corpus")
    path = tmp_path / "corpus" / "corpus.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, "sha256": {**header["sha256"], "/dev/zero": "0"}}))
    assert main(["check-corpus", str(tmp_path / "corpus")]) == 1
    assert "expected a plain name without path separators" in capsys.readouterr().out
    path.write_text(json.dumps({**header, "sha256": {**header["sha256"], "zero": "0"}}))
    (tmp_path / "corpus" / "zero").symlink_to("/dev/zero")
    assert main(["check-corpus", str(tmp_path / "corpus")]) == 1
    assert "zero: expected a file, found a device or a pipe" in capsys.readouterr().out


def test_escapes_in_names_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-corpus", str(tmp_path / "a\x1b]0;owned\x07")]) == 1
    err = capsys.readouterr().err
    assert r"a\x1b]0;owned\x07/corpus.json: expected a file, found nothing" in err
    assert "\x1b" not in err


def test_results_before_and_after_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["results"]) == 1
    assert (
        "metrics/evaluate.json: expected a file, found nothing. Make it first: make repro." in capsys.readouterr().err
    )
    row = {"lve_mm": 1.25, "interval": {"lve_mm": [1.0, 1.5]}}
    about = {"lve_mm": {"name": "LVE", "unit": "mm", "goal": "lower", "protocol": "x"}}
    write_json("metrics/evaluate.json", {"seen": {"truth": row}, "unseen": {"truth": row}, "protocol": about})
    os.makedirs("metrics/plots")
    Path("metrics/plots/losses.png").touch()
    assert main(["results"]) == 0
    out = capsys.readouterr().out
    assert "1.25" in out
    assert "metrics/plots/losses.png" in out
    assert "data/report/side_by_side.mp4" in out


def test_an_imitation_is_written_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "own data"
    assert main(["prepare-fixtures", "folder", str(data)]) == 0
    check, repro = capsys.readouterr().out.splitlines()
    words = shlex.split(check)
    assert words[:3] == ["learn2talk", "check-corpus", str(data)]
    assert shlex.split(repro)[:5] == ["dvc", "exp", "run", "-S", "dataset=folder"]
    assert main(words[1:]) == 0
    assert capsys.readouterr().out.endswith("no problems\n")

    (data / "wav" / "S00_01.wav").write_bytes(b"RIFF")
    assert main([*words[1:], "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["path"]) == ("folder", str(data))
    assert {"where", "what", "severity", "fix"} == set(report["problems"][0])
    assert report["problems"][0]["where"].endswith("S00_01.wav")
    assert main(["check-corpus", str(data)]) == 1
    assert "error   corpus.source.fps: expected a value, because the dataset folder needs it" in capsys.readouterr().out


def test_a_corpus_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_corpus(tmp_path / "corpus")
    assert main(["check-corpus", str(tmp_path / "corpus")]) == 0
    out = capsys.readouterr().out
    assert "toy: 30 frames per second, 64 vertices, unit 1000 mm" in out
    assert "warning sentence 'p a': in train and in a test" in out
    assert main(["check-corpus", str(tmp_path / "nothing"), "--json"]) == 1
    problem = json.loads(capsys.readouterr().out)["problems"][0]
    assert (problem["what"], problem["fix"]) == (
        "expected the folder of a dataset, found no such folder",
        "Check the path.",
    )


def test_what_the_system_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wave(tmp_path / "a.wav", np.full(8000, 0.1, np.float32))
    opened = Path.open

    def refused(path: Path, *how: Any, **named: Any) -> object:  # root, who may run the tests, can read every file
        if path.name == "a.wav":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *how, **named)

    monkeypatch.setattr(Path, "open", refused)
    assert main(["live", str(tmp_path / "a.wav")]) == 1
    assert capsys.readouterr().err == (
        f"learn2talk live: {tmp_path / 'a.wav'}: expected to read or write it, found Permission denied. "
        "Check its permissions and the space on its disk.\n"
    )


def test_what_cannot_be_viewed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("learn2talk_core.run.find_model.PACKAGED_STUDENTS", tmp_path / "none")  # `live` serves it
    for words, text in (
        (["view"], "data: expected a run or a motion, found nothing. Run make repro first"),
        (["view", "a.npz"], "a.npz: expected a file, found nothing"),
        (["live"], "data/models/students/learn2talk/model.json: expected a file, found nothing"),
        (["live", "a.wav"], "a.wav: expected a sound file, found nothing"),
    ):
        assert main(words) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"learn2talk {words[0]}: {text}")
        assert err.count("\n") == 1
