"""The quick tour of docs/tour.md runs as it is written; options and formats are documented."""

import re
from pathlib import Path

import numpy as np
import pytest
import trimesh

from learn2talk.cli import main
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.export.formats import FORMATS
from learn2talk_core.mesh.files import read_mesh, write_mesh
from learn2talk_core.models.syncnet3d import config
from learn2talk_core.run.weights import save_weights
from learn2talk_core.training.syncnet3d import new_model, read_windows
from tests.animation.test_animator import speech
from tests.toy import sheet, topology
from tests.toy_student import toy_student
from tests.training.test_syncnet3d import NETWORK

DOCS = Path(__file__).parents[1] / "docs"


def test_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, folder = toy_student(tmp_path)
    (tmp_path / "data" / "models" / "students").mkdir(parents=True)
    student.rename(tmp_path / "data" / "models" / "students" / "learn2talk")
    folder.rename(tmp_path / "data" / "corpus")
    corpus = open_corpus(tmp_path / "data" / "corpus")
    judge = new_model(corpus, read_windows(corpus, "train"), NETWORK, "metric", 0)
    save_weights(tmp_path / "data" / "models" / "syncnet3d" / "metric", judge, config(judge, corpus.recipe))
    write_wave(tmp_path / "speech.wav", speech(1.7))
    write_mesh(tmp_path / "head.obj", sheet(0.9), topology().faces)
    write_mesh(tmp_path / "any.obj", *trimesh.remesh.subdivide(sheet().astype(float), topology().faces))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tour.md").read_text(), re.DOTALL)
    assert len(blocks) == 8
    for block in blocks:
        exec(compile(block, "docs/tour.md", "exec"), names)
    assert names["vertices"].shape == (10, 64, 3)
    with np.load("out/speech.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["vertices"], names["animation"].vertices())
    assert [path.name for path in names["files"]] == ["speech.npz", "speech_ply", "speech.glb", "speech.wav"]
    assert len(list(Path("out/speech_ply").iterdir())) == int(1.7 * 60)
    assert not np.allclose(names["mixed"].states, names["other"].states)
    assert np.ptp(names["alive"].pose, axis=0).max() > 0
    assert names["found"].lse_d == pytest.approx(names["same"].lse_d, abs=1e-5)
    assert len(names["last"]) > 0
    np.testing.assert_allclose(names["own"].template, read_mesh("head.obj")[0], atol=1e-7)
    assert len(names["any_head"].template) > 64
    assert main(["animate", "speech.wav", "-o", "out/"]) == 0
    assert Path("out/speech/speech.mp4").stat().st_size > 1000


@pytest.mark.parametrize("page", ["../README.md", "animate.md", "pretraining.md", "checkpoints.md"])
def test_that_the_weights_have_learnt_from_english_only_is_said(page: str) -> None:
    assert re.search(r"(learnt from|know) English only", " ".join((DOCS / page).read_text().split()))


def test_every_option_and_format_is_in_the_docs(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["animate", "--help"])
    text, shown = (DOCS / "animate.md").read_text(), capsys.readouterr().out
    for name in FORMATS:
        assert f"`{name}`" in text
        assert name in shown
    options = ("model", "corpus", "style", "format", "fps", "template", "transfer", "chunk", "shapes", "flame")
    options += (
        "head",
        "blinks",
        "gaze",
        "seed",
        "head-model",
        "face",
        "gain",
        "smooth",
        "no-rest",
        "expression",
        "edits",
    )
    options += ("text", "size", "background", "camera", "jobs", "onto", "visemes", "to-livelink", "subject", "to-osc")
    options += ("avatar", "view", "turntable")
    for option in (f"--{name}" for name in options):
        assert option in text
        assert option in shown
    assert "examples:" in shown


@pytest.mark.parametrize("command", ["view", "live"])
def test_every_option_of_the_viewer_is_in_the_docs(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    text = (DOCS / "view.md").read_text()
    options = set(re.findall(r"--[a-z][a-z-]+", shown)) - {"--help", "--format"}
    assert len(options) > 6
    for option in options:
        assert option in text, option
    assert "examples:" in shown
