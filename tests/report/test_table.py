import json
import re

import pandas as pd
import pytest

from learn2talk_core.metrics.protocol import protocols
from learn2talk_core.report.table import (
    best_student,
    expert_table,
    heading,
    markdown,
    number,
    result_records,
    result_table,
    student_differences,
)
from tests.report.scene import grid

PROTOCOL = protocols(grid()[1], 1000.0, lrp_threshold_mm=2.0)


def evaluate() -> dict:
    values = {
        "truth": (1.0, 0.0, 0.0, 1.0),
        "template": (9.0, 4.0, 3e-8, 0.0),
        "faceformer": (3.0, 2.0, -1e-8, 0.8),
        "learn2talk": (2.0, 2.5, 5e-9, 1.1),
    }
    rows = {
        name: dict(
            zip(("lse_d", "lve_mm", "fdd", "gap_variance"), found, strict=True), closure_mm=None, clips=3, frames=90
        )
        for name, found in values.items()
    }
    rows["learn2talk"]["interval"] = {"lse_d": [1.5, 2.5], "closure_mm": None}
    return {
        "seen": rows,
        "students": ["faceformer", "learn2talk"],
        "protocol": json.loads(json.dumps(PROTOCOL, sort_keys=True)),
    }


def test_markdown() -> None:
    found = {"lse_d": (-1.0, (-1.5, -0.5)), "lve_mm": (0.5, (-0.1, 1.1))}
    lines = markdown(evaluate(), {"seen": {"learn2talk − faceformer": found}}).splitlines()
    assert lines[:3] == ["## Seen speakers, new sentences", "", "3 clips and 90 frames, 0 frames trimmed."]
    assert lines[4] == "|  | LSE-D ↓ | closure error (mm) ↓ |"
    assert "| Truth | 1.000 | – |" in lines
    assert "| Learn2Talk | **2.000**<br>1.500 … 2.500 | – |" in lines
    assert "| Learn2Talk − FaceFormer | **-1.000**<br>-1.500 … -0.500 | – |" in lines
    assert "|  | LVE (mm) ↓ | FDD (m²) → 0 | gap variance → 1 |" in lines
    assert "| FaceFormer | **2.000** | -1.00e-08 | 0.800 |" in lines
    assert "| Learn2Talk | 2.500 | **5.00e-09** | **1.100** |" in lines
    assert any(line.startswith("| Learn2Talk − FaceFormer | +0.500<br>") for line in lines)
    for header in (line for line in lines if line.startswith("|  |")):
        table = lines[lines.index(header) :]
        table = table[: next(i for i, line in enumerate(table) if not line.startswith("|"))]
        assert {line.count("|") for line in table} == {header.count("|")}
    assert (
        "- **FDD (m²) → 0**: CodeTalker: signed, of squared displacements, per clip (region upper_face, 27 vertices)"
        in lines
    )


def test_console() -> None:
    text = result_table(evaluate())
    assert re.search(r"Learn2Talk +2\.000\* +–$", text, re.MULTILINE)
    assert re.search(r"FaceFormer +2\.000\* +-1\.00e-08 +0\.800$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) < 110
    assert text.index("Truth") < text.index("Static template") < text.index("FaceFormer") < text.index("Learn2Talk")


def test_records() -> None:
    found = {(r["test"], r["row"], r["key"]): r for r in result_records(evaluate())}
    record = found["seen", "learn2talk", "lse_d"]
    assert record == {
        "test": "seen", "row": "learn2talk", "key": "lse_d", "value": 2.0, "low": 1.5, "high": 2.5,
        "name": "LSE-D", "unit": "", "goal": "lower", "best_student": True,
    }  # fmt: skip
    assert found["seen", "learn2talk", "closure_mm"]["low"] is None
    assert not found["seen", "truth", "lse_d"]["best_student"]


@pytest.mark.parametrize(
    ("key", "values", "better"),
    [
        ("lse_d", (2.0, 3.0), "faceformer"),
        ("lse_c", (2.0, 3.0), "learn2talk"),
        ("fdd", (-3.0, 2.0), "learn2talk"),
        ("gap_variance", (0.9, 1.2), "faceformer"),
        ("lse_d", (2.0, 2.0), None),
        ("lse_d", (None, 2.0), None),
        ("unheard_of", (1.0, 2.0), None),
    ],
)
def test_best_student(key: str, values: tuple[float | None, float], better: str | None) -> None:
    rows = {name: {key: value} for name, value in zip(("faceformer", "learn2talk"), values, strict=True)}
    assert best_student(rows, ("faceformer", "learn2talk"), key, PROTOCOL) == better


def test_the_best_of_any_number_of_students() -> None:
    table = evaluate()
    table["students"] = ["faceformer", "learn2talk", "mine"]
    table["seen"]["mine"] = {**table["seen"]["learn2talk"], "lse_d": 0.5}
    lines = markdown(table, {}).splitlines()
    assert "| Learn2Talk | 2.000<br>1.500 … 2.500 | – |" in lines
    assert "| mine | **0.500**<br>1.500 … 2.500 | – |" in lines
    assert best_student({"mine": {"lse_d": 1.0}}, ["mine"], "lse_d", PROTOCOL) is None


def test_numbers_and_headings() -> None:
    found = [number(v) for v in (None, 0.0, 1e-31, 1.2345, -45.678, 123.45, 1.5e-5, 12345.0)]
    assert found == ["–", "0", "0", "1.234", "-45.68", "123.5", "1.50e-05", "1.23e+04"]
    assert heading("lve", PROTOCOL) == "LVE (m²) ↓"
    assert heading("lse_c", PROTOCOL) == "LSE-C ↑"


def test_student_differences() -> None:
    rows = [
        {"split": split, "clip": clip, "row": row, "lve_mm": value, "lve_mm_weight": weight}
        for split, clip, row, value, weight in [
            ("test_seen", "a", "faceformer", 2.0, 10.0),
            ("test_seen", "b", "faceformer", 4.0, 30.0),
            ("test_seen", "b", "learn2talk", 3.0, 30.0),  # another order of clips
            ("test_seen", "a", "learn2talk", None, 0.0),
            ("test_seen", "a", "truth", 0.0, 10.0),
            ("test_unseen", "c", "faceformer", 1.0, 10.0),
        ]
    ]
    found = student_differences(pd.DataFrame(rows), [("learn2talk", "faceformer")], ["lve_mm", "lse_d"], seed=0)
    assert list(found) == ["seen"]
    value, (low, high) = found["seen"]["learn2talk − faceformer"]["lve_mm"]
    assert value == pytest.approx(3.0 - (2.0 * 10 + 4.0 * 30) / 40)
    assert low <= value <= high


def test_expert_table() -> None:
    text = expert_table({"lipreader": {"metric": {"error": 0.25, "name": "x"}}, "teacher": {"l1": None, "steps": 300}})
    assert text.splitlines()[2:] == [
        "| lipreader.metric.error | 0.250 |",
        "| lipreader.metric.name | x |",
        "| teacher.steps | 300.0 |",
    ]
