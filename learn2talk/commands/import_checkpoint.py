"""`learn2talk import-checkpoint`: published weights to a folder of ours."""

import argparse

from learn2talk.commands.export_checkpoint import KINDS
from learn2talk.commands.options import Subparsers

IMPORT_ONLY = ("syncnet", "expnet", "posevae")


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "import-checkpoint", help="check published weights and write them as a folder of ours"
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="weights and what belongs to them: docs/checkpoints.md"
    )
    parser.add_argument("--as", dest="kind", choices=(*KINDS, *IMPORT_ONLY), required=True, help="what they are")
    parser.add_argument("--out", help="folder to write (default: checkpoints/KIND)")
    parser.add_argument("--corpus", help="for a FaceFormer: the corpus that it must fit; published ones can do without")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.exchange import TAKES, import_checkpoint

    out = arguments.out or f"checkpoints/{arguments.kind}"
    print(f"{out}: {import_checkpoint(arguments.files, arguments.kind, out, arguments.corpus)}")
    print(f"use it: {TAKES[arguments.kind].use.format(folder=out)}")
    return 0
