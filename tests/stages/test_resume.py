"""A stage that is killed, or whose dvc is killed, resumes and ends with the bytes of an uninterrupted run."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.run.files import write_json
from learn2talk_core.run.seed import seed_torch
from tests.toy import toy_corpus

ROOT = Path(__file__).parents[2]
STEPS = 100
DVC_YAML = """
stages:
  student:
    cmd: {python} -m stages.student faceformer
    deps: [data/corpus, data/models/speech_encoder]
    params: [seed, faceformer, students]
    outs: [data/models/students/faceformer]
"""


def project(folder: Path) -> Path:
    """A folder in which `python -m stages.student` runs: toy corpus, toy encoder, the real params.yaml made small."""
    folder.mkdir()
    toy_corpus(folder / "data" / "corpus")
    seed_torch(0)
    Wav2Vec2SpeechEncoder.from_numbers(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, layerdrop=0.0,
    ).save_pretrained(folder / "data" / "models" / "speech_encoder")  # fmt: skip
    write_json(folder / "data/models/motion_prior/faceformer/model.json", {"network": "faceformer", "prior": None})
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    params["faceformer"] |= {"steps": STEPS, "batch": 2, "width": 16}
    YAML(typ="safe").dump(params, folder / "params.yaml")
    (folder / "dvc.yaml").write_text(DVC_YAML.format(python=sys.executable))
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    # a checkpoint at every step, so that the run can be killed after one
    code = (
        "import runpy, sys, learn2talk_core.training.loop as loop; loop.SAVE_SECONDS = 0.0;"
        "sys.argv.append('faceformer');"
        "runpy.run_module('stages.student', run_name='__main__', alter_sys=True)"
    )
    words = command or (sys.executable, "-c", code)
    return subprocess.Popen(words, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def checkpoint_there(folder: Path) -> bool:
    return any((folder / ".scratch").glob("*/checkpoint.pt"))


def digest(folder: Path) -> dict[str, str]:
    model = folder / "data" / "models" / "students" / "faceformer"
    curve = folder / "metrics" / "curves" / "students" / "faceformer.csv"
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in [*sorted(model.iterdir()), curve]}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = project(tmp_path_factory.mktemp("whole") / "p")
    process = start(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "student-faceformer: faceformer, 64 vertices, 2 styles from 4 clips" in errors
    assert not any((folder / ".scratch").iterdir())
    return digest(folder)


def test_sigkill_and_resume(tmp_path: Path, uninterrupted: dict[str, str]) -> None:
    folder = project(tmp_path / "p")
    process = start(folder)
    wait_for(lambda: checkpoint_there(folder))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "data" / "models" / "students" / "faceformer").exists()
    process = start(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "resumed at step" in errors
    assert digest(folder) == uninterrupted


def test_ctrl_c_says_so_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    folder = project(tmp_path / "p")
    process = start(folder)
    wait_for(lambda: checkpoint_there(folder))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "student-faceformer: stopped; run it again to go on" in errors
    assert "Traceback" not in errors
    assert not (folder / "data" / "models" / "students" / "faceformer").exists()
    assert not list(folder.rglob("*.partial*"))


def test_dvc_killed_over_a_stage(tmp_path: Path, uninterrupted: dict[str, str]) -> None:
    """The orphaned training process notices and stops; a new dvc run resumes from its checkpoint."""
    folder = project(tmp_path / "p")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=folder, env=environment(), check=True)
    process = start(folder, *dvc, "repro", "-q")
    wait_for(lambda: any((folder / ".scratch").glob("*/lock")))
    time.sleep(0.5)  # some steps in
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    again = start(folder, *dvc, "repro", "-q")
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert digest(folder) == uninterrupted


def test_params_change_never_an_old_checkpoint(tmp_path: Path) -> None:
    folder = project(tmp_path / "p")
    process = start(folder)
    wait_for(lambda: checkpoint_there(folder))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace(f"steps: {STEPS}", "steps: 5"))
    process = start(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "resumed" not in errors
    rows = (folder / "metrics" / "curves" / "students" / "faceformer.csv").read_text().splitlines()
    assert len(rows) == 1 + 5
