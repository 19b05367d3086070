"""A stage under `accelerate launch` on two processes: which process writes, what the result equals, and what a killed
process leaves behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from learn2talk_core.run.config import load_params
from stages import student
from tests.ranks import ended, environment, start
from tests.stages.test_resume import checkpoint_there, digest, project, wait_for

STEPS = 15
DROPOUTS = ("hidden", "attention", "activation", "feat_proj")
# a checkpoint at every step, so that the run can be killed after one
CODE = (
    "import runpy, sys, learn2talk_core.training.loop as loop; loop.SAVE_SECONDS = 0.0;"
    "sys.argv.append('faceformer');"
    "runpy.run_module('stages.student', run_name='__main__', alter_sys=True)"
)


def small(folder: Path) -> Path:
    """A project without dropout and with one clip per step and process."""
    project(folder)
    for file, changes in (
        (folder / "params.yaml", {"faceformer": {"steps": STEPS, "batch": 1, "dropout": 0.0}}),
        (folder / "data" / "models" / "speech_encoder" / "config.json", {f"{part}_dropout": 0.0 for part in DROPOUTS}),
    ):
        values = YAML(typ="safe").load(file.read_text())
        for key, value in changes.items():
            values[key] = values[key] | value if isinstance(value, dict) else value
        if file.suffix == ".json":
            file.write_text(json.dumps(values))
        else:
            YAML(typ="safe").dump(values, file)
    return folder


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small(tmp_path_factory.mktemp("launched") / "p")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    run = subprocess.run(
        [*command, "--main_process_port", "0", "-m", "stages.student", "faceformer"],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("student-faceformer: faceformer, 64 vertices, 2 styles from 4 clips") == 1
    return folder


def test_only_the_first_process_writes_and_nothing_is_left(launched: Path) -> None:
    assert not any((launched / ".scratch").iterdir())
    assert not list(launched.rglob("*.partial*"))
    assert (launched / "metrics" / "cost" / "students" / "faceformer.json").is_file()


def test_the_curve_is_that_of_one_process_with_twice_the_batch(
    launched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small(tmp_path / "p"))
    values = YAML(typ="safe").load(Path("params.yaml").read_text())
    values["faceformer"]["batch"] = 2
    YAML(typ="safe").dump(values, Path("params.yaml"))
    student.main(load_params(student.Params, "student"), "faceformer")
    one, two = (
        pd.read_csv(folder / "metrics" / "curves" / "students" / "faceformer.csv") for folder in (Path(), launched)
    )
    assert list(one["step"]) == list(two["step"]) == list(range(STEPS))
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-3)
    assert one["loss"].iloc[-1] < 0.9 * one["loss"].iloc[0]


def test_one_that_is_killed_ends_the_other_and_both_go_on_from_the_checkpoint(launched: Path, tmp_path: Path) -> None:
    folder = small(tmp_path / "p")
    processes = start(CODE, folder=folder)
    wait_for(lambda: checkpoint_there(folder))
    os.kill(processes[1].pid, signal.SIGKILL)
    (status, text), (killed, _) = ended(processes)
    assert (status, killed) == (1, -signal.SIGKILL)
    assert (
        "student-faceformer: training on several processes: expected all processes to respond, found that one has"
        in text
    )
    assert "Traceback" not in text
    assert not (folder / "data" / "models" / "students" / "faceformer").exists()
    (status, text), (other, quiet) = ended(start(CODE, folder=folder))
    assert (status, other) == (0, 0), text + quiet
    assert "resumed at step" in text
    assert "step/s" not in quiet
    assert digest(folder) == digest(launched)
