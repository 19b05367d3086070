"""`learn2talk show-corpus`: write pictures and a video of one clip."""

import argparse

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.paths import CORPUS, OUT


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "show-corpus", help="write a contact sheet with phonemes, and a video with sound, of one clip"
    )
    parser.add_argument("corpus", nargs="?", default=CORPUS, help="folder of the corpus (default: %(default)s)")
    parser.add_argument("--clip", help="id of the clip (default: the first)")
    parser.add_argument("--out", default=OUT, help="folder for the pictures (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.report.contact_sheet import show_corpus

    for path in show_corpus(arguments.corpus, arguments.out, arguments.clip):
        print(path)
    return 0
