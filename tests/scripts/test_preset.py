"""Presets of the papers: every stage accepts them, and a tiny version of each trains."""

import dataclasses
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.networks import training_of
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student_terms import embed_speech, lipread_term, sync_term
from learn2talk_core.training.students import faceformer, selftalk
from scripts.preset import apply
from stages import taught_student
from tests.toy import toy_corpus
from tests.training.students.test_selftalk import recogniser
from tests.training.test_student import encoder, reader, syncnet

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "params").glob("*.yaml"))


def numbers(group: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested groups by their whole key."""
    if not isinstance(group, dict):
        return {prefix: group}
    return {key: value for name, inner in group.items() for key, value in numbers(inner, f"{prefix}.{name}").items()}


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def test_a_value_is_set_and_its_comment_stays(params: Path) -> None:
    assert apply(["lambda1=5e-7", "corpus.source.path=some/folder", "lambda1=0.2"], params) == [
        "lambda1: 0.5 → 5e-07",
        "corpus.source.path: learn2talk_core/datasets/embedded/face.npz → some/folder",
        "lambda1: 5e-07 → 0.2",
    ]
    before, after = (path.read_text().splitlines() for path in (ROOT / "params.yaml", params))
    changed = {line for line in after if line not in before}
    assert changed == {"lambda1: 0.2", "    path: some/folder"}
    assert len(before) == len(after)


@pytest.mark.parametrize("group", ["students", "taught_students", "networks", "avatars", "avatar_reports"])
def test_a_group_of_named_entries_is_replaced(params: Path, tmp_path: Path, group: str) -> None:
    (tmp_path / "own.yaml").write_text(f"{group}: {{mine: 1}}\n")
    apply([str(tmp_path / "own.yaml")], params)
    assert YAML(typ="safe").load(params.read_text())[group] == {"mine": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("lamda1=1", "expected keys of params.yaml, found lamda1"),
        ("faceformer.size=1", "found faceformer.size"),
        ("faceformer=1", "expected a group of keys for faceformer, found 1"),
    ],
)
def test_a_wrong_key_changes_nothing(params: Path, change: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        apply(["lambda1=0.5", change], params)
    assert said in " ".join(str(error.value).split())
    assert params.read_text() == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_stage_accepts_a_preset(params: Path, preset: Path) -> None:
    apply([str(preset)], params)
    wanted, found = (numbers(YAML(typ="safe").load(path.read_text())) for path in (preset, params))
    assert {key: found[key] for key in wanted} == wanted
    for stage in YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]:
        if stage != "avatar":  # reads one entry of `avatars`, which no preset has
            load_params(import_module(f"stages.{stage}").Params, stage, params)
    for network in YAML(typ="safe").load(params.read_text())["networks"]:
        load_params(training_of(network, "networks").NetworkRecipe, network, params)


@pytest.mark.parametrize("name", ["vocaset-paper", "biwi-paper", "vocaset-paper+gradient"])
def test_a_tiny_learn2talk_of_the_preset_trains(tmp_path: Path, params: Path, name: str) -> None:
    """Two passes over four clips; the last frames of BIWI's alignment have no features and are left out."""
    apply([str(ROOT / "params" / f"{part}.yaml") for part in name.split("+")], params)
    stage = load_params(taught_student.Params, "taught_student", params)
    recipe = load_params(faceformer.FaceFormerRecipe, "faceformer", params)
    assert (recipe.epochs, recipe.batch, stage.lipread_frames) == (100, 1, None)
    recipe = dataclasses.replace(recipe, width=16, epochs=2, validation_epochs=2)
    corpus = toy_corpus(tmp_path / "corpus")
    clips, sync = corpus.split("train"), syncnet(corpus)
    taught = {clip.id: torch.randn(int(clip.frames / 30 * 25), 16) for clip in clips}
    extra = [
        ("sync", stage.lambda1, sync_term(corpus, sync, embed_speech(corpus, clips, sync))),
        (
            "lipread",
            stage.lambda2,
            lipread_term(corpus, reader(), "frontend", taught, frames=stage.lipread_frames, clips_per_step=1, seed=0),
        ),
    ]
    with Scratch(tmp_path / "scratch") as scratch:
        model, history = faceformer.train_network(
            corpus, encoder(), clips, recipe, seed=0, scratch=scratch, description="toy", extra=extra,
            balanced=stage.balance == "gradient",
        )  # fmt: skip
    assert len(history) == 2 * len(clips)
    assert [row["step"] for row in history if "validation" in row] == [7]
    assert history[-1]["validation"] > 0
    assert model.alignment == recipe.alignment
    states = model.predict_states(corpus.audio(clips[0]), corpus.fps, torch.eye(2), clips[0].frames)
    assert states.shape[1] == (24 if recipe.alignment == "biwi" else 29)  # of 1 s, as FaceFormer's own code


@pytest.mark.parametrize("name", ["vocaset-selftalk", "biwi-selftalk"])
def test_a_tiny_selftalk_of_the_preset_trains(tmp_path: Path, params: Path, name: str) -> None:
    apply([str(ROOT / "params" / f"{name}.yaml")], params)
    recipe = load_params(selftalk.SelfTalkRecipe, "selftalk", params)
    small = {"width": 16, "lip_heads": 2, "lip_layers": 1, "lip_hidden": 32, "epochs": 1, "validation_epochs": 1}
    corpus = toy_corpus(tmp_path / "corpus")
    with Scratch(tmp_path / "scratch") as scratch:
        model, history = selftalk.train_network(
            corpus, encoder(), corpus.split("train"), dataclasses.replace(recipe, **small), seed=0, scratch=scratch,
            description="toy", prior=recogniser(),
        )  # fmt: skip
    assert model.alignment == name.removesuffix("-selftalk")
    row = history[-1]
    assert row["validation"] > 0
    total = 1000 * row["vertex"] + 1000 * row["velocity"] + 1e-3 * row["latent"] + 1e-4 * row["text"]
    assert row["loss"] == pytest.approx(total, rel=1e-5)
