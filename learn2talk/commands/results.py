"""`learn2talk results`: print the result table of the last run."""

import argparse

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.paths import EVALUATION, PLOTS, REPORT


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "results", help="print the result table of the last run and the paths of its pictures"
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    from pathlib import Path

    from learn2talk_core.report.table import result_table
    from learn2talk_core.run.files import read_json

    print(result_table(read_json(EVALUATION, made_by="make repro")))
    print(f"table      {REPORT}/report.md")
    print(f"video      {REPORT}/side_by_side.mp4")
    for picture in sorted(Path(PLOTS).glob("*.png")):
        print(f"picture    {picture}")
    return 0
