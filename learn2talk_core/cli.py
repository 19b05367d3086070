"""The command `learn2talk`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from learn2talk_core.errors import BadInput


def main(words: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit status."""
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return arguments.run(arguments)
    except BadInput as error:
        print(f"learn2talk {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"learn2talk {arguments.command}: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="learn2talk", description="3D talking faces that learn from 2D ones.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    show = commands.add_parser("show-corpus", help="contact sheet with phonemes and a video with sound of one clip")
    show.add_argument("corpus", nargs="?", default="data/corpus", help="folder of the corpus (default: %(default)s)")
    show.add_argument("--clip", help="id of the clip (default: the first)")
    show.add_argument("--out", default="out", help="folder for the pictures (default: %(default)s)")
    show.set_defaults(run=_show_corpus)

    check = commands.add_parser("check-corpus", help="say what a corpus holds and what is wrong with it")
    check.add_argument("corpus", nargs="?", default="data/corpus", help="folder of the corpus (default: %(default)s)")
    check.set_defaults(run=_check_corpus)

    results = commands.add_parser("results", help="print the result table of the last run and where its pictures lie")
    results.set_defaults(run=_results)
    return parser


# Each command imports what it needs, so that `--help` answers at once.


def _show_corpus(arguments: argparse.Namespace) -> int:
    from learn2talk_core.report.contact_sheet import show_corpus

    for path in show_corpus(arguments.corpus, arguments.out, arguments.clip):
        print(path)
    return 0


def _check_corpus(arguments: argparse.Namespace) -> int:
    from learn2talk_core.corpus.check import check_corpus

    contents, problems = check_corpus(arguments.corpus)
    print("\n".join(contents))
    if problems:
        print("\nproblems:", *problems, sep="\n", file=sys.stderr)
        return 1
    print("no problems")
    return 0


def _results(_: argparse.Namespace) -> int:
    from pathlib import Path

    from learn2talk_core.files import read_json
    from learn2talk_core.report.table import console

    print(console(read_json("metrics/evaluate.json", made_by="make repro")))
    print("table      data/report/report.md")
    print("video      data/report/side_by_side.mp4")
    for picture in sorted(Path("metrics/plots").glob("*.png")):
        print(f"picture    {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
