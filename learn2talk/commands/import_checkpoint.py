"""`learn2talk import-checkpoint`: convert published weights to a model folder of this project."""

import argparse

from learn2talk.commands.export_checkpoint import KINDS
from learn2talk.commands.options import Subparsers

IMPORT_ONLY = ("whisper", "syncnet", "expnet", "posevae")


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "import-checkpoint", help="check published weights and write them as a model folder of this project"
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="weights and accompanying files; see docs/checkpoints.md"
    )
    parser.add_argument("--as", dest="kind", choices=(*KINDS, *IMPORT_ONLY), required=True, help="kind of model")
    parser.add_argument("--out", help="folder to write (default: checkpoints/KIND)")
    parser.add_argument("--corpus", help="for FaceFormer: corpus it must match; not needed for published ones")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.exchange import TAKES, import_checkpoint

    out = arguments.out or f"checkpoints/{arguments.kind}"
    print(f"{out}: {import_checkpoint(arguments.files, arguments.kind, out, arguments.corpus)}")
    print(f"use it: {TAKES[arguments.kind].use.format(folder=out)}")
    return 0
