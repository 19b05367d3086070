import os
from pathlib import Path

import pytest

from learn2talk_core.cli import main
from learn2talk_core.files import write_json


@pytest.mark.parametrize(
    "words",
    [["--help"], ["results", "--help"], ["show-corpus", "--help"], ["check-corpus", "-h"], ["score-video", "-h"]],
)
def test_help_everywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: learn2talk")


def test_results_before_and_after_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["results"]) == 1
    assert (
        "metrics/evaluate.json: expected a file, found nothing. Make it first: make repro." in capsys.readouterr().err
    )
    row = {"lve_mm": 1.25, "interval": {"lve_mm": [1.0, 1.5]}}
    about = {"lve_mm": {"name": "LVE", "unit": "mm", "goal": "lower", "protocol": "x"}}
    write_json("metrics/evaluate.json", {"seen": {"truth": row}, "unseen": {"truth": row}, "protocol": about})
    os.makedirs("metrics/plots")
    Path("metrics/plots/losses.png").touch()
    assert main(["results"]) == 0
    out = capsys.readouterr().out
    assert "1.25" in out
    assert "metrics/plots/losses.png" in out
    assert "data/report/side_by_side.mp4" in out
