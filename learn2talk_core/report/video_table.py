"""The table of scored videos for a terminal and for a spreadsheet."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learn2talk_core.report.table import heading, number
from learn2talk_core.run.files import whole_file

TableRow = Mapping[str, Any]


def video_score_table(
    rows: Sequence[TableRow], protocol: Mapping[str, Mapping[str, str]], absent: Mapping[str, str]
) -> str:
    """The table, the meaning of each column, and what other metrics would need.

    Args:
        rows: `video`, `frames` and the metrics of each video; the last row is the mean.
        protocol: metric key → name, unit, goal, protocol; one column for each, in this order.
        absent: name of a metric that was not computed → what it needs.
    """
    lines = [["video", "frames", *(heading(key, protocol) for key in protocol)]]
    lines += [[str(row["video"]), str(row["frames"]), *(number(row.get(key)) for key in protocol)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    text += ["", *(f"{about['name']}: {about['protocol']}" for about in protocol.values())]
    text += [f"{name}: not computed, needs {what}" for name, what in absent.items()]
    return "\n".join(text)


def write_csv(path: str | Path, rows: Sequence[TableRow]) -> None:
    """Write one line per row; the first row's keys name the columns. Missing values are empty."""
    with whole_file(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
