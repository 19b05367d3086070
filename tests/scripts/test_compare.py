"""The comparison of networks, whole, at tiny size: a toy corpus, untrained experts."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.models.lipreader import LipReader, with_head
from learn2talk_core.models.speech_encoders.loading import save_speech_encoder
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.syncnet3d import config
from learn2talk_core.report.over_seeds import OverSeeds
from learn2talk_core.run.weights import save_weights
from learn2talk_core.training import student
from scripts import compare, compare_arms, compare_page, priors, sweep
from tests.toy import toy_corpus
from tests.training.test_student import encoder, syncnet

ROOT = Path(__file__).parents[2]
READER = {"vocabulary": 41, "width": 2, "dim": 8, "heads": 2, "hidden": 16, "encoder_layers": 1, "decoder_layers": 1,
          "kernel": 3, "size": 44, "normalise": "clip"}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `dvc repro` leaves it, with recipes of a few steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    priors.content.cache_clear()
    corpus = toy_corpus(tmp_path / "data/corpus")
    (tmp_path / "data/models/speech_encoder").mkdir(parents=True)
    save_speech_encoder("data/models/speech_encoder", encoder())
    for role in ("metric", "loss"):
        save_weights(f"data/models/syncnet3d/{role}", syncnet(corpus), config(syncnet(corpus), "toy"))
    save_weights("data/models/lipreader/metric", with_head(LipReader(**READER), 40), {"reader": READER, "classes": 40})
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    params |= {"lambda1": 0.3, "lambda2": 0.0}
    params["voca"] |= {"batch": 2, "vertex_stride": 1}
    params["meshtalk"] |= {"batch": 2, "vertex_stride": 1}
    params["meshtalk"]["prior"] |= {"steps": 3, "batch": 2, "heads": 2, "classes": 4, "frames": 8}
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    fixed = ["--clips", "6", "--jobs", "1", "--docs", "docs", "--networks", "voca", "meshtalk"]
    monkeypatch.setattr("sys.argv", ["compare", *fixed, *words])
    with pytest.raises(SystemExit) as ended:
        compare.main()
    return int(ended.value.code or 0)


def result(name: str, seed: int = 0) -> dict:
    return json.loads(Path(f"docs/comparison/{name}-seed{seed}.json").read_text())


def test_it_trains_judges_and_writes_the_page(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--seeds", "0") == 0
    said = capsys.readouterr().out
    assert "compare: 0 of 51 trainings are finished, 5 are to do: about" in said
    assert re.search(r"compare: 5 of 5, .*; \d+ minutes passed, about 0 left", said)
    assert run(monkeypatch, "--seeds", "1") == 0  # another part
    text = Path("docs/comparison.md").read_text()
    for row in ("VOCA", "VOCA, with Learn2Talk's losses", "MeshTalk", "MeshTalk, without smoothing"):
        expected = 6 + 1 + 1 + 2 * ("," in row)  # three tables for each of two tests, styles, costs, changes
        assert text.count(f"| {row} | ") == expected + (row in ("VOCA", "MeshTalk")), row  # and the recipes
    assert "6 drawn in each training, seeds 0, 1, commit" in text
    assert "**Not complete.** 41 trainings are missing" in text
    assert "- VOCA: seed 2\n" in text
    assert "- FaceFormer: seed 0, 1, 2\n" in text
    (shown,) = re.findall(r"LRP % \|\n(?:.*\n)*?\| VOCA \| .* \| .* \| \**([\d.]+) \[", text.split("## Seen")[0])
    assert 0 < float(shown) <= 100
    assert re.search(r"\| Truth \| [\d.]+ \| ", text)
    assert Path("docs/comparison.png").stat().st_size > 1000
    assert Path("docs/comparison.mp4").stat().st_size > 1000

    plain, taught = result("voca"), result("voca-with-Learn2Talk's-losses")
    assert plain["final"]["step"] == 2  # 6 clips, 2 in a batch: 3 steps
    assert "sync" not in plain["final"]
    assert "sync" in taught["final"]
    assert plain["frames"] == taught["frames"] == result("meshtalk")["frames"]
    assert {row["row"] for row in plain["clips"]["unseen"]} == {"student"}
    smooth, raw = result("meshtalk"), result("meshtalk-without-smoothing")
    assert smooth["prior_seconds"] == raw["prior_seconds"] > 0  # one latent space for both
    assert smooth["training_seconds"] == raw["training_seconds"]  # and one training
    assert smooth["rows"] != raw["rows"]
    assert result("meshtalk", 1)["prior_seconds"] != smooth["prior_seconds"]
    assert "styles" not in smooth["rows"]["unseen"]["student"]  # predicted once: it has no styles

    check_differences()
    for name, smoothing in (("meshtalk", True), ("meshtalk-without-smoothing", False)):
        trained, _ = load_student(f"out/compare/{name}-seed1/student", made_by="the test")
        assert trained.smoothing is smoothing
    # what is finished is not made again, unless what decides it has changed
    monkeypatch.setattr(compare_arms.stage, "train_taught_student", None)
    assert run(monkeypatch, "--seeds", "0", "1") == 0
    assert Path("docs/comparison.md").read_text() == text
    capsys.readouterr()
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("velocity: 10.0", "velocity: 5.0"))
    assert run(monkeypatch, "--seeds", "0", "--plan") == 0
    assert "compare: 6 of 51 trainings are finished, 2 are to do" in capsys.readouterr().out
    shown = Path("docs/comparison.mp4").read_bytes()
    shutil.rmtree("out/compare/meshtalk-seed0/predicted")
    assert run(monkeypatch, "--page") == 0  # with seed 1
    assert "is not written" not in capsys.readouterr().out
    assert Path("docs/comparison.mp4").read_bytes() != shown
    shown = Path("docs/comparison.mp4").read_bytes()
    shutil.rmtree("out/compare/meshtalk-seed1/predicted")
    assert run(monkeypatch, "--page") == 0
    said = capsys.readouterr().out
    assert "docs/comparison.mp4 is not written: there is no motion in out/compare/meshtalk-seed0/predicted\n" in said
    assert Path("docs/comparison.mp4").read_bytes() == shown
    assert "| VOCA | " not in Path("docs/comparison.md").read_text()


def check_differences() -> None:
    """A change is the difference of the two rows' means, over all seeds and in each."""
    results: dict[compare_arms.Arm, dict[int, dict]] = {}
    for job in compare_arms.plan(["voca"], [0, 1], 6):
        found = compare_arms.finished(job, Path("docs"))
        assert found is not None
        results.setdefault(job.arm, {})[job.seed] = found
    plain, taught = (compare_page.values_of(own, "seen") for own in results.values())
    (change,) = compare_page.differences(results, "seen").values()
    for key in ("lve_mm", "lse_d", "closure_mm"):
        before, after, difference = plain[key], taught[key], change[key]
        assert isinstance(before, OverSeeds)
        assert isinstance(after, OverSeeds)
        assert isinstance(difference, OverSeeds)
        assert difference.mean == pytest.approx(after.mean - before.mean, abs=1e-9)
        assert difference.seeds == pytest.approx(np.subtract(after.seeds, before.seeds), abs=1e-9)


