"""`learn2talk score-video`: lip sync and image quality of 2D videos."""

import argparse
import sys

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.errors import BadInput


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "score-video", help="lip sync and image quality of 2D videos: LSE-D, LSE-C, FID, CPBD, CSIM"
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="a video, a folder of videos, or a 2D corpus")
    parser.add_argument(
        "--audio", help="use this sound instead of the videos' own: a file, or a folder with one file per video"
    )
    parser.add_argument("--reference", metavar="FOLDER", help="real videos with the same names, for FID and CSIM")
    parser.add_argument(
        "--syncnet", metavar="FILE", help="syncnet_v2.model (default: this project's own 2D sync expert)"
    )
    parser.add_argument("--inception", metavar="FILE", help="pytorch-fid's weights, for FID")
    parser.add_argument("--arcface", metavar="FILE", help="face recognition network in ONNX format, for CSIM")
    parser.add_argument("--crops", action="store_true", help="the videos are face crops made by SyncNet's own pipeline")
    parser.add_argument(
        "--every", type=int, default=5, metavar="N", help="FID, CPBD and CSIM use every N-th frame (%(default)s)"
    )
    parser.add_argument("--csv", metavar="FILE", help="also write the table to this file")
    parser.add_argument("--json", metavar="FILE", help="write table, protocols and problems to this file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict
    from functools import cache
    from pathlib import Path

    from learn2talk_core.evaluation.video_scores import LIPREADER, load_video_judges, score_videos, video_records
    from learn2talk_core.report.video_table import video_score_table, write_csv
    from learn2talk_core.run.files import check_file, write_json
    from learn2talk_core.video.footage import films_of
    from learn2talk_core.video.landmarks import mediapipe_faces

    if arguments.every < 1:
        raise BadInput("--every", expected="at least 1", found=str(arguments.every), fix="1 uses every frame.")
    for path in filter(None, (arguments.csv, arguments.json)):
        check_file(path)
    find = cache(mediapipe_faces)
    films = films_of(arguments.videos, find, audio=arguments.audio, crops=arguments.crops)
    reference = arguments.reference and films_of([arguments.reference], find, crops=arguments.crops, stills=True)
    own_reader = reference and not arguments.inception and Path(LIPREADER).is_dir()
    judges = load_video_judges(
        syncnet=arguments.syncnet,
        inception=arguments.inception,
        arcface=arguments.arcface,
        reader=LIPREADER if own_reader else None,
    )
    table = score_videos(films, judges, reference=reference or None, every=arguments.every)
    if table.rows:
        print(video_score_table(video_records(table), table.protocol, table.absent))
    if table.rows and arguments.csv:
        write_csv(arguments.csv, video_records(table))
    if arguments.json:
        write_json(arguments.json, asdict(table))
    for problem in table.problems:
        print(f"{problem['video']}: not scored: {problem['error']}", file=sys.stderr)
    return 1 if table.problems else 0
