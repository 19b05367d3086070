"""DVC itself, on the real dvc.yaml of both pipelines, with placeholders for all files: which bytes it watches."""

import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from learn2talk_core.run.students import PlainStudent
from scripts.preset import apply
from scripts.smoke import override

ROOT = Path(__file__).parents[1]


def placeholder(path: Path) -> None:
    """A file, or a folder with a file in it, if nothing is there."""
    if not path.exists():
        file = path if path.suffix or path.name == "none" else path / "content"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(path))


def finished(root: Path, pipeline: str, *presets: str, **changes: dict) -> Repo:
    """A project whose pipeline has run, as far as DVC can tell; `presets` are words for `scripts.preset`."""
    folder = root / pipeline
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / pipeline / name, folder / name)
    apply(list(presets), folder / "params.yaml")
    override(folder / "params.yaml", changes)
    repo = Repo.init(str(folder), no_scm=True)
    for stage in repo.index.stages:
        for entry in [*stage.deps, *stage.outs]:
            if not entry.def_path.endswith("params.yaml"):
                placeholder(folder / entry.def_path)
    repo.commit(force=True)
    assert repo.status() == {}
    return repo


def edit(path: Path) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes() or b"\0")
    data[0] ^= 1
    path.write_bytes(data)


def changed(repo: Repo) -> set[str]:
    """The stages with a changed dependency."""
    return {stage for stage, found in repo.status().items() if any("changed deps" in one for one in found)}


def test_the_content_of_every_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repo = finished(
        tmp_path, ".",
        corpus={"texts": "texts.txt"},
        experts={"teacher": "published/wav2lip.pth", "lipreader_loss": "published/lrs3"},
        students={"faceformer": {"checkpoint": "published/biwi.pth"}},
        teacher_video={"videos": "films"},
    )  # fmt: skip
    for file, stage in {
        "published/wav2lip.pth": "experts@teacher",
        "published/lrs3/content": "experts@lipreader_loss",
        "weights/speech_encoder/content": "experts@speech_encoder",  # and teacher_video.hears
        "weights/lipreader/metric/content": "experts@lipreader_metric",
        "published/biwi.pth": "student@faceformer",
        "weights/phoneme_head/content": "experts@phoneme_head",
        "films/content": "teacher_video",
        "texts.txt": "corpus",
        "weights/stills/content": "teacher_video",
    }.items():
        edit(tmp_path / file)
        heard = {"teacher_video"} if file == "weights/speech_encoder/content" else set()
        assert changed(repo) == {stage} | heard, file
        edit(tmp_path / file)
    (tmp_path / "films/S00_01.mp4").write_bytes(b"new")
    assert changed(repo) == {"teacher_video"}


def test_the_content_of_selftalks_recogniser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its note is made again, on which the student depends; a run without a SelfTalk has no such stage."""
    monkeypatch.chdir(tmp_path)
    preset = ROOT / "params" / "vocaset-selftalk.yaml"
    repo = finished(tmp_path, ".", str(preset), "networks.selftalk=published/recogniser")
    for file, stage in {
        "published/recogniser/content": "motion_prior@selftalk",
        "data/models/motion_prior/selftalk/content": "student@selftalk",
    }.items():
        edit(tmp_path / file)
        assert changed(repo) == {stage}, file
        edit(tmp_path / file)


def test_the_content_of_what_pretraining_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pretraining").mkdir()
    monkeypatch.chdir(tmp_path / "pretraining")
    repo = finished(
        tmp_path, "pretraining",
        talking_video={"source": "../videos"},
        teacher={"expert_checkpoint": "../published/lipsync_expert.pth"},
    )  # fmt: skip
    for file, stage in {
        "weights/speech_encoder/content": "speech_encoder",
        "published/lipsync_expert.pth": "teacher",
        "pretraining/speech/content": "speech",
        "videos/content": "talking_video",
    }.items():
        edit(tmp_path / file)
        assert changed(repo) == {stage}, file
        edit(tmp_path / file)


def test_nothing_is_the_default_of_what_need_not_be_there() -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    assert {PlainStudent(**student).checkpoint for student in params["students"].values()} == {"weights/none"}