def test_a_killed_training_goes_on_and_counts_all_of_its_time(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after the first step: the second run does the other two, and the cost has the time of both."""
    whole = compare_arms.plan(["voca"], [0], 6)[0]
    monkeypatch.setattr("learn2talk_core.training.loop.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("learn2talk_core.training.loop.SAVE_RATIO", 0.0)
    real, calls = student.update, iter(range(10))

    def update(*arguments: Any, **others: Any) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        real(*arguments, **others)

    monkeypatch.setattr(student, "update", update)
    with pytest.raises(KeyboardInterrupt):
        compare_arms.run_arms([whole], Path("out/a"), Path("docs/a"), "a")
    (checkpoint,) = Path(".scratch").glob("compare-voca-0-*/checkpoint.pt")
    saved = torch.load(checkpoint, weights_only=True)
    assert len(saved["history"]) == 1
    monkeypatch.setattr(student, "update", real)
    saved["seconds"] += 1000
    torch.save(saved, checkpoint)
    (resumed,) = compare_arms.run_arms([whole], Path("out/a"), Path("docs/a"), "a")
    (straight,) = compare_arms.run_arms([whole], Path("out/b"), Path("docs/b"), "a")
    assert resumed["clips"] == straight["clips"]
    assert 1000 < resumed["training_seconds"] < 1000 + 10 * straight["training_seconds"] + 10
    assert not checkpoint.exists()


def test_another_machine_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its SyncNet3D differs, but not the parameters: what is finished stays, and is not compared with what it judges
    there."""
    words = ("--networks", "voca", "--seeds", "0", "1")
    assert run(monkeypatch, *words) == 0
    assert compare_page.JUDGES not in Path("docs/comparison.md").read_text()
    Path("docs/comparison/voca-with-Learn2Talk's-losses-seed1.json").unlink()
    network = syncnet(open_corpus("data/corpus"))
    network.modes.data.mul_(1.01)
    save_weights("data/models/syncnet3d/metric", network, config(network, "toy"))
    priors.content.cache_clear()
    capsys.readouterr()
    assert run(monkeypatch, *words) == 0
    assert "compare: 3 of 51 trainings are finished, 1 are to do" in capsys.readouterr().out
    assert compare_page.JUDGES in Path("docs/comparison.md").read_text()
    results: dict[compare_arms.Arm, dict[int, dict]] = {}
    for job in compare_arms.plan(["voca"], [0, 1], 6):
        results.setdefault(job.arm, {})[job.seed] = compare_arms.finished(job, Path("docs")) or {}
    (change,) = compare_page.differences(results, "seen").values()
    assert isinstance(change["lve_mm"], OverSeeds)
    assert len(change["lve_mm"].seeds) == 1
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("lags_per_clip: 5", "lags_per_clip: 6"))  # of syncnet3d
    assert run(monkeypatch, *words, "--plan") == 0
    assert "compare: 0 of 51 trainings are finished" in capsys.readouterr().out


