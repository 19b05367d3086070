"""`learn2talk animate`: for each sound, write a folder with video, vertices, meshes or scenes."""

import argparse
from typing import TYPE_CHECKING

from learn2talk.commands.options import Subparsers, add_life_options, life_of
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import CORPUS, OUT, STUDENT

if TYPE_CHECKING:
    from learn2talk_core.export.formats import Writer

EXAMPLES = """examples:
  learn2talk animate speech.wav -o out/
  learn2talk animate speech.mp3 film.mp4 --format mp4,npz,glb --fps 60
  learn2talk animate speech.wav --style S03 --template S00
  learn2talk animate speech.wav --style S00=0.5,S03=0.5 --template head.obj
  learn2talk animate speech.wav --head 0.5 --blinks 1 --gaze 1 --seed 0
  learn2talk animate speech.wav --avatar out/avatar --turntable 6
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
        "--model", default=STUDENT, help="model folder, or FaceFormer's vocaset.pth or biwi.pth (%(default)s)"
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
    parser.add_argument("--flame", metavar="FILE", help="FLAME's model file: for the format flame, and FLAME avatars")
    splats = parser.add_argument_group("avatar", "mp4, ply, glb and usd of a splat avatar instead of the mesh")
    splats.add_argument("--avatar", metavar="FOLDER", help="the avatar (learn2talk avatar train)")
    splats.add_argument("--view", default="0,0", metavar="YAW,PITCH", help="camera's angles in degrees (%(default)s)")
    splats.add_argument("--turntable", type=float, default=0.0, metavar="SECONDS", help="a turn around the head (off)")
    splats.add_argument("--size", type=int, default=384, help="height and width of the picture (%(default)s)")
    add_life_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from learn2talk_core.export.animate_files import animate_files

    formats = [name.strip() for name in arguments.format.split(",")]
    writers = None if arguments.avatar is None else _avatar_writers(arguments)
    folders = animate_files(
        arguments.audio,
        arguments.out,
        formats=formats,
        writers=writers,
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


def _avatar_writers(arguments: argparse.Namespace) -> "dict[str, Writer]":
    """The formats that show the avatar."""
    from learn2talk_core.avatar.avatar import FLAME, load_avatar
    from learn2talk_core.avatar.flame_head import load_flame_rig
    from learn2talk_core.avatar.formats import Framing, avatar_formats

    try:
        yaw, pitch = (float(angle) for angle in arguments.view.split(","))
    except ValueError:
        fix = "For example 30,10."
        raise BadInput("--view", expected="two angles in degrees", found=arguments.view, fix=fix) from None
    if not (abs(yaw) <= 360 and abs(pitch) < 90 and 0 <= arguments.turntable < 1e6):
        found = f"{yaw:g}, {pitch:g} and {arguments.turntable:g} s"
        fix = "Correct --view or --turntable."
        raise BadInput("--view", expected="a pitch within 90 degrees, seconds from 0", found=found, fix=fix)
    if arguments.size % 2 or not 16 <= arguments.size <= 4096:
        raise BadInput("--size", expected="an even number, 16 … 4096", found=str(arguments.size), fix="Change it.")
    avatar = load_avatar(arguments.avatar)
    rig = load_flame_rig(arguments.flame) if avatar.rig == FLAME and arguments.flame else None
    return avatar_formats(avatar, Framing(yaw, pitch, arguments.turntable, arguments.size), rig)
