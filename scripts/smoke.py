"""Run the real dvc.yaml at tiny size in a temporary copy, then prove what a second run and a change of lambda rerun.

    python -m scripts.smoke [--keep]

The copy holds what Git tracks or would track. `scripts/tiny.yaml` overrides params.yaml.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

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
    """Set keys of the YAML file at `path`, which must exist there; groups are merged."""
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
    """Run `dvc repro` and return the stages that it ran, in order."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder behind")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="learn2talk-smoke-"))
    try:
        copy_project(folder)
        subprocess.run([sys.executable, "-m", "dvc", "config", "core.no_scm", "true"], cwd=folder, check=True)
        (folder / "dvc.lock").unlink(missing_ok=True)
        shutil.rmtree(folder / "metrics", ignore_errors=True)
        override(folder / "params.yaml", YAML(typ="safe").load((ROOT / "scripts" / "tiny.yaml").read_text()))
        ran = repro(folder)
        table = json.loads((folder / "metrics" / "evaluate.json").read_text())
        for test in ("seen", "unseen"):
            for row in ("truth", "template", "mean_motion", "faceformer", "learn2talk"):
                assert table[test][row]["lve_mm"] is not None, (test, row)
        assert json.loads((folder / "metrics" / "cost.json").read_text())
        assert (folder / "data" / "report" / "side_by_side.mp4").stat().st_size > 1000
        print(f"smoke: {len(ran)} stages ran", flush=True)

        assert repro(folder) == [], "a second run must do nothing"
        override(folder / "params.yaml", {"lambda1": 0.123})
        assert repro(folder) == ["student", "predict", "evaluate", "report"]
        print("smoke: a change of lambda1 ran student, predict, evaluate and report only")
    finally:
        if keep:
            print(f"left in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
