"""`learn2talk animate`: for each sound, write a folder with video, avatar, curves, meshes or scenes."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learn2talk.commands.options import (
    MODEL,
    Subparsers,
    add_face_option,
    add_life_options,
    add_receiver_options,
    life_of,
    senders_of,
)
from learn2talk_core.run.paths import CORPUS, OUT

if TYPE_CHECKING:
    from learn2talk_core.animation.settings import Control
    from learn2talk_core.animation.transcript import Aligner
    from learn2talk_core.export.animate_files import AnimatedLine
    from learn2talk_core.export.formats import Writer
    from learn2talk_core.export.picture import Picture

MESHES = (".obj", ".ply")
EXAMPLES = """formats:
  mp4 npy npz obj ply usd flame
  glb glb-exact fbx                    an avatar with ARKit's targets, the exact motion, the avatar by Blender
  onto                                 your own avatar, given with --onto
  arkit metahuman visemes vrm rhubarb unity godot talkinghead      curves

examples:
  learn2talk animate speech.wav -o out/
  learn2talk animate speech.mp3 film.mp4 --format mp4,npz,glb --fps 60
  learn2talk animate speech.wav --face ben --style S03 --size 1280x720 --background white --camera head:20
  learn2talk animate lines/ --format arkit --jobs 2
  learn2talk animate speech.wav --onto avatar.glb
  learn2talk animate speech.wav --gain jaw=1.3,lips=1.1 --smooth 10 --expression smile=0.4 --edits speech.json
  learn2talk animate speech.wav --text "what is said" --format visemes,rhubarb
  learn2talk animate speech.wav --style S00=0.5,S03=0.5 --face head.obj
  learn2talk animate speech.wav --to-livelink 192.168.1.20:11111
  learn2talk animate speech.wav --avatar out/avatar --view 20,10 --turntable 6
  ffmpeg -i film.mkv -f wav - | learn2talk animate - --format npy
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "animate",
        help="speech in, animation out: video, avatar, curves, vertices, meshes, glTF, USD, FLAME",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Animate a face from speech. The folder OUT/NAME of a sound appears once its files are complete.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "audio",
        nargs="+",
        metavar="AUDIO",
        help="audio file of any format, sample rate and length; a folder with such files at any depth, of which only "
        "those are animated that have changed; - is stdin",
    )
    parser.add_argument("-o", "--out", default=OUT, help="output folder (default: %(default)s)")
    parser.add_argument(
        "--model", help=f"model folder, name of a student, or FaceFormer's vocaset.pth or biwi.pth{MODEL}"
    )
    parser.add_argument("--corpus", default=CORPUS, help="corpus it was trained on: faces, voices (%(default)s)")
    parser.add_argument(
        "--style",
        default="auto",
        help="a training speaker, a mixture such as S00=1,S03=2, or auto: most similar to the first voice",
    )
    parser.add_argument(
        "--format", help="formats of the list below, with commas (default: mp4, or with --onto only onto)"
    )
    parser.add_argument("--fps", type=float, help="frame rate of the result (default: the model's)")
    add_face_option(parser)
    parser.add_argument(
        "--transfer",
        metavar="FILE",
        help="correspondence for a face in another topology; computed and written if missing",
    )
    parser.add_argument(
        "--mm-per-unit",
        type=float,
        default=1000.0,
        help="unit of a mesh used without a corpus (%(default)g)",
    )
    parser.add_argument(
        "--chunk", type=float, help="seconds of speech encoded at once (default: all if up to ten minutes, else 20)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="sounds animated at the same time (default: %(default)s)")
    parser.add_argument(
        "--shapes", metavar="FILE", help="blend shapes for curves, blinks and gaze if the mesh is not the embedded head"
    )
    parser.add_argument("--flame", metavar="FILE", help="FLAME's model file: for the format flame, and FLAME avatars")
    parser.add_argument("--onto", metavar="AVATAR.glb", help="write the curves into this avatar with ARKit's targets")
    parser.add_argument("--visemes", action="store_true", help="for glb: add the 15 Oculus visemes as targets")
    _add_control(parser)
    picture = parser.add_argument_group("picture", "how mp4 shows the face, or the splat avatar")
    picture.add_argument("--size", help="pixels, such as 512 or 1280x720 (default: 384)")
    picture.add_argument("--background", help="a colour, such as white or #20242c")
    picture.add_argument(
        "--camera", help="face, head or bust, with an angle: head:30 (default: head for a character, face for others)"
    )
    splats = parser.add_argument_group("avatar", "mp4, ply, glb and usd of a splat avatar instead of the mesh")
    splats.add_argument("--avatar", metavar="FOLDER", help="the avatar (learn2talk avatar train)")
    splats.add_argument("--view", default="0,0", metavar="YAW,PITCH", help="camera's angles in degrees (%(default)s)")
    splats.add_argument("--turntable", type=float, default=0.0, metavar="SECONDS", help="a turn around the head (off)")
    add_life_options(parser, default=None, unset="on in mp4, off in other formats")
    add_receiver_options(parser)
    parser.set_defaults(run=run)


def _add_control(parser: argparse.ArgumentParser) -> None:
    control = parser.add_argument_group("control", "changes to the motion; lips that are closed stay closed")
    control.add_argument(
        "--gain", default="", metavar="NAME=NUMBER,…", help="factors for jaw, lips, cheeks, tongue, a shape or a viseme"
    )
    control.add_argument(
        "--smooth", type=float, default=12.0, metavar="HERTZ",
        help="low pass without delay, with this cut-off; 0: none (default: %(default)g)",
    )  # fmt: skip
    control.add_argument("--no-rest", action="store_true", help="let the face move in pauses of the sound")
    control.add_argument(
        "--expression", default="", metavar="NAME=NUMBER,…", help="smile, sad, angry, surprised, … over the speech"
    )
    control.add_argument("--edits", metavar="FILE", help="keys, gains and offsets per time range, JSON or CSV")
    control.add_argument("--text", help="what is said, or a file with it (default: the .txt beside each sound)")


def run(arguments: argparse.Namespace) -> int:
    formats = [name.strip() for name in (arguments.format or ("onto" if arguments.onto else "mp4")).split(",")]
    _check_early(arguments, formats)
    control = _control(arguments)
    from learn2talk_core.export.picture import parse_picture

    picture = parse_picture(arguments.size, arguments.background, arguments.camera)
    from contextlib import ExitStack

    from learn2talk_core.export.animate_files import VIDEO_LIFE, animate_files

    writers, writers_about = ({}, {}) if arguments.avatar is None else _avatar_writers(arguments, picture)
    aligner, aligned_by = _aligner()
    results = []
    with ExitStack() as stack:
        made = animate_files(
            arguments.audio,
            arguments.out,
            formats=list(dict.fromkeys([*formats, *(["onto"] if arguments.onto else [])])),
            style=arguments.style,
            fps=arguments.fps,
            chunk=arguments.chunk,
            shapes=arguments.shapes,
            flame=arguments.flame,
            onto=arguments.onto,
            visemes=arguments.visemes,
            picture=picture,
            writers=writers,
            writers_about=writers_about,
            life=life_of(arguments),
            shown_life=life_of(arguments, VIDEO_LIFE),
            control=control,
            text=_text(arguments.text),
            aligner=aligner,
            aligned_by=aligned_by,
            senders=senders_of(arguments, stack),
            jobs=arguments.jobs,
            template=arguments.template,
            model=arguments.model,
            corpus=arguments.corpus,
            transfer=arguments.transfer,
            mm_per_unit=arguments.mm_per_unit,
            head_model=arguments.head_model,
        )
        for one in made:
            results.append(one)
            if one.state == "made" and not one.line.found:
                for path in sorted(one.folder.iterdir()):
                    print(path)
    return _report(results)


def _check_early(arguments: argparse.Namespace, formats: list[str]) -> None:
    """Say what is missing before the libraries are loaded, which takes seconds."""
    from learn2talk_core.export.blender import need_blender
    from learn2talk_core.export.names import check_names
    from learn2talk_core.export.receiver import receiver_address
    from learn2talk_core.run.errors import BadInput
    from learn2talk_core.run.find_model import find_model

    given = [(option, getattr(arguments, option)) for option in ("edits", "onto", "shapes", "flame")]
    given += [("face", arguments.template)] if Path(arguments.template or "").suffix.lower() in MESHES else []
    given += [("text", arguments.text)] if (arguments.text or "").endswith(".txt") else []
    for option, path in given:
        if path is not None and not Path(path).is_file():
            raise BadInput(path, expected=f"a file for --{option}", found="nothing", fix="Check the path.")
    if arguments.avatar is not None and not Path(arguments.avatar).is_dir():
        fix = "Make one: learn2talk avatar train."
        raise BadInput(arguments.avatar, expected="a folder for --avatar", found="nothing", fix=fix)
    if arguments.corpus != CORPUS and not Path(arguments.corpus).is_dir():
        raise BadInput(arguments.corpus, expected="a folder for --corpus", found="nothing", fix="Check the path.")
    names = [Path(source).stem for source in arguments.audio]
    absent = [source for source in arguments.audio if source != "-" and not Path(source).exists()]
    if absent and len(set(names)) == len(names):
        raise BadInput(
            absent[0], expected="a sound file, or a folder with sounds", found="nothing", fix="Check the path."
        )
    check_names(formats, "--format")
    for option in ("to_livelink", "to_osc"):
        if (where := getattr(arguments, option)) is not None:
            receiver_address(where, f"--{option.replace('_', '-')}")
    _check_speakers(arguments, find_model(arguments.model))
    if "fbx" in formats:
        need_blender()


def _check_speakers(arguments: argparse.Namespace, model: Path) -> None:
    """Say that a face or a style is unknown, as far as that stands in the JSON files of model and corpus. Whatever else
    is wrong with these files is said by their readers."""
    from learn2talk_core.run.errors import BadInput
    from learn2talk_core.run.paths import CHARACTERS, corpus_of

    styles = _names_in(model / "model.json")
    style = arguments.style
    wanted = [part.partition("=")[0].strip() for part in style.split(",")] if "=" in style else [style]
    unknown = [] if style == "auto" else [name for name in wanted if name not in styles]
    if styles and unknown:
        expected = f"one or a mixture of {', '.join(styles)}"
        raise BadInput("--style", expected=expected, found=unknown[0], fix="Choose one, or auto.")
    faces = _names_in(Path(corpus_of(model, arguments.corpus) or "") / "corpus.json")
    characters = sorted(path.stem for path in CHARACTERS.glob("*.npz"))
    face = arguments.template
    if faces and face is not None and Path(face).suffix.lower() not in MESHES and face not in (*faces, *characters):
        expected = f"a character, {', '.join(characters)}, a speaker of the corpus, or a mesh"
        raise BadInput("--face", expected=expected, found=face, fix=f"The speakers are {', '.join(faces)}.")


def _names_in(path: Path) -> list[str]:
    """The speakers that a JSON file of a model or a corpus lists; none if it cannot be read."""
    from learn2talk_core.run.errors import BadInput
    from learn2talk_core.run.files import read_json

    try:
        found = read_json(path, made_by="make repro").get("speakers", [])
    except (BadInput, AttributeError, OSError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _control(arguments: argparse.Namespace) -> "Control":
    from learn2talk_core.animation.edits import parse_expressions, read_edits
    from learn2talk_core.animation.settings import Control, parse_gains

    edits = parse_expressions(arguments.expression)
    edits += read_edits(arguments.edits) if arguments.edits else ()
    return Control(parse_gains(arguments.gain), arguments.smooth or None, not arguments.no_rest, edits)


def _text(given: str | None) -> str | None:
    if given is None or not given.endswith(".txt"):
        return given
    from learn2talk_core.animation.transcript import read_text

    return read_text(Path(given))


def _avatar_writers(arguments: argparse.Namespace, picture: "Picture") -> "tuple[dict[str, Writer], dict[str, Any]]":
    """The formats that show the splat avatar, and what the manifest says of them."""
    from dataclasses import asdict

    from learn2talk_core.avatar.avatar import CLOUD, FLAME, WHITE, load_avatar
    from learn2talk_core.avatar.flame_head import load_flame_rig
    from learn2talk_core.avatar.formats import Framing, avatar_formats
    from learn2talk_core.corpus.format import sha256
    from learn2talk_core.run.errors import BadInput

    try:
        yaw, pitch = (float(angle) for angle in arguments.view.split(","))
    except ValueError:
        fix = "For example 30,10."
        raise BadInput("--view", expected="two angles in degrees", found=arguments.view, fix=fix) from None
    if not (abs(yaw) <= 360 and abs(pitch) < 90 and 0 <= arguments.turntable < 1e6):
        found = f"{yaw:g}, {pitch:g} and {arguments.turntable:g} s"
        fix = "Correct --view or --turntable."
        raise BadInput("--view", expected="a pitch within 90 degrees, seconds from 0", found=found, fix=fix)
    if arguments.camera is not None:
        fix = "Place the camera with --view."
        raise BadInput("--camera", expected="no camera of the mesh with --avatar", found=arguments.camera, fix=fix)
    avatar = load_avatar(arguments.avatar)
    rig = load_flame_rig(arguments.flame) if avatar.rig == FLAME and arguments.flame else None
    background = WHITE if arguments.background is None else picture.background
    shot = Framing(yaw, pitch, arguments.turntable, picture.width, picture.height, background)
    about = {"folder": arguments.avatar, "sha256": sha256(Path(arguments.avatar) / CLOUD), **asdict(shot)}
    return avatar_formats(avatar, shot, rig), {"avatar": about}


def _aligner() -> "tuple[Aligner, str]":
    """What aligns texts, and its name: the phoneme recogniser of the run, of weights/ or the package, else a voice."""
    from functools import cache

    from learn2talk_core.animation.transcript import align_by_voice
    from learn2talk_core.corpus.format import sha256
    from learn2talk_core.evaluation.speech_recognition import text_aligner
    from learn2talk_core.models.phoneme_head import SpeechRecogniser, load_recogniser
    from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
    from learn2talk_core.run.paths import (
        PACKAGED_PHONEME_HEAD,
        PACKAGED_SPEECH_ENCODER,
        PHONEME_HEAD,
        SPEECH_ENCODER,
    )

    places = (
        (SPEECH_ENCODER, PHONEME_HEAD),
        ("weights/speech_encoder", "weights/phoneme_head"),
        (str(PACKAGED_SPEECH_ENCODER), str(PACKAGED_PHONEME_HEAD)),
    )
    for encoder, head in places:
        if Path(encoder).is_dir() and (Path(head) / "model.safetensors").is_file():

            @cache
            def load(encoder: str = encoder, head: str = head) -> SpeechRecogniser:
                return load_recogniser(load_speech_encoder(encoder), head, made_by="dvc repro phoneme_head")

            return text_aligner(load), f"{head}, sha256 {sha256(Path(head) / 'model.safetensors')}"
    return align_by_voice, "a synthetic voice"


def _report(results: "Sequence[AnimatedLine]") -> int:
    """Print a table of what was made, if there was a folder, and what failed; returns the exit status."""
    import sys

    if any(one.line.found for one in results):
        width = max(len(one.line.name) for one in results)
        print(f"{'line':{width}}  state    sound  frames   took")
        for one in results:
            print(f"{one.line.name:{width}}  {one.state:7} {one.seconds:5.1f} s {one.frames:6d} {one.took:5.2f} s")
        made = [one for one in results if one.state == "made"]
        failed = sum(one.state == "failed" for one in results)
        print(f"{len(made)} made, {len(results) - len(made) - failed} current, {failed} failed")
    for one in results:
        if one.state == "failed":
            print(f"{one.line.name}: {one.error}", file=sys.stderr)
    return 1 if any(one.state == "failed" for one in results) else 0
