"""The wheel holds the two packages with their data files, and nothing else of the repository; installed alone, it
animates with the student in it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.checkpoints.pack import write_card
from learn2talk_core.datasets.embedded.packaged import packaged_speech
from learn2talk_core.run.paths import PACKAGED, PACKAGED_PHONEME_HEAD, PACKAGED_SPEECH_ENCODER
from learn2talk_core.run.weights import halve_files
from tests.toy_student import toy_student

ROOT = Path(__file__).parents[1]
PACKAGES = ("learn2talk", "learn2talk_core")
RECOGNISER = (PACKAGED_SPEECH_ENCODER.name, PACKAGED_PHONEME_HEAD.name)  # in weights/, and in the package
MOST = 80e6  # bytes


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a small student in the package, and the phoneme recogniser of this checkout."""
    pytest.importorskip("setuptools", "77", reason="without it pip would fetch it")
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "stages", "scripts", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.nbc", "*.nbi", "golden")
        shutil.copytree(ROOT / name, folder / "project" / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "project")
    packaged = folder / "project" / PACKAGED.relative_to(ROOT)
    student, corpus = toy_student(folder)
    halve_files(student)
    write_card(student, {"model": "students/learn2talk", "licence": "mit"})
    for made, place in ((student, packaged / "students" / "learn2talk"), (corpus, packaged / "corpus")):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(made, place)
    for name in RECOGNISER:
        shutil.copytree(ROOT / "weights" / name, packaged / name, dirs_exist_ok=True)
    return folder / "project"


@pytest.fixture(scope="module")
def wheel(project: Path) -> Path:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*build, "-w", str(project.parent), str(project)], check=True, capture_output=True, text=True)
    return next(project.parent.glob("*.whl"))


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(project: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "learn2talk = learn2talk.cli:main" in archive.read(entry_points).decode()
    files = [path for package in PACKAGES for path in (project / package).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(project)) for path in files if path.suffix != ".md" or "packaged" in path.parts}
    assert found == expected
    assert {Path(name).suffix for name in found} >= {".html", ".js", ".npz", ".json", ".safetensors", ".typed"}


def test_a_wheel_with_the_packaged_files_of_this_checkout_is_small(wheel: Path) -> None:
    files = [file for file in PACKAGED.rglob("*") if file.is_file()]
    inside = {PACKAGED / name for name in RECOGNISER}  # in the wheel already
    packaged = sum(file.stat().st_size for file in files if not inside & set(file.parents))
    assert wheel.stat().st_size + packaged < MOST


def test_the_installed_package_animates_and_aligns_a_text_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="without it a text has no phonemes")
    site, empty = tmp_path / "site", tmp_path / "empty"
    said = next(iter(packaged_speech().values()))[0]
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, text=True)
    empty.mkdir()
    write_wave(empty / "speech.wav", said.wave())
    (empty / "speech.txt").write_text(said.text)
    command = [sys.executable, "-m", "learn2talk", "animate", "speech.wav", "--format", "npz,mp4"]
    run = subprocess.run(
        command, cwd=empty, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    made = empty / "out" / "speech"
    assert (made / "speech.mp4").stat().st_size > 1000
    about = json.loads((made / "manifest.json").read_text())
    assert Path(about["model"]["folder"]).is_relative_to(site)
    assert about["style_chosen"] == "by the voice"
    assert about["aligned_by"].startswith(str(site))
    found, spoken = about["phonemes"], {phoneme.name: phoneme.start for phoneme in said.phonemes}
    once = [
        (start, spoken[name])
        for start, _, name in found
        if [one[2] for one in found].count(name) == 1 and name in spoken
    ]
    assert np.median([abs(mine - true) for mine, true in once]) < 0.05
