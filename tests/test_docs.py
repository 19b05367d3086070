"""The quick tour of docs/animate.md runs as it is written."""

import re
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.animate import FORMATS
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.cli import main
from tests.test_animator import speech
from tests.toy_student import toy_student

TOUR = Path(__file__).parents[1] / "docs" / "animate.md"


def test_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, corpus = toy_student(tmp_path)
    (tmp_path / "data" / "models").mkdir(parents=True)
    student.rename(tmp_path / "data" / "models" / "student")
    corpus.rename(tmp_path / "data" / "corpus")
    write_wave(tmp_path / "speech.wav", speech(1.7))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", TOUR.read_text(), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, str(TOUR), "exec"), names)
    assert names["animation"].vertices(slice(0, 10)).shape == (10, 64, 3)
    with np.load("speech.npz", allow_pickle=False) as stored:
        assert len(stored["vertices"]) == int(1.7 * 60)
    assert len(list(Path("speech_ply").iterdir())) == int(1.7 * 60)
    assert not np.allclose(names["mean"].states, names["face"].states)
    assert len(names["last"]) > 0
    assert main(["animate", "speech.wav", "-o", "out/"]) == 0
    assert Path("out/speech/speech.mp4").stat().st_size > 1000


def test_every_option_and_format_is_in_the_docs(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["animate", "--help"])
    text, shown = TOUR.read_text(), capsys.readouterr().out
    for name in FORMATS:
        assert f"`{name}`" in text
        assert name in shown
    options = ("model", "corpus", "style", "format", "fps", "template", "transfer", "chunk", "shapes", "flame")
    for option in (f"--{name}" for name in options):
        assert option in text
        assert option in shown
    assert "examples:" in shown


@pytest.mark.parametrize("command", ["view", "live"])
def test_every_option_of_the_viewer_is_in_the_docs(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    text = (TOUR.parent / "view.md").read_text()
    options = set(re.findall(r"--[a-z][a-z-]+", shown)) - {"--help", "--format"}
    assert len(options) > 6
    for option in options:
        assert option in text, option
    assert "examples:" in shown
