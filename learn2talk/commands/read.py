"""`learn2talk read`: the text that the lips of a 3D motion say."""

import argparse

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.paths import CORPUS, STUDENTS


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "read",
        help="read the lips of a 3D motion with the interpreter of a SelfTalk",
        description="Prints what the lips say: words, or phonemes where the interpreter learnt no characters.",
        epilog="learn2talk read talking.npz\nlearn2talk read a.npy b.npy --fps 30 --template S00",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("motions", nargs="+", metavar="MOTION", help="vertices as .npy or .npz (docs/score.md)")
    parser.add_argument("--model", default=f"{STUDENTS}/selftalk", help="folder of a SelfTalk (default: %(default)s)")
    parser.add_argument("--corpus", default=CORPUS, help="corpus whose mesh the motion has (default: %(default)s)")
    parser.add_argument("--fps", type=float, help="frame rate of the motion, if the file does not contain it")
    parser.add_argument("--mm-per-unit", type=float, help="millimetres per unit of the motion (default: the corpus's)")
    parser.add_argument("--template", help="the resting face: a speaker of the corpus, or an .obj or .ply")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.corpus.format import open_corpus
    from learn2talk_core.evaluation.lip_reading import load_interpreter, read_lip_text

    corpus = open_corpus(arguments.corpus)
    interpreter = load_interpreter(arguments.model, corpus)
    for motion in arguments.motions:
        read = read_lip_text(
            motion, interpreter, corpus,
            fps=arguments.fps, mm_per_unit=arguments.mm_per_unit, template=arguments.template,
        )  # fmt: skip
        print(f"{motion}: {read.text}" if len(arguments.motions) > 1 else read.text)
        for note in read.notes:
            print(f"  note: {note}")
    return 0
