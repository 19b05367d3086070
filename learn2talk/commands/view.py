"""`learn2talk view`: show motions side by side in the browser."""

import argparse
from typing import TYPE_CHECKING

from learn2talk.commands.options import Subparsers, add_page_options
from learn2talk_core.run.paths import DATA, OUT

if TYPE_CHECKING:
    from learn2talk_core.animation.animator import Animator

EXAMPLES = """examples:
  learn2talk view                                  the last run: truth, FaceFormer, Learn2Talk
  learn2talk view data ../other/data               two runs side by side
  learn2talk view out/                             output of learn2talk animate --format npz,mp4
  learn2talk view a.npz b.npz --audio speech.wav   two motions side by side
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "view",
        help="show motions side by side in the browser, with sound, errors and blind comparison",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve the viewer to this machine only and print its address. Ctrl-C stops it.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        default=[DATA],
        metavar="PATH",
        help="runs, output folders of animate, .npz, .npy (default: data)",
    )
    parser.add_argument(
        "--audio", metavar="FILE", help="sound of motion files (default: the file of the same name beside each)"
    )
    parser.add_argument("--fps", type=float, help="frame rate of the motion, if a file does not contain it")
    parser.add_argument(
        "--mm-per-unit", type=float, help="millimetres per unit of the motion, if a file does not contain it"
    )
    parser.add_argument(
        "--out", default=f"{OUT}/view", help="folder for the recorded preferences (default: %(default)s)"
    )
    parser.add_argument("--avatar", metavar="FOLDER", help="show this splat avatar beside each motion of its mesh")
    add_page_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import webbrowser
    from pathlib import Path

    from learn2talk.viewer.app import App
    from learn2talk.viewer.server import serve
    from learn2talk.viewer.sources import find_viewer_clips

    def load() -> "Animator":
        from learn2talk_core.animation.loading import load_animator

        animator = load_animator(arguments.model, corpus=arguments.corpus, template=arguments.template)
        return animator.pictured() if arguments.template is None else animator

    clips = find_viewer_clips(
        arguments.paths,
        audio=arguments.audio,
        corpus=arguments.corpus,
        template=arguments.template,
        fps=arguments.fps,
        mm_per_unit=arguments.mm_per_unit,
    )
    avatar = None
    if arguments.avatar is not None:
        from learn2talk_core.avatar.avatar import load_avatar

        avatar = load_avatar(arguments.avatar)
    app = App(clips, load, style=arguments.style, out=Path(arguments.out), avatar=avatar)
    serve(app, port=arguments.port, open_page=webbrowser.open if arguments.open else None)
    return 0
