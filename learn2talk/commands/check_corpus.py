"""`learn2talk check-corpus`: list what a corpus or dataset contains and what is wrong with it."""

import argparse

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import CORPUS


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "check-corpus", help="list what a corpus or dataset contains and what is wrong with it"
    )
    parser.add_argument(
        "corpus", nargs="?", default=CORPUS, help="folder of a corpus or dataset (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--dataset", choices=("vocaset", "biwi", "folder"), help="which dataset (default: detected)")
    own = parser.add_argument_group(
        "how to read a dataset", "same as corpus.source in params.yaml; see docs/datasets.md"
    )
    own.add_argument("--recipe", choices=("codetalker", "metric"), help="BIWI recipe (default: codetalker)")
    own.add_argument("--fps", type=float, help="own data: frame rate of the motion")
    own.add_argument("--mm-per-unit", type=float, help="own data: millimetres per unit of the meshes")
    own.add_argument(
        "--axes", nargs=3, help="own data: the axes that point left, up and out of the face, such as x z -y"
    )
    own.add_argument("--lips", help="file in the dataset's folder that lists the lip vertices")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict
    from pathlib import Path

    from learn2talk_core.datasets.checks import as_text, check_corpus, check_dataset, from_error
    from learn2talk_core.datasets.settings import Settings, guess_dataset

    path = Path(arguments.corpus)
    canonical = arguments.dataset is None and ((path / "corpus.json").is_file() or path == Path(CORPUS))
    dataset = arguments.dataset
    try:
        if canonical:
            contents, problems = check_corpus(path)
        else:
            dataset = dataset or guess_dataset(path)
            settings = Settings(
                path=str(path),
                recipe=arguments.recipe or ("codetalker" if dataset == "biwi" else None),
                fps=arguments.fps,
                mm_per_unit=arguments.mm_per_unit,
                axes=None if arguments.axes is None else tuple(arguments.axes),
                lips=arguments.lips,
                upper_face=None,
                mouth=None,
                audio_offset_ms=0.0,
            )
            contents, problems = check_dataset(dataset, settings)
    except BadInput as error:
        contents, problems = [], [from_error(error)]
    bad = any(problem.severity == "error" for problem in problems)
    if arguments.json:
        kind = "corpus" if canonical else dataset
        report = {"path": str(path), "kind": kind, "contents": contents, "problems": [asdict(p) for p in problems]}
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(contents))
        print(as_text(problems) or "no problems")
    return 1 if bad else 0
