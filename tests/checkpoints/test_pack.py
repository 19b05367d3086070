"""Packing a model: it includes what DVC and Git record about this model, and nothing about any other."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file
from torch import nn

from learn2talk_core.checkpoints.faceformer import import_student
from learn2talk_core.checkpoints.pack import content_hash, pack, write_card
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, write_json
from learn2talk_core.run.weights import read_origin, save_weights
from tests.checkpoints.test_wav2vec2 import tiny
from tests.toy import SIDE, toy_corpus
from tests.toy_networks import toy_network

MODEL = "data/models/students/learn2talk"


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def lock(project: Path) -> None:
    """A project as `dvc repro` would leave it."""
    model, corpus = content_hash(project / MODEL), content_hash(project / "data/corpus")
    students = content_hash(project / "data/models/students")
    deps = [{"path": "stages/student.py", "md5": md5(project / "stages/student.py")}]
    stages = {
        "student": {
            "deps": [*deps, {"path": "data/corpus", "md5": corpus}],
            "params": {"params.yaml": {"lambda1": 0.3, "faceformer.width": 8}},
            "outs": [{"path": MODEL, "md5": model}],
        },
        "predict": {"deps": [{"path": "data/models/students", "md5": students}], "outs": []},
        "evaluate": {"outs": [{"path": "metrics/evaluate.json", "md5": md5(project / "metrics/evaluate.json")}]},
    }
    YAML().dump({"schema": "2.0", "stages": stages}, project / "dvc.lock")


def git(project: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=project, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    corpus = toy_corpus(project / "data/corpus")
    torch.manual_seed(0)
    model = new_faceformer(tiny(), SIDE * SIDE, 2, corpus.fps, width=8, dropout=0.0)
    save_student(project / MODEL, model, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe)
    row = {"lve_mm": 1.25, "interval": {"lve_mm": [1, 2]}, "styles": {"D": "A"}}
    tests = {"seen": {"learn2talk": row, "faceformer": {"lve_mm": 9}}, "unseen": {"learn2talk": row}}
    write_json(project / "metrics/evaluate.json", {**tests, "protocol": {"lve_mm": {"unit": "mm"}}})
    (project / "stages").mkdir()
    (project / "stages/student.py").write_text("made = 'it'\n")
    (project / ".gitignore").write_text("/data\n")
    lock(project)
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "run")
    return project


def test_a_packed_student(project: Path, tmp_path: Path) -> None:
    made_at = git(project, "rev-parse", "HEAD")
    (project / "notes.txt").write_text("later")
    git(project, "add", ".")
    git(project, "commit", "-qm", "later")
    pack(MODEL, tmp_path / "out", project)
    about = read_json(tmp_path / "out/learn2talk.json", made_by="the test")
    assert about["commit"] == {"hash": made_at, "dirty": False}  # not the later one
    assert about["parameters"] == {"lambda1": 0.3, "faceformer.width": 8}
    assert (about["corpus"]["recipe"], about["corpus"]["train_speakers"]) == ("toy", ["A", "B"])
    row = {"lve_mm": 1.25, "interval": {"lve_mm": [1, 2]}}
    assert about["metrics"] == {"seen": row, "unseen": row, "protocol": {"lve_mm": {"unit": "mm"}}}
    weights = (tmp_path / "out/model.safetensors").read_bytes()
    assert about["sha256"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    card = (tmp_path / "out/README.md").read_text()
    assert YAML(typ="safe").load(card.split("---")[1]) == {
        "library_name": "learn2talk", "license": "other", "tags": ["talking-head", "speech-driven-animation"],
    }  # fmt: skip
    for line in (
        f"- commit: {made_at}",
        "| seen.lve_mm | 1.25 |",
        "| lambda1 | 0.3 |",
        "- licence: that of the training data",
    ):
        assert line in card.splitlines() or any(text.startswith(line) for text in card.splitlines())
    # the pipeline accepts the folder as a checkpoint
    student, speakers = import_student(tmp_path / "out", toy_corpus(tmp_path / "corpus"))
    assert speakers == ("A", "B")
    ours, _ = load_student(project / MODEL, made_by="the test")
    assert all(torch.equal(value, student.state_dict()[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("network", ["selftalk", "codetalker", "voca", "meshtalk"])
def test_a_student_of_another_network(network: str, project: Path, tmp_path: Path) -> None:
    corpus = open_corpus(project / "data/corpus")
    student = toy_network(network, corpus)
    save_student(project / MODEL, student, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe)
    lock(project)
    git(project, "commit", "-qam", "another run")
    pack(MODEL, tmp_path / "out", project)
    assert "load_student" in (tmp_path / "out/README.md").read_text()
    loaded, speakers = load_student(tmp_path / "out", made_by="the test", recipe="toy")
    assert (loaded.network, speakers) == (network, ("A", "B"))
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in student.state_dict().items())


def test_a_packed_model_in_half_precision(project: Path, tmp_path: Path) -> None:
    films = {"source": "embedded", "minutes": 181.4, "splits": {"loss": {"speakers": 50}, "metric": {"speakers": 51}}}
    write_json(project / "metrics/talking_video.json", films)
    write_json(project / "metrics/cost/teacher.json", {"teacher": {"seconds": 7200.0, "peak_memory_mb": 1500}})
    (project / MODEL).rename(project / "data/models/teacher")
    save_weights(project / "data/models/teacher/sync_expert", nn.Linear(4, 4), {})
    made = {
        "deps": [{"path": "data/talking_video", "md5": "0.dir"}],
        "params": {"params.yaml": {"teacher.generator.steps": 8000}},
        "outs": [
            {"path": "data/models/teacher", "md5": content_hash(project / "data/models/teacher")},
            {"path": "metrics/cost/teacher.json", "md5": md5(project / "metrics/cost/teacher.json")},
        ],
    }
    YAML().dump({"schema": "2.0", "stages": {"teacher": made}}, project / "dvc.lock")
    pack("data/models/teacher", tmp_path / "out", project, half=True)
    about = read_origin(tmp_path / "out", "teacher")
    assert about is not None
    assert (about["films"], about["licence"], about["cost"]["seconds"]) == (films, "mit", 7200.0)
    assert "sync_expert/model.safetensors" in about["sha256"]
    stored, own = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "out", project / "data/models/teacher")
    )
    assert {value.dtype for value in stored.values() if value.ndim > 1} == {torch.float16}
    assert all(torch.equal(stored[key], own[key].half() if own[key].ndim > 1 else own[key]) for key in own)
    card = (tmp_path / "out/README.md").read_text().splitlines()
    for line in (
        "license: mit",
        "- films: embedded, 181 minutes; faces: 50 in loss, 51 in metric",
        "- cost: 120 minutes, 1500 MB of memory",
        "| teacher.generator.steps | 8000 |",
        "In the pipeline: `dvc exp run -S experts.teacher=FOLDER`.",
    ):
        assert line in card


def test_a_model_of_synthetic_speech_alone(project: Path, tmp_path: Path) -> None:
    (project / MODEL).rename(project / "data/models/phoneme_head")
    out = {"path": "data/models/phoneme_head", "md5": content_hash(project / "data/models/phoneme_head")}
    made = {"deps": [{"path": "data/speech", "md5": "0.dir"}], "outs": [out]}
    YAML().dump({"schema": "2.0", "stages": {"phoneme_head": made}}, project / "dvc.lock")
    pack("data/models/phoneme_head", tmp_path / "out", project)
    card = (tmp_path / "out/README.md").read_text().splitlines()
    pipeline = "In the pipeline: `dvc exp run -S experts.phoneme_head=FOLDER`."
    assert {"license: mit", "- data: the synthetic speech of the films", pipeline} <= set(card)


def test_one_of_two_models_of_a_stage(project: Path, tmp_path: Path) -> None:
    outs = []
    for role, value in (("metric", 0.9), ("loss", 0.8)):
        model, scores = f"data/models/syncnet3d/{role}", f"metrics/syncnet3d/{role}.json"
        save_weights(project / model, nn.Linear(2, 2), {})
        write_json(project / scores, {"auc": value})
        outs += [{"path": model, "md5": content_hash(project / model)}, {"path": scores, "md5": md5(project / scores)}]
    YAML().dump({"schema": "2.0", "stages": {"syncnet3d": {"deps": [], "outs": outs}}}, project / "dvc.lock")
    pack("data/models/syncnet3d/metric", tmp_path / "out", project)
    about = read_json(tmp_path / "out/learn2talk.json", made_by="the test")
    assert about["metrics"] == {"training": {"auc": 0.9}}


def test_the_card_of_weights_from_elsewhere(tmp_path: Path) -> None:
    save_weights(tmp_path, nn.Linear(2, 2), {})
    write_card(tmp_path, {"model": "speech_encoder", "licence": "mit", "source": "a hub", "data": "speech"})
    card = (tmp_path / "README.md").read_text().splitlines()
    assert {"- weights: a hub", "- data: speech", "license: mit"} <= set(card)
    assert not any(line.startswith(("- commit", "## Scores", "## Parameters")) for line in card)
    assert read_origin(tmp_path, "speech_encoder") is not None


def test_changes_that_no_commit_holds(project: Path, tmp_path: Path) -> None:
    (project / "stages/student.py").write_text("made = 'it otherwise'\n")
    (project / MODEL / "model.json").write_text("{}")
    lock(project)
    pack(MODEL, tmp_path / "out", project)
    found = json.loads((tmp_path / "out/learn2talk.json").read_text())["commit"]
    assert found == {"hash": git(project, "rev-parse", "HEAD"), "dirty": True}
    git(project, "add", "dvc.lock")
    git(project, "commit", "-qm", "the lock without the code")
    pack(MODEL, tmp_path / "out", project)
    found = json.loads((tmp_path / "out/learn2talk.json").read_text())["commit"]
    assert found == {"hash": git(project, "rev-parse", "HEAD"), "dirty": True}
    assert "with changes that this commit does not contain" in (tmp_path / "out/README.md").read_text()


def test_scores_of_another_model_are_left_out(project: Path, tmp_path: Path) -> None:
    (project / "metrics/evaluate.json").write_text('{"seen": {"learn2talk": {"lve_mm": 7}}, "protocol": {}}')
    (project / "data/corpus/corpus.json").write_text("{}")
    pack(MODEL, tmp_path / "out", project)
    about = read_json(tmp_path / "out/learn2talk.json", made_by="the test")
    assert about["metrics"] == {}
    assert about["corpus"] is None


def test_what_cannot_be_packed(project: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="other: expected one of data/models/students/learn2talk, found another folder"):
        pack("data/models/other", tmp_path / "out", project)
    (project / MODEL / "model.json").write_text("{}")
    with pytest.raises(BadInput, match=r"expected the model that dvc\.lock describes .*, found another one .* student"):
        pack(MODEL, tmp_path / "out", project)
    (project / "dvc.lock").unlink()
    with pytest.raises(BadInput, match=r"dvc\.lock: expected a finished run, found nothing"):
        pack(MODEL, tmp_path / "out", project)


def test_content_hash_is_dvcs(tmp_path: Path) -> None:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    folder = tmp_path / "model"
    for name in ("b.json", "a/weights.bin", "a.txt", "a-b/c"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "db").mkdir()
    local = LocalFileSystem()
    _, _, found = build(HashFileDB(local, str(tmp_path / "db")), str(folder), local, "md5")
    assert content_hash(folder) == found.hash_info.value
