"""Run both pipelines at tiny size in a temporary copy, then check what a second run and a change of lambda1 rerun.

    python -m scripts.smoke [--keep] [--dataset vocaset|biwi|folder]

The copy holds all files that Git tracks, and new ones that it does not ignore. First the pipeline in pretraining/
runs, with `scripts/tiny_pretraining.yaml` over its params.yaml; its weights are packaged, and the default pipeline
reads them, with `scripts/tiny.yaml` over its params.yaml; at the end, `scripts.tables` makes the paper's tables. With
`--dataset`, the corpus is read from a small imitation of that dataset, and the script checks that a change of the data
makes the stage `corpus` out of date.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.datasets.fixtures import write_fixture
from learn2talk_core.datasets.settings import DATASETS

ROOT = Path(__file__).parents[1]


def copy_project(to: Path) -> None:
    """Copy the files that Git tracks, and new ones that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def override(path: Path, changes: dict[str, Any]) -> None:
    """Set keys of the YAML file at `path`; the keys must exist in it, and groups are merged."""
    yaml = YAML()
    values = yaml.load(path.read_text())

    def merge(into: dict[str, Any], new: dict[str, Any]) -> None:
        for key, value in new.items():
            if key not in into:
                raise SystemExit(f"{key!r} is not in {path.name}")
            if isinstance(value, dict):
                merge(into[key], value)
            else:
                into[key] = value

    merge(values, changes)
    yaml.dump(values, path)


def repro(folder: Path) -> list[str]:
    """Run `dvc repro`; returns the stages that it ran, in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    ran = []
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if match := re.match(r"Running stage '([^']+)'", line):
            ran.append(match[1])
    if process.wait():
        raise SystemExit(f"dvc repro failed in {folder}")
    return ran


def start(folder: Path, params: Path) -> None:
    """Make `folder`, which has a dvc.yaml, ready for a first run of tiny size, without Git."""
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.no_scm", "true"], cwd=folder, check=True)
    (folder / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(folder / "metrics", ignore_errors=True)
    override(folder / "params.yaml", YAML(typ="safe").load(params.read_text()))


def make_weights(folder: Path) -> int:
    """Run the pipeline that makes the weights, and package them; returns the number of stages that ran."""
    start(folder / "pretraining", ROOT / "scripts" / "tiny_pretraining.yaml")
    ran = repro(folder / "pretraining")
    assert repro(folder / "pretraining") == [], "a second run must do nothing"
    subprocess.run([sys.executable, "-m", "scripts.package_weights"], cwd=folder, check=True)
    return len(ran)


def check_results(folder: Path, tests: Sequence[str]) -> None:
    """Check that every row of every test set has a number, and that the video exists."""
    table = json.loads((folder / "metrics" / "evaluate.json").read_text())
    for test in tests:
        for row in ("truth", "template", "mean_motion", "faceformer", "learn2talk"):
            assert table[test][row]["lve_mm"] is not None, (test, row)
    assert json.loads((folder / "metrics" / "cost.json").read_text())
    assert (folder / "data" / "report" / "side_by_side.mp4").stat().st_size > 1000


def prove_reruns(folder: Path) -> None:
    """Check that a second run does nothing, and that a change of lambda1 reruns only the stages that depend on it."""
    assert repro(folder) == [], "a second run must do nothing"
    override(folder / "params.yaml", {"lambda1": 0.123})
    assert repro(folder) == ["taught_student@learn2talk", "predict", "evaluate", "report"]
    print("smoke: a change of lambda1 ran the taught student, predict, evaluate and report only")


def prove_data_is_watched(folder: Path, raw: Path) -> None:
    """Check that a changed byte in the dataset makes the stage `corpus` out of date."""

    def status() -> str:
        command = [sys.executable, "-m", "dvc", "status", "corpus"]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    assert "up to date" in status(), status()
    sound = next(path for path in sorted(raw.rglob("*")) if path.suffix in (".wav", ".pkl"))
    sound.write_bytes(sound.read_bytes() + b"\0")
    assert "changed deps" in status(), status()
    print(f"smoke: a change of {sound.name} makes the corpus out of date")


def prove_package(folder: Path) -> None:
    """Check that a packaged student animates where there is no run: the package alone is on the path."""
    subprocess.run([sys.executable, "-m", "scripts.package_weights", "--student"], cwd=folder, check=True)
    empty, site = folder / "empty", folder / "site"
    empty.mkdir()
    for package in ("learn2talk", "learn2talk_core"):
        shutil.copytree(folder / package, site / package)
    write_wave(empty / "speech.wav", np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32))
    command = [sys.executable, "-m", "learn2talk", "animate", "speech.wav", "-o", "out"]
    subprocess.run(command, cwd=empty, env={**os.environ, "PYTHONPATH": str(site)}, check=True)
    assert (empty / "out" / "speech" / "speech.mp4").stat().st_size > 1000
    print("smoke: the packaged student animates in an empty folder")


def prove_tables(folder: Path) -> None:
    """Check that the paper's tables are made of DVC experiments, which need Git, and that they run once."""
    subprocess.run([sys.executable, "-m", "dvc", "config", "--unset", "core.no_scm"], cwd=folder, check=True)
    identity = ("config user.name smoke", "config user.email smoke@localhost")
    for words in ("init -q", *identity, "add -A", "commit -q -m smoke"):
        subprocess.run(["git", *words.split()], cwd=folder, check=True)

    def tables() -> str:
        command = [sys.executable, "-m", "scripts.tables", "--seeds", "0"]
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
        return done.stdout

    first = tables()
    assert all(f"tables: {n} of 3" in first for n in (1, 2, 3)), first
    assert "tables: 1 of 3" not in tables(), "finished experiments must not run again"
    found = pd.read_csv(folder / "out" / "tables" / "tables.csv")
    for test in ("seen", "unseen"):
        for table, rows in {"III": 3, "V": 3}.items():
            own = found[(found["test"] == test) & (found["table"] == table) & (found["key"] == "lse_d")]
            assert own["mean"].notna().sum() == rows, (test, table)
    print("smoke: Tables III and V of three experiments")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    parser.add_argument("--dataset", choices=DATASETS, help="instead of the embedded corpus")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="learn2talk-smoke-"))
    try:
        copy_project(folder)
        made = make_weights(folder)
        print(f"smoke: {made} stages of pretraining ran", flush=True)
        start(folder, ROOT / "scripts" / "tiny.yaml")
        if arguments.dataset:
            source = write_fixture(arguments.dataset, folder / "raw")
            override(folder / "params.yaml", {"dataset": arguments.dataset, "corpus": {"source": source}})
        ran = repro(folder)
        check_results(folder, ("unseen",) if arguments.dataset == "vocaset" else ("seen", "unseen"))
        print(f"smoke: {len(ran)} stages ran", flush=True)
        if arguments.dataset:
            prove_data_is_watched(folder, folder / "raw")
        else:
            prove_reruns(folder)
            prove_package(folder)
            prove_tables(folder)
    finally:
        if arguments.keep:
            print(f"kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