def test_it_needs_the_experts_of_the_pipeline(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("data/models/syncnet3d/metric")
    assert run(monkeypatch, "--plan") != 0
    said = capsys.readouterr().err
    assert "data/models/syncnet3d/metric: expected an output of the pipeline, found nothing. Run dvc repro" in said


def test_epochs_of_a_preset_do_not_change_the_budget(project: Path) -> None:
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("epochs: null", "epochs: 100").replace("epochs:\n", "epochs: 100\n"))
    (arm, *_) = compare_arms.arms_of(["faceformer"], 0.3, 0.1)
    recipe = compare_arms.recipe_of(arm, compare_arms.recipe_in_params("faceformer"), 80)
    assert (recipe.steps, recipe.epochs) == (10, None)


def test_nothing_finished_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--page") == 1
    assert "expected a finished training, found none" in capsys.readouterr().err


def test_an_unknown_network_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--networks", "wav2lip") == 2
    assert re.search(r"invalid choice: 'wav2lip' \(choose from .*meshtalk.*voca", capsys.readouterr().err)


def test_sweep_and_comparison_share_what_is_learnt_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = compare_arms.recipe_in_params("meshtalk")
    folder, seconds = priors.trained_prior("meshtalk", recipe, 0)
    assert folder is not None
    written = (Path(folder) / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(
        "sys.argv", ["sweep", "--network", "meshtalk", "--arms", "0,0", "--jobs", "1", "--vary", "steps=2"]
    )
    sweep.main()
    rows = json.loads(Path("out/sweep/meshtalk-sync0-lipread0-steps2-seed0/rows.json").read_text())
    assert {row["split"] for row in rows} == {"validation", "seen", "unseen"}
    assert (Path(folder) / "model.safetensors").stat().st_mtime_ns == written
    assert priors.trained_prior("meshtalk", recipe, 0) == (folder, seconds)
    assert priors.trained_prior("meshtalk", recipe, 1)[0] != folder
    assert priors.trained_prior("voca", compare_arms.recipe_in_params("voca"), 0) == (None, 0.0)


def test_a_kill_between_two_arms_of_one_training_does_not_train_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group,) = (g for g in compare_arms.trained_alike(compare_arms.plan(["meshtalk"], [0], 6)) if len(g) == 2)
    real = compare_arms.judge_arm

    def judge(model: Any, corpus: Any, folder: Path) -> dict:
        if "without-smoothing" in folder.name:
            raise KeyboardInterrupt
        return real(model, corpus, folder)

    monkeypatch.setattr(compare_arms, "judge_arm", judge)
    with pytest.raises(KeyboardInterrupt):
        compare_arms.run_arms(group, Path("out/a"), Path("docs/a"), "a")
    monkeypatch.setattr(compare_arms, "judge_arm", real)
    monkeypatch.setattr(student, "update", None)  # no step is made
    smooth, raw = compare_arms.run_arms(group, Path("out/a"), Path("docs/a"), "a")
    assert smooth["final"] == raw["final"]
    assert smooth["rows"] != raw["rows"]
