"""Options that several commands share."""

import argparse
from typing import TYPE_CHECKING

from learn2talk_core.run.paths import CORPUS, STUDENT

if TYPE_CHECKING:
    from learn2talk_core.animation.life import Life

Subparsers = argparse._SubParsersAction  # argparse has no public name for what `add_subparsers` returns


def add_page_options(command: argparse.ArgumentParser) -> None:
    """What `view` and `live` share."""
    command.add_argument("--model", default=STUDENT, help="what animates sounds (default: %(default)s)")
    command.add_argument("--corpus", default=CORPUS, help="of its training: faces, voices (default: %(default)s)")
    command.add_argument("--template", help="a face: a speaker of the corpus, an .obj or a .ply")
    command.add_argument("--style", help="of sounds that are animated, as for learn2talk animate")
    command.add_argument("--port", type=int, default=0, help="of the address (default: a free one)")
    command.add_argument("--open", action="store_true", help="open the page in the browser")


def add_life_options(command: argparse.ArgumentParser) -> None:
    """What `animate` and `live` share."""
    life = command.add_argument_group("life", "what moves besides the speech, 0 … 3: 0 is off, 1 is usual")
    life.add_argument("--head", type=float, default=0.0, help="head motion that goes with the voice: its size (off)")
    life.add_argument("--blinks", type=float, default=0.0, help="how often (off)")
    life.add_argument("--gaze", type=float, default=0.0, help="glances: their size (off)")
    life.add_argument("--seed", type=int, default=0, help="of these three (default: %(default)s)")
    life.add_argument(
        "--head-model", metavar="PATH", help="SadTalker's PoseVAE, file or folder (default: the small one of ours)"
    )


def life_of(arguments: argparse.Namespace) -> "Life":
    """The values of `add_life_options`."""
    from learn2talk_core.animation.life import Life

    return Life(arguments.head, arguments.blinks, arguments.gaze, arguments.seed)
