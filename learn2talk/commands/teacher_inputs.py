"""`learn2talk teacher-inputs`: write the sounds and still images that a 2D teacher takes."""

import argparse

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.paths import CORPUS


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("teacher-inputs", help="write the sounds and still images that a 2D teacher takes")
    parser.add_argument("folder", help="output folder; gets audio/CLIP.wav, images/*.png, clips.csv")
    parser.add_argument("--corpus", default=CORPUS, help="corpus with the clips and their sound (default: %(default)s)")
    parser.add_argument("--only", metavar="FILE", help="only the clips named in this file, one per line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.corpus.format import open_corpus
    from learn2talk_core.run.config import load_params
    from learn2talk_core.teacher.folder import listed, write_inputs
    from learn2talk_core.teacher.settings import TeacherVideo
    from learn2talk_core.teacher.videos import taught_clips
    from learn2talk_core.video.stills import choose_stills
    from learn2talk_core.video.talking_video import open_talking_video

    params = load_params(TeacherVideo, "teacher_video")
    corpus = open_corpus(arguments.corpus)
    clips = taught_clips(corpus, params.test_clips)
    clips = listed(arguments.only, clips) if arguments.only else clips
    stills = choose_stills(corpus.templates, open_talking_video(params.stills), params.still)
    table = write_inputs(arguments.folder, corpus, clips, stills)
    print(
        f"{len(table)} sounds and {table['image'].nunique()} images; pairs are listed in {arguments.folder}/clips.csv"
    )
    return 0
