"""The result table: from the numbers of `metrics/evaluate.json` to Markdown, records, and text for a terminal.

`evaluate.json` holds for each test its rows (truth, template, …, students). A row is key → value, with `interval` as
key → (low, high). The file also holds `protocol` (key → name, unit, goal and definition of a metric), `corpus` (recipe,
unit, and the protocol of each test), and `students` (their names in order).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from learn2talk_core.metrics.bootstrap import paired_interval
from learn2talk_core.metrics.protocol import METRICS, describe_test
from learn2talk_core.metrics.ratio import Ratio, add_ratios
from learn2talk_core.report.names import REFERENCE_TITLES, row_title
from learn2talk_core.run.students import MEAN_STYLE

TESTS = {"seen": "Seen speakers, new sentences", "unseen": "Unseen speakers"}
ARROWS = {"lower": "↓", "higher": "↑", "zero": "→ 0", "one": "→ 1"}
# Two tables of readable width: scores by the judges (these keys), and geometry. FDD in mm² would repeat FDD.
JUDGED = ("lse_d", "lse_c", "lse_d0", "lipread_error", "viseme_accuracy", "lipread_cosine", "closure_mm")
LEFT_OUT = ("fdd_mm2", "fdd_abs_mm2")

Rows = Mapping[str, Mapping[str, Any]]  # row → key → value
Difference = tuple[float, tuple[float, float]]  # difference of two students, and its interval
MINUS = " − "


def markdown(evaluate: Mapping[str, Any], differences: Mapping[str, Mapping[str, Mapping[str, Difference]]]) -> str:
    """The tables of all tests with 95 % intervals, the best student in bold, and what each column means.

    Args:
        evaluate: see the module's docstring.
        differences: test → pair of students → key → difference (see `student_differences`); may be empty.
    """
    protocol, students = evaluate["protocol"], evaluate.get("students", ())
    lines: list[str] = []
    for test, rows in _tests(evaluate).items():
        about = describe_test(evaluate, test)
        lines += [f"## {TESTS.get(test, test)}", *(["", f"{about}."] if about else [])]
        for keys in _groups(rows, protocol):
            lines += ["", _line(["", *(heading(key, protocol) for key in keys)]), _line(["---"] + ["---:"] * len(keys))]
            best = {key: best_student(rows, students, key, protocol) for key in keys}
            for name, row in _ordered(rows, students):
                lines.append(_line([row_title(name), *(_cell(row, key, best[key] == name) for key in keys)]))
            for pair, found in differences.get(test, {}).items():
                names = MINUS.join(map(row_title, pair.split(MINUS)))
                lines.append(_line([names, *(_difference(found.get(key)) for key in keys)]))
        lines.append("")
    lines += [_HOW_TO_READ, ""]
    lines += [f"- {note}" for note in evaluate.get("corpus", {}).get("notes", ())]
    shown = {key for rows in _tests(evaluate).values() for group in _groups(rows, protocol) for key in group}
    lines += [f"- **{heading(key, protocol)}**: {_meaning(protocol[key])}" for key in _keys(protocol) if key in shown]
    return "\n".join(lines) + "\n"


def result_table(evaluate: Mapping[str, Any]) -> str:
    """The tables as text about 110 characters wide; the best student is marked with an asterisk."""
    blocks, students = [], evaluate.get("students", ())
    for test, rows in _tests(evaluate).items():
        about = describe_test(evaluate, test)
        blocks.append("\n".join([TESTS.get(test, test), *([about] if about else [])]))
        for keys in _groups(rows, evaluate["protocol"]):
            best = {key: best_student(rows, students, key, evaluate["protocol"]) for key in keys}
            lines = [["", *(f"{heading(key, evaluate['protocol'])} " for key in keys)]]
            for name, row in _ordered(rows, students):
                cells = [number(row.get(key)) + ("*" if best[key] == name else " ") for key in keys]
                lines.append([row_title(name), *cells])
            blocks.append(_aligned(lines))
    notes = evaluate.get("corpus", {}).get("notes", ())
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])])


def result_records(evaluate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same as records, one per number: name, unit, goal, interval, and whether it is the best student's."""
    found, students = [], evaluate.get("students", ())
    for test, rows in _tests(evaluate).items():
        for name, row in _ordered(rows, students):
            for key in _keys(evaluate["protocol"]):
                if key not in row:
                    continue
                about = evaluate["protocol"][key]
                low, high = row.get("interval", {}).get(key) or (None, None)
                found.append(
                    {"test": test, "row": name, "key": key, "value": row[key], "low": low, "high": high}
                    | {field: about[field] for field in ("name", "unit", "goal")}
                    | {"best_student": best_student(rows, students, key, evaluate["protocol"]) == name}
                )
    return found


def expert_table(reports: Mapping[str, Any]) -> str:
    """Markdown table of every number in the experts' reports, named by its path, such as `lipreader.metric.error`, and
    of the files of imported checkpoints, such as `faceformer.checkpoint`."""
    rows = [(name, value) for name, value in _flat(reports, "") if isinstance(value, int | float | str)]
    shown = [[name, value if isinstance(value, str) else number(value)] for name, value in rows]
    lines = [["number", "value"], ["---", "---:"], *shown]
    return "\n".join(map(_line, lines)) + "\n"


