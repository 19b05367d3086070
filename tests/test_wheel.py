"""The wheel holds the two packages with their data files, and nothing else of the repository."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("learn2talk", "learn2talk_core")


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77", reason="without it pip would fetch it")
    project = tmp_path / "project"
    for folder in (*PACKAGES, "stages", "scripts", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.nbc", "*.nbi", "golden")
        shutil.copytree(ROOT / folder, project / folder, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*build, "-w", str(tmp_path), str(project)], check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "learn2talk = learn2talk.cli:main" in archive.read(entry_points).decode()
    files = [path for package in PACKAGES for path in (project / package).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(project)) for path in files if path.suffix != ".md"}
    assert found == expected
    assert {Path(name).suffix for name in found} >= {".html", ".js", ".npz", ".json", ".safetensors", ".typed"}
