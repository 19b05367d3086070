"""The command `learn2talk`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from learn2talk_core.errors import BadInput


def main(words: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit status."""
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return arguments.run(arguments)
    except BadInput as error:
        print(f"learn2talk {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"learn2talk {arguments.command}: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="learn2talk", description="3D talking faces that learn from 2D ones.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    show = commands.add_parser("show-corpus", help="contact sheet with phonemes and a video with sound of one clip")
    show.add_argument("corpus", nargs="?", default="data/corpus", help="folder of the corpus (default: %(default)s)")
    show.add_argument("--clip", help="id of the clip (default: the first)")
    show.add_argument("--out", default="out", help="folder for the pictures (default: %(default)s)")
    show.set_defaults(run=_show_corpus)

    check = commands.add_parser("check-corpus", help="say what a corpus holds and what is wrong with it")
    check.add_argument("corpus", nargs="?", default="data/corpus", help="folder of the corpus (default: %(default)s)")
    check.set_defaults(run=_check_corpus)

    results = commands.add_parser("results", help="print the result table of the last run and where its pictures lie")
    results.set_defaults(run=_results)

    kinds = ("wav2vec2", "faceformer", "wav2lip", "lipsync-expert", "lipreader")
    take = commands.add_parser("import-checkpoint", help="check published weights and write them as a folder of ours")
    take.add_argument("files", nargs="+", metavar="FILE", help="weights and what belongs to them: docs/checkpoints.md")
    take.add_argument("--as", dest="kind", choices=kinds, required=True, help="what they are")
    take.add_argument("--out", help="folder to write (default: checkpoints/KIND)")
    take.add_argument("--corpus", help="for a FaceFormer: the corpus that it must fit; published ones can do without")
    take.set_defaults(run=_import_checkpoint)

    give = commands.add_parser("export-checkpoint", help="write a model of ours as the published code reads it")
    give.add_argument("folder", help="the model, such as data/models/student")
    give.add_argument("--as", dest="kind", choices=kinds, required=True, help="what it is")
    give.add_argument("out", help="file to write; for wav2vec2 and lipreader a folder")
    give.set_defaults(run=_export_checkpoint)

    pack = commands.add_parser("pack", help="a model with its origin, scores and model card, as a folder for a hub")
    pack.add_argument("model", help="the model, such as data/models/student")
    pack.add_argument("out", help="folder to write")
    pack.set_defaults(run=_pack)
    return parser


# Each command imports what it needs, so that `--help` answers at once.


def _show_corpus(arguments: argparse.Namespace) -> int:
    from learn2talk_core.report.contact_sheet import show_corpus

    for path in show_corpus(arguments.corpus, arguments.out, arguments.clip):
        print(path)
    return 0


def _check_corpus(arguments: argparse.Namespace) -> int:
    from learn2talk_core.corpus.check import check_corpus

    contents, problems = check_corpus(arguments.corpus)
    print("\n".join(contents))
    if problems:
        print("\nproblems:", *problems, sep="\n", file=sys.stderr)
        return 1
    print("no problems")
    return 0


def _import_checkpoint(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.exchange import TAKES, import_checkpoint

    out = arguments.out or f"checkpoints/{arguments.kind}"
    print(f"{out}: {import_checkpoint(arguments.files, arguments.kind, out, arguments.corpus)}")
    print(f"use it: dvc exp run -S {TAKES[arguments.kind][1]}={out}")
    return 0


def _export_checkpoint(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.exchange import export_checkpoint

    notes = export_checkpoint(arguments.folder, arguments.kind, arguments.out)
    print(arguments.out, *notes, sep="\n")
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.pack import pack

    pack(arguments.model.rstrip("/"), arguments.out)
    print(f"{arguments.out}/README.md")
    return 0


def _results(_: argparse.Namespace) -> int:
    from pathlib import Path

    from learn2talk_core.files import read_json
    from learn2talk_core.report.table import console

    print(console(read_json("metrics/evaluate.json", made_by="make repro")))
    print("table      data/report/report.md")
    print("video      data/report/side_by_side.mp4")
    for picture in sorted(Path("metrics/plots").glob("*.png")):
        print(f"picture    {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
