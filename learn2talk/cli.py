"""The command `learn2talk`."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from learn2talk_core.run.errors import BadInput

if TYPE_CHECKING:
    from learn2talk.viewer.scene import ViewerClip
    from learn2talk_core.animation.animator import Animator

ANIMATE_EXAMPLES = """examples:
  learn2talk animate speech.wav -o out/
  learn2talk animate speech.mp3 film.mp4 --format mp4,npz,glb --fps 60
  learn2talk animate speech.wav --style S03 --template S00
  learn2talk animate speech.wav --style S00=0.5,S03=0.5 --template head.obj
  learn2talk animate speech.wav --head 0.5 --blinks 1 --gaze 1 --seed 0
  ffmpeg -i film.mkv -f wav - | learn2talk animate - --format npy
"""

VIEW_EXAMPLES = """examples:
  learn2talk view                                  the last run: truth, FaceFormer, Learn2Talk
  learn2talk view data ../other/data               two runs side by side
  learn2talk view out/                             what learn2talk animate --format npz,mp4 made
  learn2talk view a.npz b.npz --audio speech.wav   two motions side by side
"""

LIVE_EXAMPLES = """examples:
  learn2talk live              the microphone, in the browser
  learn2talk live speech.wav   a file, as if it were spoken now
  learn2talk live --blinks 1 --gaze 1 --head 0.5 --look-ahead 1.7
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns the exit status."""
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return arguments.run(arguments)
    except BadInput as error:
        print(f"learn2talk {arguments.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where, fix = error.filename or "a file", "Check its permissions and the space on its disk."
        known = BadInput(where, expected="to read or write it", found=error.strerror or str(error), fix=fix)
        print(f"learn2talk {arguments.command}: {known}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"learn2talk {arguments.command}: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="learn2talk", description="3D talking faces that learn from 2D ones.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    animate = commands.add_parser(
        "animate",
        help="speech in, animation out: video, vertices, meshes, glTF, USD, ARKit, FLAME",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a face speak. For each sound the folder OUT/NAME appears when all in it is whole.",
        epilog=ANIMATE_EXAMPLES,
    )
    animate.add_argument("audio", nargs="+", metavar="AUDIO", help="sound of any format, rate and length; - is stdin")
    animate.add_argument("-o", "--out", default="out", help="folder (default: %(default)s)")
    animate.add_argument(
        "--model",
        default="data/models/students/learn2talk",
        help="a folder, or FaceFormer's vocaset.pth or biwi.pth (%(default)s)",
    )
    animate.add_argument("--corpus", default="data/corpus", help="of its training: faces, voices (%(default)s)")
    animate.add_argument(
        "--style", default="auto", help="a training speaker, a mixture such as S00=1,S03=2, or auto: the nearest voice"
    )
    animate.add_argument(
        "--format", default="mp4", help="some of mp4,npy,npz,obj,ply,glb,usd,arkit,flame (default: %(default)s)"
    )
    animate.add_argument("--fps", type=float, help="frames a second (default: the model's)")
    animate.add_argument(
        "--template", help="the face: a speaker of the corpus, an .obj or a .ply (default: the style's speaker)"
    )
    animate.add_argument(
        "--transfer", metavar="FILE", help="for a template in another topology: its correspondence, made if missing"
    )
    animate.add_argument("--mm-per-unit", type=float, default=1000.0, help="of a template without corpus (%(default)g)")
    animate.add_argument(
        "--chunk", type=float, help="seconds of speech encoded at once (default: all up to ten minutes, else 20)"
    )
    animate.add_argument("--shapes", metavar="FILE", help="for arkit, blinks and gaze: blend shapes of another mesh")
    animate.add_argument("--flame", metavar="FILE", help="for flame: FLAME's generic_model.pkl")
    _life_options(animate)
    animate.set_defaults(run=_animate)

    view = commands.add_parser(
        "view",
        help="look at motion in the browser: side by side, with sound, errors, and blind comparison",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve a page on this machine alone; its address is printed. Ctrl-C ends it.",
        epilog=VIEW_EXAMPLES,
    )
    view.add_argument(
        "paths",
        nargs="*",
        default=["data"],
        metavar="PATH",
        help="runs, folders of animate, .npz, .npy (default: data)",
    )
    view.add_argument("--audio", metavar="FILE", help="sound of motion files (default: of the same name beside each)")
    view.add_argument("--fps", type=float, help="frames of motion a second, where a file does not say")
    view.add_argument("--mm-per-unit", type=float, help="millimetres per unit of the motion, where a file does not say")
    view.add_argument("--out", default="out/view", help="folder of the preferences (default: %(default)s)")
    _page_options(view)
    view.set_defaults(run=_view)

    live = commands.add_parser(
        "live",
        help="microphone or file to a talking face in the browser, in real time",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve the live page on this machine alone; its address is printed. Ctrl-C ends it.",
        epilog=LIVE_EXAMPLES,
    )
    live.add_argument("paths", nargs="*", metavar="AUDIO", help="sounds that can be played in place of the microphone")
    live.add_argument("--chunk", type=float, default=0.4, help="seconds encoded at once (default: %(default)s)")
    live.add_argument(
        "--look-ahead", type=float, default=0.4, help="seconds heard after a chunk (default: %(default)s)"
    )
    _page_options(live)
    _life_options(live)
    live.set_defaults(run=_live)

    show = commands.add_parser("show-corpus", help="contact sheet with phonemes and a video with sound of one clip")
    show.add_argument("corpus", nargs="?", default="data/corpus", help="folder of the corpus (default: %(default)s)")
    show.add_argument("--clip", help="id of the clip (default: the first)")
    show.add_argument("--out", default="out", help="folder for the pictures (default: %(default)s)")
    show.set_defaults(run=_show_corpus)

    check = commands.add_parser("check-corpus", help="say what a corpus or a dataset holds and what is wrong with it")
    check.add_argument("corpus", nargs="?", default="data/corpus", help="a corpus, or a dataset (default: %(default)s)")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument("--dataset", choices=("vocaset", "biwi", "folder"), help="which dataset (default: recognised)")
    own = check.add_argument_group("how to read a dataset", "as corpus.source in params.yaml: docs/datasets.md")
    own.add_argument("--recipe", choices=("codetalker", "metric"), help="of BIWI (default: codetalker)")
    own.add_argument("--fps", type=float, help="own data: frames of motion a second")
    own.add_argument("--mm-per-unit", type=float, help="own data: millimetres per unit of the meshes")
    own.add_argument(
        "--axes", nargs=3, help="own data: the axes that point left, up and out of the face, such as x z -y"
    )
    own.add_argument("--lips", help="list of lip vertices, a file in the dataset's folder")
    check.set_defaults(run=_check_corpus)

    fixtures = commands.add_parser("prepare-fixtures", help="write a small imitation of a dataset to try things on")
    fixtures.add_argument("dataset", choices=("vocaset", "biwi", "folder"))
    fixtures.add_argument("folder", help="is replaced")
    fixtures.add_argument("--seed", type=int, default=0)
    fixtures.set_defaults(run=_prepare_fixtures)

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

    sync = commands.add_parser(
        "score",
        help="how well a 3D motion and a sound are in sync, and by how many milliseconds the mouth is late",
        description="LSE-D, LSE-C, and the lag with a confidence and a curve over the clip. In tables a positive lag\n"
        "is a mouth that is late, behind its sound. Videos get the lag that the 2D expert finds.",
        epilog="learn2talk score --audio a.wav --motion a.npy --fps 30 --template S00\n"
        "learn2talk score pairs/ --fps 30 --csv scores.csv\n"
        "learn2talk score video.mp4",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sync.add_argument("paths", nargs="*", metavar="PATH", help="a folder of pairs with the same names, or videos")
    sync.add_argument("--audio", nargs="+", default=[], metavar="FILE", help="sounds, one for each motion")
    sync.add_argument(
        "--motion", nargs="+", default=[], metavar="FILE", help="vertices as .npy or .npz (docs/score.md)"
    )
    sync.add_argument("--fps", type=float, help="frames of motion a second, where the file does not say")
    sync.add_argument("--mm-per-unit", type=float, help="millimetres per unit of the motion (default: the corpus's)")
    sync.add_argument("--template", help="the resting face: a speaker of the corpus, or an .obj or .ply")
    sync.add_argument("--trim", action="store_true", help="compare what both have, however much their lengths differ")
    sync.add_argument("--corpus", default="data/corpus", help="whose mesh it is (default: %(default)s)")
    sync.add_argument("--syncnet", default="data/models/syncnet3d/metric", help="what judges (default: %(default)s)")
    sync.add_argument("--calibration", metavar="FILE", help="of the confidence (default: the one that comes with this)")
    sync.add_argument("--crops", action="store_true", help="videos are face crops of SyncNet's own pipeline")
    sync.add_argument("--out", metavar="FOLDER", help="write the curve of each pair there, PNG and CSV")
    sync.add_argument("--csv", metavar="FILE", help="write the table there")
    sync.set_defaults(run=_score)

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

    kinds = ("wav2vec2", "faceformer", "wav2lip", "lipsync-expert", "lipreader")
    import_only = ("syncnet", "expnet", "posevae")
    take = commands.add_parser("import-checkpoint", help="check published weights and write them as a folder of ours")
    take.add_argument("files", nargs="+", metavar="FILE", help="weights and what belongs to them: docs/checkpoints.md")
    take.add_argument("--as", dest="kind", choices=(*kinds, *import_only), required=True, help="what they are")
    take.add_argument("--out", help="folder to write (default: checkpoints/KIND)")
    take.add_argument("--corpus", help="for a FaceFormer: the corpus that it must fit; published ones can do without")
    take.set_defaults(run=_import_checkpoint)

    give = commands.add_parser("export-checkpoint", help="write a model of ours as the published code reads it")
    give.add_argument("folder", help="the model, such as data/models/students/learn2talk")
    give.add_argument("--as", dest="kind", choices=kinds, required=True, help="what it is")
    give.add_argument("out", help="file to write; for wav2vec2 and lipreader a folder")
    give.set_defaults(run=_export_checkpoint)

    pack = commands.add_parser("pack", help="a model with its origin, scores and model card, as a folder for a hub")
    pack.add_argument("model", help="the model, such as data/models/students/learn2talk")
    pack.add_argument("out", help="folder to write")
    pack.set_defaults(run=_pack)
    return parser


def _page_options(command: argparse.ArgumentParser) -> None:
    """What `view` and `live` share."""
    command.add_argument(
        "--model", default="data/models/students/learn2talk", help="what animates sounds (default: %(default)s)"
    )
    command.add_argument(
        "--corpus", default="data/corpus", help="of its training: faces, voices (default: %(default)s)"
    )
    command.add_argument("--template", help="a face: a speaker of the corpus, an .obj or a .ply")
    command.add_argument("--style", help="of sounds that are animated, as for learn2talk animate")
    command.add_argument("--port", type=int, default=0, help="of the address (default: a free one)")
    command.add_argument("--open", action="store_true", help="open the page in the browser")


def _life_options(command: argparse.ArgumentParser) -> None:
    """What `animate` and `live` share."""
    life = command.add_argument_group("life", "what moves besides the speech, 0 … 3: 0 is off, 1 is usual")
    life.add_argument("--head", type=float, default=0.0, help="head motion that goes with the voice: its size (off)")
    life.add_argument("--blinks", type=float, default=0.0, help="how often (off)")
    life.add_argument("--gaze", type=float, default=0.0, help="glances: their size (off)")
    life.add_argument("--seed", type=int, default=0, help="of these three (default: %(default)s)")
    life.add_argument(
        "--head-model", metavar="PATH", help="SadTalker's PoseVAE, file or folder (default: the small one of ours)"
    )


# Each command imports what it needs, so that `--help` answers at once.


def _animate(arguments: argparse.Namespace) -> int:
    from learn2talk.animate_files import animate_files
    from learn2talk_core.animation.life import Life

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
        life=Life(arguments.head, arguments.blinks, arguments.gaze, arguments.seed),
        head_model=arguments.head_model,
    )
    for folder in folders:
        for path in sorted(folder.iterdir()):
            print(path)
    return 0


def _view(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from learn2talk.viewer.sources import find_viewer_clips

    clips = find_viewer_clips(
        arguments.paths,
        audio=arguments.audio,
        corpus=arguments.corpus,
        template=arguments.template,
        fps=arguments.fps,
        mm_per_unit=arguments.mm_per_unit,
    )
    return _serve(arguments, clips, "", lambda: _load(arguments), out=Path(arguments.out))


def _live(arguments: argparse.Namespace) -> int:
    from learn2talk.viewer.sources import sound_clip
    from learn2talk_core.animation.life import Life

    clips = [sound_clip(path) for path in arguments.paths]
    life = Life(arguments.head, arguments.blinks, arguments.gaze, arguments.seed)
    settings: dict[str, Any] = {"chunk": arguments.chunk, "look_ahead": arguments.look_ahead, "life": life}
    # What is wrong with it is said here, and nobody waits for it on the page.
    animator = _load(arguments, head_model=arguments.head_model)
    animator.stream(style=arguments.style, **settings)
    return _serve(arguments, clips, "live.html", lambda: animator, **settings)


def _load(arguments: argparse.Namespace, **settings: Any) -> "Animator":
    from learn2talk_core.animation.animator import load_animator

    return load_animator(arguments.model, corpus=arguments.corpus, template=arguments.template, **settings)


def _serve(
    arguments: argparse.Namespace, clips: "list[ViewerClip]", page: str, load: Callable[[], "Animator"], **settings: Any
) -> int:
    import webbrowser

    from learn2talk.viewer.app import App
    from learn2talk.viewer.server import serve

    app = App(clips, load, style=arguments.style, **settings)
    serve(app, port=arguments.port, page=page, open_page=webbrowser.open if arguments.open else None)
    return 0


def _show_corpus(arguments: argparse.Namespace) -> int:
    from learn2talk_core.report.contact_sheet import show_corpus

    for path in show_corpus(arguments.corpus, arguments.out, arguments.clip):
        print(path)
    return 0


def _check_corpus(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict
    from pathlib import Path

    from learn2talk_core.datasets.checks import as_text, check_corpus, check_dataset, from_error
    from learn2talk_core.datasets.settings import Settings, guess_dataset

    path = Path(arguments.corpus)
    canonical = arguments.dataset is None and ((path / "corpus.json").is_file() or path == Path("data/corpus"))
    dataset = arguments.dataset
    try:
        if canonical:
            contents, problems = check_corpus(path)
        else:
            dataset = dataset or guess_dataset(path)
            settings = Settings(
                path=str(path),
                recipe=arguments.recipe or ("codetalker" if dataset == "biwi" else None),
                fps=arguments.fps,
                mm_per_unit=arguments.mm_per_unit,
                axes=None if arguments.axes is None else tuple(arguments.axes),
                lips=arguments.lips,
                upper_face=None,
                mouth=None,
                audio_offset_ms=0.0,
            )
            contents, problems = check_dataset(dataset, settings)
    except BadInput as error:
        contents, problems = [], [from_error(error)]
    bad = any(problem.severity == "error" for problem in problems)
    if arguments.json:
        kind = "corpus" if canonical else dataset
        report = {"path": str(path), "kind": kind, "contents": contents, "problems": [asdict(p) for p in problems]}
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(contents))
        print(as_text(problems) or "no problems")
    return 1 if bad else 0


def _prepare_fixtures(arguments: argparse.Namespace) -> int:
    import shlex

    from learn2talk_core.datasets.fixtures import write_fixture

    source = write_fixture(arguments.dataset, arguments.folder, arguments.seed)
    options = [word for name, value in source.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    _, path, *others = options
    print(shlex.join(["learn2talk", "check-corpus", path, "--dataset", arguments.dataset, *others]))
    values = [f"dataset={arguments.dataset}", *(f"corpus.source.{name}={value}" for name, value in source.items())]
    print(shlex.join(["dvc", "exp", "run", *(word for value in values for word in ("-S", value))]))
    return 0


def _import_checkpoint(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.exchange import TAKES, import_checkpoint

    out = arguments.out or f"checkpoints/{arguments.kind}"
    print(f"{out}: {import_checkpoint(arguments.files, arguments.kind, out, arguments.corpus)}")
    print(f"use it: {TAKES[arguments.kind].use.format(folder=out)}")
    return 0


def _export_checkpoint(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.exchange import export_checkpoint

    notes = export_checkpoint(arguments.folder, arguments.kind, arguments.out)
    print(arguments.out, *notes, sep="\n")
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    from learn2talk_core.checkpoints.pack import pack

    pack(arguments.model.rstrip("/"), arguments.out)
    print(f"{arguments.out}/README.md")
    return 0


def _score_video(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict
    from functools import cache
    from pathlib import Path

    from learn2talk_core.evaluation.video_scores import LIPREADER, load_video_judges, score_videos, video_records
    from learn2talk_core.report.video_table import video_score_table, write_csv
    from learn2talk_core.run.files import write_json
    from learn2talk_core.video.footage import films_of
    from learn2talk_core.video.landmarks import mediapipe_faces

    if arguments.every < 1:
        raise BadInput("--every", expected="at least 1", found=str(arguments.every), fix="1 looks at every picture.")
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


def _score(arguments: argparse.Namespace) -> int:
    from functools import cache

    from learn2talk.score_command import find_pairs, score_pairs, video_rows
    from learn2talk_core.evaluation.motion_sync import open_scorer
    from learn2talk_core.evaluation.video_scores import load_video_judges, sync_of_videos
    from learn2talk_core.report.video_table import write_csv
    from learn2talk_core.video.footage import films_of
    from learn2talk_core.video.landmarks import mediapipe_faces

    pairs, videos = find_pairs(arguments.paths, arguments.audio, arguments.motion)
    rows = []
    if pairs:
        rows += score_pairs(
            pairs,
            open_scorer(arguments.syncnet, arguments.corpus, arguments.calibration),
            fps=arguments.fps,
            mm_per_unit=arguments.mm_per_unit,
            template=arguments.template,
            trim=arguments.trim,
            out=arguments.out,
        )
    if videos:
        films = films_of(videos, cache(mediapipe_faces), crops=arguments.crops)
        rows += (found := video_rows(*sync_of_videos(films, load_video_judges().sync)))
        for row in found:
            if row["error"] is None:
                late = row["mouth_late_ms"]
                side = "late" if late > 0 else "early"
                print(f"{row['pair']}: the mouth is {abs(late):.0f} ms {side}; LSE-D {row['lse_d']:.3f} (2D)")
    if arguments.csv:
        write_csv(arguments.csv, rows)
    for row in rows:
        if row["error"] is not None:
            print(f"{row['pair']}: not scored: {row['error']}", file=sys.stderr)
    return 1 if any(row["error"] is not None for row in rows) else 0


def _check_teacher(arguments: argparse.Namespace) -> int:
    import json

    from learn2talk_core.corpus.format import open_corpus
    from learn2talk_core.run.config import load_params
    from learn2talk_core.run.files import whole_file
    from learn2talk_core.teacher.folder import check_teacher
    from learn2talk_core.teacher.settings import TeacherVideo
    from learn2talk_core.teacher.videos import taught_clips
    from learn2talk_core.video.landmarks import mediapipe_faces
    from learn2talk_core.video.stills import choose_stills
    from learn2talk_core.video.talking_video import open_talking_video

    params = load_params(TeacherVideo, "teacher_video")
    corpus = open_corpus(arguments.corpus)
    find = mediapipe_faces() if (arguments.face or params.face) == "landmarks" else None
    stills = (
        choose_stills(corpus.templates, open_talking_video("data/talking_video"), params.still) if find is None else {}
    )
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
    stills = choose_stills(corpus.templates, open_talking_video("data/talking_video"), params.still)
    table = write_inputs(arguments.folder, corpus, clips, stills)
    print(f"{len(table)} sounds and {table['image'].nunique()} images; which go together: {arguments.folder}/clips.csv")
    return 0


def _results(_: argparse.Namespace) -> int:
    from pathlib import Path

    from learn2talk_core.report.table import result_table
    from learn2talk_core.run.files import read_json

    print(result_table(read_json("metrics/evaluate.json", made_by="make repro")))
    print("table      data/report/report.md")
    print("video      data/report/side_by_side.mp4")
    for picture in sorted(Path("metrics/plots").glob("*.png")):
        print(f"picture    {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
