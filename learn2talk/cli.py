"""The command `learn2talk`. Each sub-command is a file of `commands/`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from learn2talk.commands import (
    animate,
    check_corpus,
    check_teacher,
    export_checkpoint,
    import_checkpoint,
    live,
    pack,
    prepare_fixtures,
    results,
    score,
    score_video,
    show_corpus,
    teacher_inputs,
    view,
)
from learn2talk_core.run.errors import BadInput

# In the order of `learn2talk --help`. Each adds its parser, and imports what it needs when it runs.
COMMANDS = (
    animate,
    view,
    live,
    show_corpus,
    check_corpus,
    prepare_fixtures,
    score_video,
    score,
    check_teacher,
    teacher_inputs,
    results,
    import_checkpoint,
    export_checkpoint,
    pack,
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit status."""
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return arguments.run(arguments)
    except BadInput as error:
        print(f"learn2talk {arguments.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where, fix = error.filename or "a file", "Check its permissions and the space on its disk."
        known = BadInput(where, expected="to read or write it", found=error.strerror or str(error), fix=fix)
        print(f"learn2talk {arguments.command}: {known}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"learn2talk {arguments.command}: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="learn2talk", description="3D talking faces that learn from 2D ones.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
