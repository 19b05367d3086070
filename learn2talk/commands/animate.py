"""`learn2talk animate`: for each sound, write a folder with video, vertices, meshes or scenes."""

import argparse

from learn2talk.commands.options import MODEL, Subparsers, add_life_options, life_of
from learn2talk_core.run.paths import CORPUS, OUT

EXAMPLES = """examples:
  learn2talk animate speech.wav -o out/
  learn2talk animate speech.mp3 film.mp4 --format mp4,npz,glb --fps 60
  learn2talk animate speech.wav --style S03 --template S00
  learn2talk animate speech.wav --style S00=0.5,S03=0.5 --template head.obj
  learn2talk animate speech.wav --head 0.5 --blinks 1 --gaze 1 --seed 0
  ffmpeg -i film.mkv -f wav - | learn2talk animate - --format npy
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "animate",
        help="speech in, animation out: video, vertices, meshes, glTF, USD, ARKit, FLAME",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Animate a face from speech. The folder OUT/NAME of a sound appears once its files are complete.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "audio", nargs="+", metavar="AUDIO", help="audio file of any format, sample rate and length; - is stdin"
    )
    parser.add_argument("-o", "--out", default=OUT, help="output folder (default: %(default)s)")
    parser.add_argument(
        "--model", help=f"model folder, name of a student, or FaceFormer's vocaset.pth or biwi.pth{MODEL}"
    )
    parser.add_argument("--corpus", default=CORPUS, help="corpus it was trained on: faces, voices (%(default)s)")
    parser.add_argument(
        "--style", default="auto", help="a training speaker, a mixture such as S00=1,S03=2, or auto: most similar voice"
    )
    parser.add_argument(
        "--format", default="mp4", help="any of mp4,npy,npz,obj,ply,glb,usd,arkit,flame (default: %(default)s)"
    )
    parser.add_argument("--fps", type=float, help="frame rate of the result (default: the model's)")
    parser.add_argument(
        "--template", help="the face: a speaker of the corpus, an .obj or a .ply (default: the style's speaker)"
    )
    parser.add_argument(
        "--transfer",
        metavar="FILE",
        help="correspondence for a template in another topology; computed and written if missing",
    )
    parser.add_argument(
        "--mm-per-unit",
        type=float,
        default=1000.0,
        help="unit of a template used without a corpus (%(default)g)",
    )
    parser.add_argument(
        "--chunk", type=float, help="seconds of speech encoded at once (default: all if up to ten minutes, else 20)"
    )
    parser.add_argument(
        "--shapes", metavar="FILE", help="blend shapes for arkit, blinks and gaze if the mesh is not the embedded head"
    )
    parser.add_argument("--flame", metavar="FILE", help="for flame: FLAME's generic_model.pkl")
    add_life_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.export.animate_files import animate_files

    folders = animate_files(
        arguments.audio,
        arguments.out,
        formats=[name.strip() for name in arguments.format.split(",")],
        style=arguments.style,
        fps=arguments.fps,
        chunk=arguments.chunk,
        shapes=arguments.shapes,
        flame=arguments.flame,
        model=arguments.model,
        corpus=arguments.corpus,
        template=arguments.template,
        transfer=arguments.transfer,
        mm_per_unit=arguments.mm_per_unit,
        life=life_of(arguments),
        head_model=arguments.head_model,
    )
    for folder in folders:
        for path in sorted(folder.iterdir()):
            print(path)
    return 0
