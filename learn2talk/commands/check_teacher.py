"""`learn2talk check-teacher`: list the videos of a 2D teacher that are rejected, and why."""

import argparse
import sys

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.paths import CORPUS


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("check-teacher", help="list the videos of a 2D teacher that are rejected, and why")
    parser.add_argument("folder", help="folder of videos named by clip, such as S00_01.mp4, or data/teacher_video")
    parser.add_argument("--corpus", default=CORPUS, help="corpus with the clips and their sound (default: %(default)s)")
    parser.add_argument("--face", choices=("still", "landmarks"), help="default: teacher_video.face in params.yaml")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--redo", metavar="FILE", help="write the names of the rejected clips, one per line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import json

    from learn2talk_core.corpus.format import open_corpus
    from learn2talk_core.run.config import load_params
    from learn2talk_core.run.files import check_file, whole_file
    from learn2talk_core.teacher.folder import check_teacher
    from learn2talk_core.teacher.settings import TeacherVideo
    from learn2talk_core.teacher.videos import taught_clips
    from learn2talk_core.video.landmarks import mediapipe_faces
    from learn2talk_core.video.stills import choose_stills
    from learn2talk_core.video.talking_video import open_talking_video

    if arguments.redo:
        check_file(arguments.redo)
    params = load_params(TeacherVideo, "teacher_video")
    corpus = open_corpus(arguments.corpus)
    find = mediapipe_faces() if (arguments.face or params.face) == "landmarks" else None
    stills = choose_stills(corpus.templates, open_talking_video(params.stills), params.still) if find is None else {}
    report = check_teacher(arguments.folder, corpus, taught_clips(corpus, params.test_clips), stills, find)
    if arguments.redo:
        with whole_file(arguments.redo) as partial:
            partial.write_text("".join(f"{clip}\n" for clip, _ in report.refused))
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print(*report.notes, f"{report.checked - len(report.refused)} of {report.checked} videos pass", sep="\n")
        for clip, reason in report.refused:
            print(f"{clip}: {reason}", file=sys.stderr)
    return 1 if report.refused else 0
