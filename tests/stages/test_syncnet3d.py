"""Both roles of SyncNet3D: one after the other in this process, and at once in two workers that are interrupted."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from learn2talk_core.models.syncnet3d import load_syncnet3d
from learn2talk_core.training.syncnet3d import SyncNet3DNetwork, SyncNet3DTraining
from stages import syncnet3d
from tests.stages.test_resume import wait_for
from tests.toy import toy_corpus

ROOT = Path(__file__).parents[2]
ROLES = ("metric", "loss")
STEPS = 150
STAGE = (sys.executable, "-m", "stages.syncnet3d")
# the stage with a checkpoint at every step, so that it can be killed after one
OFTEN = """
import learn2talk_core.training.loop as loop
from learn2talk_core.run.stage import run
from stages import syncnet3d

def often(*arguments, train=syncnet3d.train_role):
    loop.SAVE_SECONDS = loop.SAVE_RATIO = 0.0
    return train(*arguments)

syncnet3d.train_role = often
__spec__ = syncnet3d.__spec__
run(syncnet3d.main, syncnet3d.Params)
"""


def check_results(folder: Path, steps: int) -> None:
    for role in ROLES:
        assert load_syncnet3d(folder / f"data/models/syncnet3d/{role}").shape.non_negative == (role == "loss")
        numbers = json.loads((folder / f"metrics/syncnet3d/{role}.json").read_text())
        assert {"auc_shift1_unseen", "auc_shift2_unseen", "auc_shift3_unseen", "lag_within_1_frame"} <= set(numbers)
        plots = folder / "metrics/plots"
        assert list(pd.read_csv(plots / f"syncnet3d-{role}-histogram.csv")) == ["distance", "genuine", "false"]
        assert list(pd.read_csv(plots / f"syncnet3d-{role}-shifts.csv")) == ["shift", "auc", "accuracy"]
        assert pd.read_csv(folder / f"metrics/curves/syncnet3d-{role}.csv")["step"].iloc[-1] > 0.99 * (steps - 1) - 1
    assert not list((folder / ".scratch").glob("*"))


def test_one_role_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(syncnet3d, "cpu_count", lambda: 1)
    toy_corpus(tmp_path / "data" / "corpus")
    recipe = SyncNet3DTraining(
        steps=2, clips=2, windows=4, learning_rate=1e-3, weight_decay=0.0, margin=1.0, other_clips=0.0, hardness=5.0,
        style=0.1, noise=0.01, pitch=0.1, masked_bands=4, tempo=0.1,
    )  # fmt: skip
    network = SyncNet3DNetwork(modes=3, width=8, layers=1, heads=2, channels=2, embedding=8)
    made, memory = syncnet3d.main(syncnet3d.Params(network=network, training=recipe, lags_per_clip=1, seed=0))
    assert made.startswith("SyncNet3D on unseen speakers: metric, from 4 clips, AUC 0.")
    assert "; loss, from 4 clips, AUC 0." in made
    assert memory == 0
    check_results(tmp_path, 2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a toy corpus and the real params.yaml made small."""
    folder = tmp_path_factory.mktemp("syncnet3d")
    toy_corpus(folder / "data" / "corpus")
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    small = params["syncnet3d"]
    small["training"] |= {"steps": STEPS, "clips": 2, "windows": 4}
    small["network"] |= {"modes": 3, "width": 8, "heads": 2, "channels": 2, "embedding": 8}
    YAML(typ="safe").dump(params, folder / "params.yaml")
    return folder


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "p")


def start(folder: Path, command: Sequence[str]) -> subprocess.Popen[str]:
    """As the leader of a process group, to which a terminal would send Ctrl-C. Two cores, whatever this machine has."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "2"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def digest(folder: Path) -> dict[str, str]:
    files = [f for place in ("data/models", "metrics") for f in (folder / place).rglob("*.*") if "cost" not in f.parts]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}


def checkpoints(folder: Path) -> int:
    return len(list((folder / ".scratch").glob("*/checkpoint.pt")))


@pytest.fixture(scope="module")
def uninterrupted(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("whole") / "p")
    process = start(folder, STAGE)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors.count("\n") == 1, errors
    assert errors.startswith("syncnet3d: SyncNet3D on unseen speakers: metric, from 4 clips, AUC ")
    check_results(folder, STEPS)
    (label, cost), *_ = json.loads((folder / "metrics/cost/syncnet3d.json").read_text()).items()
    assert (label, cost["device"], cost["precision"]) == ("syncnet3d", "cpu", "float32")
    assert cost["peak_memory_mb"] > 3 * 150  # of three processes with torch
    return digest(folder)


def test_dvc_killed_over_the_stage(project: Path, uninterrupted: dict[str, str]) -> None:
    """The stage, which only waits, notices it and ends; so do its workers, and the next run goes on where they were."""
    command = repr([sys.executable, "-c", OFTEN])
    parent = start(project, [sys.executable, "-c", f"import subprocess; subprocess.run({command})"])
    wait_for(lambda: checkpoints(project) == 2)
    parent.kill()
    _, errors = parent.communicate()  # until the last of them has ended
    assert "Traceback" not in errors
    assert checkpoints(project) == 2
    assert not (project / "data" / "models").exists()
    process = start(project, STAGE)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    for role in ROLES:
        assert f"syncnet3d {role}: resumed at step " in errors
    assert digest(project) == uninterrupted


def test_ctrl_c(project: Path) -> None:
    process = start(project, [sys.executable, "-c", OFTEN])
    wait_for(lambda: checkpoints(project) == 2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "syncnet3d: stopped; run it again to go on\n")
    assert not (project / "data" / "models").exists()
