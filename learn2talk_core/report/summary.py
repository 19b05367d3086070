"""The main numbers of the result table, for `dvc exp show` (a column each) and `dvc metrics diff` (a line each)."""

from collections.abc import Mapping
from typing import Any

from learn2talk_core.run.students import MEAN_STYLE, REFERENCE_ROWS

# Key in evaluate.json → short name and number of decimals.
COLUMNS = {
    "lse_d": ("lse_d", 3),
    "lse_c": ("lse_c", 3),
    "lve_mm": ("lve_mm", 3),
    "fdd_abs_mm2": ("fdd_mm2", 3),
    "lrp": ("lrp", 2),
    "closure_mm": ("pbm_mm", 3),
    "lipread_error": ("reading", 3),
    "viseme_accuracy": ("viseme", 3),
}


def summary(evaluate: Mapping[str, Any], student: str) -> dict[str, Any]:
    """The main columns of the result table, for one student and the other students.

    DVC builds a column heading from all keys above a number, and a screen has room for few short headings. So the
    numbers of `student` on unseen speakers have no key above them; all others are below the key by which they differ.

    Args:
        evaluate: content of `metrics/evaluate.json`, see `report.table`.
        student: row of the student under test, for example "learn2talk".

    Returns:
        {column: value, "seen": {column: value}, other student: {column: value, "seen": {column: value}}}. Metrics that
        are not defined for the corpus, and tests without clips, are left out.
    """
    tested = {test: evaluate.get(test, {}) for test in ("unseen", "seen")}
    others = [name for name in _students(tested) if name != student]
    return _student(tested, student) | {name: _student(tested, name) for name in others}


def _students(tested: Mapping[str, Any]) -> list[str]:
    """Rows of students, without references and means over styles, in the order of the file."""
    rows = [name for table in tested.values() for name in table]
    return [name for name in dict.fromkeys(rows) if name not in REFERENCE_ROWS and not name.endswith(MEAN_STYLE)]


def _student(tested: Mapping[str, Any], name: str) -> dict[str, Any]:
    columns = {test: _columns(table.get(name, {})) for test, table in tested.items()}
    return columns["unseen"] | ({"seen": columns["seen"]} if columns["seen"] else {})


def _columns(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        short: round(float(row[key]), decimals)
        for key, (short, decimals) in COLUMNS.items()
        if row.get(key) is not None
    }
