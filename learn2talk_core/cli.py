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

    teacher = commands.add_parser("check-teacher", help="say which videos of a 2D teacher will not do, and why")
    teacher.add_argument("folder", help="videos named by clip, such as S00_01.mp4, or data/teacher_video")
    teacher.add_argument("--corpus", default="data/corpus", help="the clips and their sound (default: %(default)s)")
    teacher.add_argument("--face", choices=("still", "landmarks"), help="default: teacher_video.face of params.yaml")
    teacher.add_argument("--json", action="store_true", help="print JSON")
    teacher.add_argument("--redo", metavar="FILE", help="write the names of the clips that are refused, one a line")
    teacher.set_defaults(run=_check_teacher)

    inputs = commands.add_parser("teacher-inputs", help="write the sounds and still images that a 2D teacher takes")
    inputs.add_argument("folder", help="where to: audio/CLIP.wav, images/*.png, clips.csv")
    inputs.add_argument("--corpus", default="data/corpus", help="the clips and their sound (default: %(default)s)")
    inputs.add_argument("--only", metavar="FILE", help="only the clips named in this file, one a line")
    inputs.set_defaults(run=_teacher_inputs)

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


def _check_teacher(arguments: argparse.Namespace) -> int:
    import json

    from learn2talk_core.config import load_params
    from learn2talk_core.corpus.format import open_corpus
    from learn2talk_core.corpus.landmarks import mediapipe_faces
    from learn2talk_core.corpus.stills import choose_stills
    from learn2talk_core.corpus.talking_video import open_talking_video
    from learn2talk_core.corpus.teacher_folder import check_teacher
    from learn2talk_core.corpus.teacher_videos import taught_clips
    from learn2talk_core.files import whole_file
    from stages.teacher_video import VIDEO, Params

    params = load_params(Params, "teacher_video")
    corpus = open_corpus(arguments.corpus)
    find = mediapipe_faces() if (arguments.face or params.face) == "landmarks" else None
    stills = choose_stills(corpus.templates, open_talking_video(VIDEO), params.still) if find is None else {}
    report = check_teacher(arguments.folder, corpus, taught_clips(corpus, params.test_clips), stills, find)
    if arguments.redo:
        with whole_file(arguments.redo) as partial:
            partial.write_text("".join(f"{clip}\n" for clip, _ in report.refused))
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print(*report.notes, f"{report.checked - len(report.refused)} of {report.checked} videos pass", sep="\n")
        print(*(f"{clip}: {reason}" for clip, reason in report.refused), sep="\n", end="", file=sys.stderr)
    return 1 if report.refused else 0


def _teacher_inputs(arguments: argparse.Namespace) -> int:
    from learn2talk_core.config import load_params
    from learn2talk_core.corpus.format import open_corpus
    from learn2talk_core.corpus.stills import choose_stills
    from learn2talk_core.corpus.talking_video import open_talking_video
    from learn2talk_core.corpus.teacher_folder import listed, write_inputs
    from learn2talk_core.corpus.teacher_videos import taught_clips
    from stages.teacher_video import VIDEO, Params

    params = load_params(Params, "teacher_video")
    corpus = open_corpus(arguments.corpus)
    clips = taught_clips(corpus, params.test_clips)
    clips = listed(arguments.only, clips) if arguments.only else clips
    stills = choose_stills(corpus.templates, open_talking_video(VIDEO), params.still)
    table = write_inputs(arguments.folder, corpus, clips, stills)
    print(f"{len(table)} sounds and {table['image'].nunique()} images; which go together: {arguments.folder}/clips.csv")
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
