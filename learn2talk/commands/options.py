"""Options that several commands share."""

import argparse
from typing import TYPE_CHECKING

from learn2talk_core.run.paths import CORPUS, STUDENT

if TYPE_CHECKING:
    from contextlib import ExitStack

    from learn2talk_core.animation.life import Life
    from learn2talk_core.export.livelink import Sender

MODEL = f" (default: {STUDENT}, or the one in this package)"
Subparsers = argparse._SubParsersAction  # argparse has no public name for what `add_subparsers` returns


def add_face_option(command: argparse.ArgumentParser) -> None:
    """Add --face; --template is its older name."""
    command.add_argument(
        "--face",
        "--template",
        dest="template",
        metavar="FACE",
        help="a packaged character (ada, ben, carl), a speaker of the corpus, an .obj or a .ply",
    )


def add_page_options(command: argparse.ArgumentParser) -> None:
    """Add the options that `view` and `live` share."""
    command.add_argument("--model", help=f"student that animates sounds: folder, file or name{MODEL}")
    command.add_argument(
        "--corpus", default=CORPUS, help="corpus it was trained on: faces, voices (default: %(default)s)"
    )
    add_face_option(command)
    command.add_argument("--style", help="style for animated sounds, as in learn2talk animate")
    command.add_argument("--port", type=int, default=0, help="port of the server (default: a free one)")
    command.add_argument("--open", action="store_true", help="open the page in the browser")


def add_life_options(command: argparse.ArgumentParser, *, default: float | None = 0.0, unset: str = "off") -> None:
    """Add the options that `animate` and `live` share; `unset` says what happens without them."""
    life = command.add_argument_group("life", "motion besides speech; strengths 0 … 3: 0 is off, 1 is typical")
    life.add_argument(
        "--head", type=float, default=default, help=f"size of the head motion, which follows the voice ({unset})"
    )
    life.add_argument("--blinks", type=float, default=default, help=f"rate of blinks ({unset})")
    life.add_argument("--gaze", type=float, default=default, help=f"size of the glances ({unset})")
    life.add_argument("--seed", type=int, default=0, help="random seed of these three (default: %(default)s)")
    life.add_argument(
        "--head-model", metavar="PATH", help="SadTalker's PoseVAE, file or folder (default: our own small one)"
    )


def life_of(arguments: argparse.Namespace, unset: "Life | None" = None) -> "Life":
    """The values of the options that `add_life_options` adds; those not given are as in `unset`, or 0."""
    from learn2talk_core.animation.life import Life

    unset = Life() if unset is None else unset
    given = (arguments.head, arguments.blinks, arguments.gaze)
    head, blinks, gaze = (
        own if mine is None else mine for mine, own in zip(given, (unset.head, unset.blinks, unset.gaze), strict=True)
    )
    return Life(head, blinks, gaze, arguments.seed)


def add_receiver_options(command: argparse.ArgumentParser) -> None:
    """Add the options that send curves over the network."""
    send = command.add_argument_group("receivers", "send the curves while they are played, in real time, by UDP")
    send.add_argument("--to-livelink", metavar="HOST:PORT", help="packets of Live Link Face, for Unreal (port 11111)")
    send.add_argument("--subject", help="name under which Unreal shows the source (default: Learn2Talk)")
    send.add_argument("--to-osc", metavar="HOST:PORT", help="OSC: /arkit/jawOpen and so on, one float each")


def senders_of(arguments: argparse.Namespace, stack: "ExitStack") -> "list[Sender]":
    """The receivers of the options that `add_receiver_options` adds, open until `stack` ends."""
    from functools import partial

    from learn2talk_core.export.livelink import SUBJECT, Sender, livelink_packet, osc_bundle

    senders = []
    if arguments.to_livelink is not None:
        packet = partial(livelink_packet, subject=arguments.subject or SUBJECT)
        senders.append(stack.enter_context(Sender(arguments.to_livelink, "--to-livelink", packet)))
    if arguments.to_osc is not None:
        senders.append(stack.enter_context(Sender(arguments.to_osc, "--to-osc", osc_bundle)))
    return senders
