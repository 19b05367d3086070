"""Options that several commands share."""

import argparse
from typing import TYPE_CHECKING

from learn2talk_core.run.paths import CORPUS, STUDENT

if TYPE_CHECKING:
    from learn2talk_core.animation.life import Life

MODEL = f" (default: {STUDENT}, or the one in this package)"
Subparsers = argparse._SubParsersAction  # argparse has no public name for what `add_subparsers` returns


def add_page_options(command: argparse.ArgumentParser) -> None:
    """Add the options that `view` and `live` share."""
    command.add_argument("--model", help=f"student that animates sounds: folder, file or name{MODEL}")
    command.add_argument(
        "--corpus", default=CORPUS, help="corpus it was trained on: faces, voices (default: %(default)s)"
    )
    command.add_argument("--template", help="the face: a speaker of the corpus, an .obj or a .ply")
    command.add_argument("--style", help="style for animated sounds, as in learn2talk animate")
    command.add_argument("--port", type=int, default=0, help="port of the server (default: a free one)")
    command.add_argument("--open", action="store_true", help="open the page in the browser")


def add_life_options(command: argparse.ArgumentParser) -> None:
    """Add the options that `animate` and `live` share."""
    life = command.add_argument_group("life", "motion besides speech; strengths 0 … 3: 0 is off, 1 is typical")
    life.add_argument("--head", type=float, default=0.0, help="size of the head motion, which follows the voice (off)")
    life.add_argument("--blinks", type=float, default=0.0, help="rate of blinks (off)")
    life.add_argument("--gaze", type=float, default=0.0, help="size of the glances (off)")
    life.add_argument("--seed", type=int, default=0, help="random seed of these three (default: %(default)s)")
    life.add_argument(
        "--head-model", metavar="PATH", help="SadTalker's PoseVAE, file or folder (default: our own small one)"
    )


def life_of(arguments: argparse.Namespace) -> "Life":
    """The values of the options that `add_life_options` adds."""
    from learn2talk_core.animation.life import Life

    return Life(arguments.head, arguments.blinks, arguments.gaze, arguments.seed)
