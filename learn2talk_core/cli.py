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

    score = commands.add_parser(
        "score-video", help="lip sync and picture quality of 2D videos: LSE-D, LSE-C, FID, CPBD, CSIM"
    )
    score.add_argument("videos", nargs="+", metavar="VIDEO", help="a video, a folder of videos, or a 2D corpus")
    score.add_argument("--audio", help="a sound file instead of the videos' own, or a folder with one for each video")
    score.add_argument("--reference", metavar="FOLDER", help="real videos of the same names, for FID and CSIM")
    score.add_argument("--syncnet", metavar="FILE", help="syncnet_v2.model (default: this project's own 2D expert)")
    score.add_argument("--inception", metavar="FILE", help="pytorch-fid's weights, for FID")
    score.add_argument("--arcface", metavar="FILE", help="a face recogniser in ONNX, for CSIM")
    score.add_argument("--crops", action="store_true", help="the videos are face crops of SyncNet's own pipeline")
    score.add_argument(
        "--every", type=int, default=5, metavar="N", help="FID, CPBD and CSIM look at each N-th picture (%(default)s)"
    )
    score.add_argument("--csv", metavar="FILE", help="write the table there too")
    score.add_argument("--json", metavar="FILE", help="write table, protocols and problems there")
    score.set_defaults(run=_score_video)

    results = commands.add_parser("results", help="print the result table of the last run and where its pictures lie")
    results.set_defaults(run=_results)
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


def _score_video(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict
    from functools import cache
    from pathlib import Path

    from learn2talk_core.corpus.films import films_of
    from learn2talk_core.corpus.landmarks import mediapipe_faces
    from learn2talk_core.files import write_json
    from learn2talk_core.report.video_table import console, write_csv
    from learn2talk_core.video_scores import LIPREADER, load_judges, records, score_videos

    if arguments.every < 1:
        raise BadInput("--every", expected="at least 1", found=str(arguments.every), fix="1 looks at every picture.")
    find = cache(mediapipe_faces)
    films = films_of(arguments.videos, find, audio=arguments.audio, crops=arguments.crops)
    reference = arguments.reference and films_of([arguments.reference], find, crops=arguments.crops, stills=True)
    own_reader = reference and not arguments.inception and Path(LIPREADER).is_dir()
    judges = load_judges(
        syncnet=arguments.syncnet,
        inception=arguments.inception,
        arcface=arguments.arcface,
        reader=LIPREADER if own_reader else None,
    )
    table = score_videos(films, judges, reference=reference or None, every=arguments.every)
    if table.rows:
        print(console(records(table), table.protocol, table.absent))
    if table.rows and arguments.csv:
        write_csv(arguments.csv, records(table))
    if arguments.json:
        write_json(arguments.json, asdict(table))
    for problem in table.problems:
        print(f"{problem['video']}: not scored: {problem['error']}", file=sys.stderr)
    return 1 if table.problems else 0


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
