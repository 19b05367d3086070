"""`learn2talk pack`: write a model as a folder that can be uploaded to a model hub."""

import argparse

from learn2talk.commands.options import Subparsers


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("pack", help="write a model with origin, scores and model card, for a model hub")
    parser.add_argument("model", help="model folder, such as data/models/students/learn2talk")
    parser.add_argument("out", help="folder to write")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.pack import pack

    pack(arguments.model.rstrip("/"), arguments.out)
    print(f"{arguments.out}/README.md")
    return 0
