from pathlib import Path

import pytest

from learn2talk_core.report.cost import read_costs
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import write_json


def test_costs(tmp_path: Path) -> None:
    for name, seconds in (("student", 90.0), ("lipreader-loss", 30.0), ("report", 999.0)):
        write_json(tmp_path / f"{name}.json", {name: {"seconds": seconds, "peak_memory_mb": 10 * seconds}})
    costs = read_costs(tmp_path, without="report")
    assert costs == {
        "lipreader-loss": {"seconds": 30.0, "peak_memory_mb": 300.0},
        "student": {"seconds": 90.0, "peak_memory_mb": 900.0},
    }
    (tmp_path / "student.json").write_text("{")
    with pytest.raises(BadInput, match=r"student\.json: expected JSON"):
        read_costs(tmp_path, without="report")
