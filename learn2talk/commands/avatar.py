"""`learn2talk avatar`: a talking head of Gaussian splats, from pictures of a head from many sides."""

import argparse

from learn2talk.commands.options import Subparsers
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import CORPUS

MOST_REFINED = 1000.0
EXAMPLES = """examples:
  learn2talk avatar record -o out/head             our own head: pictures from many cameras
  learn2talk avatar train out/head -o out/avatar
  learn2talk avatar train VHAP_EXPORT --flame flame2023.pkl -o out/avatar
  learn2talk avatar import point_cloud.ply --flame flame2023.pkl --parameters flame_param.npz -o out/avatar
  learn2talk avatar flame recording.csv --flame flame2023.pkl -o out/motion.npz
  learn2talk avatar judge out/avatar
  learn2talk animate speech.wav --avatar out/avatar --turntable 6
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "avatar",
        help="a talking head of Gaussian splats: record, train, import",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a splat avatar, which learn2talk animate --avatar drives by speech.",
        epilog=EXAMPLES,
    )
    parser.set_defaults(run=run)
    inner = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    record = inner.add_parser("record", help="render our own head from many cameras, with true parameters")
    record.add_argument("-o", "--out", required=True, help="folder for the pictures")
    record.add_argument("--cameras", type=int, default=16, help="training cameras (default: %(default)s)")
    record.add_argument("--close", type=int, default=6, help="training cameras at the mouth (default: %(default)s)")
    record.add_argument("--every", type=int, default=3, help="an expression is seen by one in so many of the other "
                        "training cameras (default: %(default)s)")  # fmt: skip
    record.add_argument("--expressions", type=int, default=192, help="training expressions (default: %(default)s)")
    record.add_argument("--size", type=int, default=256, help="height and width in pixels (default: %(default)s)")
    record.add_argument("--seed", type=int, default=0, help="random seed: another person (default: %(default)s)")

    train = inner.add_parser("train", help="train on a folder of pictures with cameras and motion")
    train.add_argument("images", metavar="IMAGES", help="folder of record, or VHAP's export")
    train.add_argument("-o", "--out", required=True, help="folder for the avatar")
    train.add_argument("--flame", metavar="FILE", help="FLAME's model file, for VHAP's export")
    train.add_argument("--steps", type=int, default=12_000, help="pictures drawn (default: %(default)s; paper: 600000)")
    train.add_argument("--most", type=int, default=40_000, help="largest number of splats (default: %(default)s)")
    train.add_argument(
        "--refine", type=float, default=1.0, metavar="FACTOR",
        help="on the paper's rates at which FLAME's tracked parameters are refined; 0 leaves them (%(default)g)",
    )  # fmt: skip
    train.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")

    other = inner.add_parser("import", help="import the point_cloud.ply of a trained GaussianAvatars avatar")
    other.add_argument("cloud", metavar="PLY", help="point_cloud.ply, with binding_0")
    other.add_argument("--flame", metavar="FILE", required=True, help="FLAME's model file that it was trained with")
    other.add_argument("--parameters", metavar="NPZ", required=True, help="flame_param.npz of the same head")
    other.add_argument("-o", "--out", required=True, help="folder for the avatar")

    flame = inner.add_parser("flame", help="weights of ARKit's shapes to FLAME's expression and jaw")
    flame.add_argument("weights", metavar="WEIGHTS", help="CSV of Live Link Face, or CSV or JSON of animate")
    flame.add_argument("--flame", metavar="FILE", required=True, help="FLAME's model file")
    flame.add_argument("--fps", type=float, help="frame rate of the recording (default: that of the JSON, or 60)")
    flame.add_argument("-o", "--out", required=True, metavar="NPZ", help="file for FLAME's parameters")

    judge = inner.add_parser("judge", help="lip sync and lip reading of the splats beside the mesh's")
    judge.add_argument("avatar", metavar="AVATAR", help="folder of train")
    judge.add_argument("--corpus", default=CORPUS, help="corpus of the avatar's mesh (default: %(default)s)")
    judge.add_argument("--split", default="test_seen", help="its clips (default: %(default)s)")
    judge.add_argument("--clips", type=int, default=10, help="at most this many (default: %(default)s)")
    judge.add_argument("--json", metavar="FILE", help="also write the scores to this file")
    judge.add_argument(
        "--video", metavar="FILE", help="also write the first clip as mesh and splats side by side (mp4)"
    )


def run(arguments: argparse.Namespace) -> int:
    return {"record": _record, "train": _train, "import": _import, "flame": _flame, "judge": _judge}[arguments.what](
        arguments
    )


def _record(arguments: argparse.Namespace) -> int:
    from learn2talk_core.avatar.own_head import RECORDED, HeadSession, record_head
    from learn2talk_core.run.own_folder import check_own

    for name, least in (("cameras", 2), ("close", 0), ("every", 1), ("expressions", 2), ("size", 32)):
        _at_least(f"--{name}", getattr(arguments, name), least)
    check_own(arguments.out, RECORDED)
    session = HeadSession(
        cameras=arguments.cameras, close=arguments.close, every=arguments.every, expressions=arguments.expressions,
        size=arguments.size, seed=arguments.seed,
    )  # fmt: skip
    print(f"{arguments.out}: {record_head(arguments.out, session)} pictures")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    import torch

    from learn2talk_core.avatar.make import TRAINED, AvatarInputs, train_into
    from learn2talk_core.avatar.training import shortened
    from learn2talk_core.run.own_folder import check_own

    _at_least("--steps", arguments.steps, 1)
    _at_least("--most", arguments.most, 1)
    if not 0 <= arguments.refine <= MOST_REFINED:
        expected = f"a factor of 0 … {MOST_REFINED:g}"
        raise BadInput("--refine", expected=expected, found=f"{arguments.refine:g}", fix="1 is the paper's.")
    check_own(arguments.out, TRAINED)
    torch.set_num_threads(1)  # the rendering kernels have their own threads
    schedule = shortened(arguments.steps, most=arguments.most, seed=arguments.seed, refine=arguments.refine)
    metrics = train_into(arguments.out, AvatarInputs(arguments.images, arguments.flame), schedule)
    print(f"{arguments.out}: {metrics['splats']} splats")
    for name in ("views", "expressions"):
        if name in metrics:
            row = metrics[name]
            print(f"  held-out {name}: PSNR {row['psnr_db']:.2f} dB ({row['psnr_head_db']:.2f} on the head), "
                  f"SSIM {row['ssim']:.3f}, sharpness {row['sharpness']:.2f}")  # fmt: skip
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from learn2talk_core.avatar.make import IMPORTED, import_avatar
    from learn2talk_core.run.own_folder import check_own

    check_own(arguments.out, IMPORTED)
    avatar = import_avatar(arguments.cloud, arguments.flame, arguments.parameters, arguments.out)
    print(f"{arguments.out}: {len(avatar.splats.position)} splats")
    return 0


def _flame(arguments: argparse.Namespace) -> int:
    from learn2talk_core.avatar.arkit_to_flame import arkit_to_flame, read_arkit, write_flame_parameters
    from learn2talk_core.avatar.flame_head import load_flame_rig

    weights, fps = read_arkit(arguments.weights, arguments.fps)
    expression, jaw = arkit_to_flame(weights, load_flame_rig(arguments.flame))
    write_flame_parameters(arguments.out, expression, jaw, fps)
    print(f"{arguments.out}: {len(jaw)} frames")
    return 0


def _judge(arguments: argparse.Namespace) -> int:
    from learn2talk_core.avatar.avatar import load_avatar
    from learn2talk_core.avatar.judging import WAYS, judge_avatar, load_avatar_judges, misread_more, write_beside_mesh
    from learn2talk_core.corpus.format import SPLITS, open_corpus
    from learn2talk_core.run.files import check_file, write_json

    _at_least("--clips", arguments.clips, 1)
    if arguments.split not in SPLITS:
        expected = f"one of {', '.join(SPLITS)}"
        raise BadInput("--split", expected=expected, found=arguments.split, fix="Choose one of them.")
    for path in filter(None, (arguments.json, arguments.video)):
        check_file(path)
    avatar, corpus = load_avatar(arguments.avatar), open_corpus(arguments.corpus)
    scores = judge_avatar(avatar, corpus, corpus.split(arguments.split)[: arguments.clips], load_avatar_judges())
    for way in WAYS:
        row = scores[way]
        said = "" if row["lipread_error"] is None else f", lip reading error {row['lipread_error']:.3f}"
        print(f"{way}: LSE-D {row['lse_d']:.3f}, LSE-C {row['lse_c']:.3f}, lag {row['lag_ms']:.0f} ms{said}")
    more = "" if scores["more_misread"] is None else f"; lip reading error {misread_more(scores)}"
    print(f"splats beside mesh: lags differ by at most {scores['lag_difference_ms']:.0f} ms{more}")
    if arguments.json:
        write_json(arguments.json, scores)
    if arguments.video:
        write_beside_mesh(arguments.video, avatar, corpus, corpus.split(arguments.split)[0])
    return 0


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise BadInput(name, expected=f"at least {least}", found=str(value), fix="Choose a larger number.")
