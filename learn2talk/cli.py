"""The command `learn2talk`. Each sub-command is a file in `commands/`."""

import argparse
import sys
from collections.abc import Sequence

from learn2talk.commands import (
    animate,
    avatar,
    check_corpus,
    check_teacher,
    export_checkpoint,
    import_checkpoint,
    live,
    pack,
    prepare_fixtures,
    read,
    results,
    score,
    score_video,
    show_corpus,
    teacher_inputs,
    view,
)
from learn2talk_core.run.program import run_program

# In the order of `learn2talk --help`. Each module adds its own parser and defers heavy imports until it runs.
COMMANDS = (
    animate,
    avatar,
    view,
    live,
    show_corpus,
    check_corpus,
    prepare_fixtures,
    score_video,
    score,
    read,
    check_teacher,
    teacher_inputs,
    results,
    import_checkpoint,
    export_checkpoint,
    pack,
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit status."""
    words = sys.argv[1:] if words is None else words

    def work() -> int:
        arguments = _parser().parse_args(words)
        return arguments.run(arguments)

    return run_program(" ".join(["learn2talk", *words[:1]]), work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="learn2talk", description="Speech-driven 3D talking faces, taught by a 2D talking-face model."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
