"""`learn2talk prepare-fixtures`: write a small synthetic dataset in the format of a real one."""

import argparse

from learn2talk.commands.options import Subparsers


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "prepare-fixtures", help="write a small synthetic dataset in the format of a real one, to try things on"
    )
    parser.add_argument("dataset", choices=("vocaset", "biwi", "folder"))
    parser.add_argument("folder", help="folder to write; an existing one is replaced only if this command made it")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import shlex

    from learn2talk_core.datasets.fixtures import write_fixture

    source = write_fixture(arguments.dataset, arguments.folder, arguments.seed)
    options = [word for name, value in source.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    _, path, *others = options
    print(shlex.join(["learn2talk", "check-corpus", path, "--dataset", arguments.dataset, *others]))
    values = [f"dataset={arguments.dataset}", *(f"corpus.source.{name}={value}" for name, value in source.items())]
    print(shlex.join(["dvc", "exp", "run", *(word for value in values for word in ("-S", value))]))
    return 0
