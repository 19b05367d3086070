"""`learn2talk pack`: a model as a folder for a hub."""

import argparse

from learn2talk.commands.options import Subparsers


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("pack", help="a model with its origin, scores and model card, as a folder for a hub")
    parser.add_argument("model", help="the model, such as data/models/student")
    parser.add_argument("out", help="folder to write")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.pack import pack

    pack(arguments.model.rstrip("/"), arguments.out)
    print(f"{arguments.out}/README.md")
    return 0
