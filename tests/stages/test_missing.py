"""Every stage whose inputs are missing tells in one line what to run, and leaves no files behind."""

import dataclasses
import importlib
import inspect
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput

ROOT = Path(__file__).parents[2]
STAGES = sorted(f.stem for f in (ROOT / "stages").glob("[!_]*.py"))
FIRST = ("avatar", "corpus", "experts", "network_names", "speech")  # these need no other stage
PRETRAINING = YAML(typ="safe").load((ROOT / "pretraining" / "params.yaml").read_text())


@pytest.mark.parametrize("name", [s for s in STAGES if s not in FIRST])
def test_nothing_upstream(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / ("pretraining" if name in PRETRAINING else ".") / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    stage = importlib.import_module(f"stages.{name}")
    params = load_params(stage.Params, name)
    if name == "speech_encoder":
        params = dataclasses.replace(params, checkpoint="../weights/none")
    roles = {
        "role": "metric",
        "network": "codetalker",
        "name": {"student": "faceformer", "taught_student": "learn2talk"}.get(name),
    }
    if name == "avatar_report":
        roles["name"] = "head"
        params = dataclasses.replace(params, avatar_reports={"head": stage.AvatarReportSettings("test_seen", 1)})
    role = [roles[part] for part in inspect.signature(stage.main).parameters if part in roles]
    with pytest.raises(BadInput, match=r"expected .*, found (nothing|no .*)\. .*dvc repro"):
        stage.main(params, *role)
    left = [f for f in tmp_path.rglob("*") if f.is_file() and ".scratch" not in f.parts]
    assert left == [tmp_path / "params.yaml"]
