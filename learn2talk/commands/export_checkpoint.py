"""`learn2talk export-checkpoint`: write one of our models in the format of the published code."""

import argparse

from learn2talk.commands.options import Subparsers

KINDS = (
    "wav2vec2", "faceformer", "selftalk", "codetalker", "meshtalk", "voca", "wav2lip", "lipsync-expert", "lipreader",
)  # fmt: skip


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "export-checkpoint", help="write one of our models in the format of the published code"
    )
    parser.add_argument("folder", help="model folder, such as data/models/students/learn2talk")
    parser.add_argument("--as", dest="kind", choices=KINDS, required=True, help="kind of model")
    parser.add_argument("out", help="file to write (a folder for wav2vec2, lipreader, codetalker and meshtalk)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.exchange import export_checkpoint

    notes = export_checkpoint(arguments.folder, arguments.kind, arguments.out)
    print(arguments.out, *notes, sep="\n")
    return 0
