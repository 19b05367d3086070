"""`learn2talk score`: whether a 3D motion is in sync with its sound, and how late the mouth is."""

import argparse
import sys
from typing import TYPE_CHECKING

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import CORPUS, SYNCNET3D

if TYPE_CHECKING:
    from pathlib import Path

    from learn2talk_core.evaluation.motion_sync import SyncScore
    from learn2talk_core.evaluation.pairs import Pair, PairRow


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "score",
        help="score the synchrony of a 3D motion and a sound, and by how many milliseconds the mouth is late",
        description="LSE-D, LSE-C, and the lag with its confidence and its curve over the clip. In tables a positive\n"
        "lag means that the mouth is late (behind its sound). For videos the 2D sync expert measures the lag.",
        epilog="learn2talk score --audio a.wav --motion a.npy --fps 30 --template S00\n"
        "learn2talk score pairs/ --fps 30 --csv scores.csv\n"
        "learn2talk score video.mp4",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="a folder of sounds and motions with matching names, or videos"
    )
    parser.add_argument("--audio", nargs="+", default=[], metavar="FILE", help="sounds, one per motion")
    parser.add_argument(
        "--motion", nargs="+", default=[], metavar="FILE", help="vertices as .npy or .npz (docs/score.md)"
    )
    parser.add_argument("--fps", type=float, help="frame rate of the motion, if the file does not contain it")
    parser.add_argument("--mm-per-unit", type=float, help="millimetres per unit of the motion (default: the corpus's)")
    parser.add_argument("--template", help="the resting face: a speaker of the corpus, or an .obj or .ply")
    parser.add_argument(
        "--trim", action="store_true", help="score the common duration, however much the lengths differ"
    )
    parser.add_argument("--corpus", default=CORPUS, help="corpus whose mesh the motion has (default: %(default)s)")
    parser.add_argument(
        "--syncnet", default=f"{SYNCNET3D}/metric", help="SyncNet3D used as the metric (default: %(default)s)"
    )
    parser.add_argument(
        "--calibration", metavar="FILE", help="calibration of the confidence (default: the one in this package)"
    )
    parser.add_argument("--crops", action="store_true", help="the videos are face crops made by SyncNet's own pipeline")
    parser.add_argument("--out", metavar="FOLDER", help="folder for the lag curve of each pair, as PNG and CSV")
    parser.add_argument("--csv", metavar="FILE", help="write the table to this file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.evaluation.pairs import find_pairs
    from learn2talk_core.report.video_table import write_csv
    from learn2talk_core.run.files import check_file

    if arguments.csv:
        check_file(arguments.csv)
    pairs, videos = find_pairs(arguments.paths, arguments.audio, arguments.motion)
    rows = []
    if pairs:
        rows += _score_pairs(pairs, arguments)
    if videos:
        rows += _score_videos(videos, arguments)
    if arguments.csv:
        write_csv(arguments.csv, rows)
    for row in rows:
        if row["error"] is not None:
            print(f"{row['pair']}: not scored: {row['error']}", file=sys.stderr)
    return 1 if any(row["error"] is not None for row in rows) else 0


def _score_pairs(pairs: "list[Pair]", arguments: argparse.Namespace) -> "list[PairRow]":
    """Score the pairs; a pair that fails becomes a row with its error, and scoring continues."""
    from learn2talk_core.evaluation.motion_sync import open_scorer, score_files
    from learn2talk_core.evaluation.pairs import as_row, failed_row
    from learn2talk_core.run.progress import progress

    rows = []
    scorer = open_scorer(arguments.syncnet, arguments.corpus, arguments.calibration)
    for pair in progress(pairs, "pairs", unit="pair") if len(pairs) > 1 else pairs:
        try:
            found = score_files(
                pair.audio,
                pair.motion,
                scorer,
                fps=arguments.fps,
                mm_per_unit=arguments.mm_per_unit,
                template=arguments.template,
                trim=arguments.trim,
            )
        except BadInput as error:
            rows.append(failed_row(pair.name, str(error)))
            continue
        rows.append(as_row(pair.name, found))
        _tell(pair.name, found)
        if arguments.out is not None:
            _write_curve(arguments.out, pair.name, found)
    return rows


def _tell(name: str, found: "SyncScore") -> None:
    from learn2talk_core.evaluation.motion_sync import verdict

    print(f"{name}: {verdict(found)}; LSE-D {found.lse_d:.3f}, LSE-C {found.lse_c:.3f}, {found.seconds:.1f} s")
    for note in found.notes:
        print(f"  note: {note}")
    for excess in found.outside:
        print(f"  outside the range of the training data: {excess}")


def _write_curve(out: str, name: str, found: "SyncScore") -> None:
    """Write `NAME.png` and `NAME.csv` with the lag over the clip."""
    from learn2talk_core.evaluation.motion_sync import verdict
    from learn2talk_core.report.png import save_png
    from learn2talk_core.report.sync_curve import sync_curve
    from learn2talk_core.report.video_table import write_csv

    title = f"{name}: {verdict(found)}"
    figure = sync_curve(title, found.shifts_ms, found.distances, found.mouth_late_ms, found.curve, found.frame_ms)
    save_png(f"{out}/{name}.png", figure)
    write_csv(f"{out}/{name}.csv", found.curve)


def _score_videos(videos: "list[Path]", arguments: argparse.Namespace) -> "list[PairRow]":
    """Score videos with the 2D sync expert."""
    from functools import cache

    from learn2talk_core.evaluation.pairs import video_rows
    from learn2talk_core.evaluation.video_scores import load_video_judges, sync_of_videos
    from learn2talk_core.video.footage import films_of
    from learn2talk_core.video.landmarks import mediapipe_faces

    films = films_of(videos, cache(mediapipe_faces), crops=arguments.crops)
    rows = video_rows(*sync_of_videos(films, load_video_judges().sync))
    for row in rows:
        if row["error"] is None:
            late = row["mouth_late_ms"]
            side = "late" if late > 0 else "early"
            print(f"{row['pair']}: the mouth is {abs(late):.0f} ms {side}; LSE-D {row['lse_d']:.3f} (2D)")
    return rows