def student_differences(
    per_clip: pd.DataFrame, pairs: Sequence[tuple[str, str]], keys: Sequence[str], seed: int
) -> dict[str, dict[str, dict[str, Difference]]]:
    """The difference of two students on the same clips, with a 95 % interval from the paired bootstrap.

    Args:
        per_clip: columns `split`, `clip`, `row`, and for each key its value and `<key>_weight`.
        pairs: the students to compare, such as ("learn2talk", "faceformer").
        keys: the metrics to compare.
        seed: seed of the bootstrap.

    Returns:
        test → "learn2talk − faceformer" → key → difference, for tests in which both students have the same clips.
    """
    found: dict[str, dict[str, dict[str, Difference]]] = {}
    for split in per_clip["split"].unique():
        table = per_clip[per_clip["split"] == split].set_index("clip")
        for pair in pairs:
            second, first = (table[table["row"] == student].sort_index() for student in pair)
            if len(first) == 0 or list(first.index) != list(second.index):
                continue
            of_pair = found.setdefault(str(split).removeprefix("test_"), {}).setdefault(MINUS.join(pair), {})
            for key in (key for key in keys if key in table):
                one, two = _ratios(first, key), _ratios(second, key)
                interval, values = paired_interval(one, two, seed=seed), (add_ratios(one).value, add_ratios(two).value)
                if interval is not None and values[0] is not None and values[1] is not None:
                    of_pair[key] = (values[1] - values[0], interval)
    return found


def best_student(rows: Rows, students: Sequence[str], key: str, protocol: Mapping[str, Any]) -> str | None:
    """The student with the best value of `key`; None if all are equal, or if fewer than two students have a value."""
    goal = protocol.get(key, {}).get("goal")
    values = {student: rows.get(student, {}).get(key) for student in students}
    known = {student: float(value) for student, value in values.items() if value is not None}
    if goal is None or len(known) < 2 or len(set(known.values())) == 1:
        return None
    badness = {
        student: {"lower": value, "higher": -value, "zero": abs(value), "one": abs(value - 1)}[goal]
        for student, value in known.items()
    }
    return min(badness, key=lambda student: badness[student])


def heading(key: str, protocol: Mapping[str, Any]) -> str:
    """Name, unit and direction of a metric, such as `LVE (mm) ↓`."""
    about = protocol[key]
    unit = f" ({about['unit']})" if about["unit"] else ""
    return f"{about['name']}{unit} {ARROWS[about['goal']]}"


def number(value: float | None) -> str:
    """Format a value with its significant digits; an en dash if there is no value."""
    if value is None:
        return "–"
    if abs(value) < 1e-12:
        return "0"
    if 0.001 <= abs(value) < 10000:
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"
    return f"{value:.2e}"


_HOW_TO_READ = """## How to read it

Bold: the best student. Below a value: its 95 % interval, from a bootstrap over clips. The last rows are differences of
two students on the same clips; in bold if the 95 % interval excludes zero. For an unseen speaker, the training style
with the lowest LVE is used, as in the paper; “all styles” is the mean over all training styles. For metrics that a
network computes, the row “Truth” is the reference: an LSE-D below its value does not mean a better face."""


def _cell(row: Mapping[str, Any], key: str, best: bool) -> str:
    text = number(row.get(key))
    if best:
        text = f"**{text}**"
    interval = row.get("interval", {}).get(key)
    return (
        text
        if interval is None or interval[0] == interval[1]
        else f"{text}<br>{number(interval[0])} … {number(interval[1])}"
    )


def _difference(found: Difference | None) -> str:
    if found is None:
        return "–"
    value, (low, high) = found
    text = f"{'+' if value > 0 else ''}{number(value)}"
    return f"{f'**{text}**' if low > 0 or high < 0 else text}<br>{number(low)} … {number(high)}"


def _tests(evaluate: Mapping[str, Any]) -> dict[str, Rows]:
    return {test: rows for test, rows in evaluate.items() if test not in ("protocol", "corpus", "students") and rows}


def _keys(protocol: Mapping[str, Any]) -> list[str]:
    """The keys in the order in which metrics are reported; in a JSON file they are sorted alphabetically."""
    known = [metric.key for metric in METRICS if metric.key in protocol]
    return known + sorted(set(protocol) - set(known))


def _groups(rows: Rows, protocol: Mapping[str, Any]) -> list[list[str]]:
    found = {key for row in rows.values() for key in row} - set(LEFT_OUT)
    judged = [key for key in JUDGED if key in found]
    others = [key for key in _keys(protocol) if key in found and key not in judged]
    return [group for group in (judged, others) if group]


def _ordered(rows: Rows, students: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """Rows in the table's order: references, students, students averaged over all styles, others."""
    order = [*REFERENCE_TITLES, *students, *(f"{student}{MEAN_STYLE}" for student in students)]
    return [(name, rows[name]) for name in [*order, *sorted(set(rows) - set(order))] if name in rows]


def _ratios(table: pd.DataFrame, key: str) -> list[Ratio]:
    values, weights = table[key].fillna(0.0), table[f"{key}_weight"]
    return [Ratio(float(v * w), float(w)) for v, w in zip(values, weights, strict=True)]


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        found += _flat(value, name) if isinstance(value, Mapping) else [(name, value)]
    return found


def _meaning(about: Mapping[str, Any]) -> str:
    figures = [f"region {about['region']}"] if "region" in about else []
    figures += [f"{about['vertices']} vertices"] if "vertices" in about else []
    extra = {"mm_per_unit": "{:g} mm per unit", "threshold_mm": "threshold {:g} mm", "lip_pairs": "{} lip pairs"}
    figures += [text.format(about[key]) for key, text in extra.items() if key in about]
    return about["protocol"] + (f" ({', '.join(figures)})" if figures else "")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = (
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    )
    return "\n".join(" ".join(cells).rstrip() for cells in padded)
