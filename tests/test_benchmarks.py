"""Benchmarks are run by hand; these tests check that each of them imports and prints its help, and that the one whose
formats depend on what is installed ends."""

import runpy
import sys
from pathlib import Path

import pytest

from learn2talk_core.export.formats import FORMATS

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_shows_its_help(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(str(path), run_name="__main__")
    assert f"usage: {path.name}" in capsys.readouterr().out
    assert f"python -m benchmarks.{path.stem}" in path.read_text()


def test_export_measures_all_formats_that_need_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["export.py", "--seconds", "0.1"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # no Blender
    (path,) = (path for path in BENCHMARKS if path.stem == "export")
    runpy.run_path(str(path), run_name="__main__")
    measured = [line.split()[0] for line in capsys.readouterr().out.splitlines()[3:]]
    assert sorted(measured) == sorted(set(FORMATS) - {"fbx", "onto"})
