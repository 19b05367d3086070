"""Make an avatar folder: train one on pictures, or import one that GaussianAvatars trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.avatar.avatar import FLAME, PLAIN, Avatar, save_avatar
from learn2talk_core.avatar.binding import take
from learn2talk_core.avatar.flame_head import (
    EXPRESSIONS,
    FLAME_FOLDER,
    FlameMotion,
    flame_vertices,
    load_flame_rig,
    read_flame_motion,
)
from learn2talk_core.avatar.pictures import avatar_sheet, write_picture
from learn2talk_core.avatar.refining import RefinedMotion
from learn2talk_core.avatar.splat_files import read_splat_ply
from learn2talk_core.avatar.training import AvatarSchedule, judge_views, measure_speed, train_splats
from learn2talk_core.avatar.views import MeshMotion, View, check_pictures, read_mesh_motion, read_views
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.own_folder import own_folder
from learn2talk_core.run.progress import log
from learn2talk_core.training.scratch import Scratch, open_scratch
from learn2talk_core.untrusted.npz import read_npz

TEETH = 168  # triangles that VHAP appends to FLAME's
SHEET = "pictures.png"
TRAINED, IMPORTED = "learn2talk avatar train", "learn2talk avatar import"


@dataclass(frozen=True)
class AvatarInputs:
    """What an avatar is trained on: a folder of `views`, and FLAME's model file if its motion is FLAME's."""

    images: str
    flame: str | None = None


def open_inputs(inputs: AvatarInputs) -> tuple[list[View], MeshMotion | FlameMotion]:
    """The pictures and the motion of the mesh; every picture's moment must be in the motion, and its size that of its
    camera."""
    views = read_views(inputs.images)
    check_pictures(views)
    motion: MeshMotion | FlameMotion
    if (Path(inputs.images) / FLAME_FOLDER).is_dir() or any(view.parameters for view in views):
        if inputs.flame is None:
            fix = "Download it from flame.is.tue.mpg.de; its licence forbids us to include it."
            raise BadInput("--flame", expected="FLAME's model file, for this folder", found="none", fix=fix)
        motion = read_flame_motion(inputs.images, views, load_flame_rig(inputs.flame))
    else:
        motion = read_mesh_motion(inputs.images)
        latest = max(view.time for view in views)
        if latest >= motion.moments:
            found = f"a picture of moment {latest}"
            raise BadInput(
                inputs.images, expected=f"moments 0 … {motion.moments - 1}", found=found, fix="Export again."
            )
    return views, motion


def train_avatar(
    inputs: AvatarInputs, schedule: AvatarSchedule, scratch: Scratch
) -> tuple[Avatar, dict[str, Any], list[dict[str, float]]]:
    """Train, and judge on held-out pictures.

    Returns:
        The avatar; its metrics: `splats`, and for each split `views` (val: other cameras) and `expressions` (test:
        other expressions) what `judge_views` measures, and `speed` (`measure_speed`); and a row of values for each
        step.
    """
    views, motion = open_inputs(inputs)
    by_split = {split: [view for view in views if view.split == split] for split in ("train", "val", "test")}
    tracked = RefinedMotion(motion, schedule.refine) if isinstance(motion, FlameMotion) and schedule.refine else None
    splats, history = train_splats(
        by_split["train"], motion.vertices, motion.faces, motion.protected, schedule, scratch, tracked=tracked
    )
    motion = motion if tracked is None else tracked.motion
    about: dict[str, Any] = {"steps": schedule.steps, "pictures": len(by_split["train"])}
    flame: dict[str, np.ndarray] = {}
    if isinstance(motion, FlameMotion):
        flame = {"shape": motion.shape, "static_offset": motion.static_offset}
        about["flame_model"] = motion.rig.fingerprint
    rig = FLAME if flame else PLAIN
    moments = sorted({view.time for view in by_split["train"]})
    seen = motion.weights[[motion.row[time] for time in moments] if isinstance(motion, FlameMotion) else moments]
    avatar = Avatar(splats, motion.template, motion.faces, motion.mm_per_unit, seen, rig=rig, flame=flame, about=about)
    metrics: dict[str, Any] = {"splats": len(splats.position), **about}
    for split, name in (("val", "views"), ("test", "expressions")):
        if by_split[split]:
            metrics[name] = judge_views(avatar, by_split[split], motion.vertices)
    metrics["speed"] = measure_speed(avatar, by_split["train"], motion.vertices)
    return avatar, metrics, history


def train_into(folder: str | Path, inputs: AvatarInputs, schedule: AvatarSchedule) -> dict[str, Any]:
    """`train_avatar` into a folder that a user names; a killed run goes on where it stopped. Returns the metrics."""
    open_inputs(inputs)  # bad input is refused before the files are hashed
    sources = [inputs.images, *([inputs.flame] if inputs.flame else [])]
    with open_scratch("avatar", (schedule, inputs), sources) as scratch:
        avatar, metrics, _ = train_avatar(inputs, schedule, scratch)
        with own_folder(folder, TRAINED, {"metrics": metrics}) as place:
            save_avatar(place, avatar)
            write_picture(place / SHEET, held_out_sheet(inputs, avatar))
        scratch.remove()
    return metrics


def held_out_sheet(inputs: AvatarInputs, avatar: Avatar) -> np.ndarray:
    """`avatar_sheet` of held-out pictures, other expressions if there are some."""
    views, motion = open_inputs(inputs)
    best = next(some for split in ("test", "val", "train") if (some := [view for view in views if view.split == split]))
    return avatar_sheet(avatar, best, motion.vertices)


def import_avatar(cloud: str | Path, flame: str | Path, parameters: str | Path, folder: str | Path) -> Avatar:
    """Import the `point_cloud.ply` of a trained GaussianAvatars avatar.

    Args:
        cloud: the file.
        flame: FLAME's model file that it was trained with.
        parameters: an `.npz` of `flame_param` of the same head (`shape`, `static_offset`); with more than one row of
            `expr`, such as GaussianAvatars' `flame_param.npz` beside the cloud, it tells the range that was trained.
        folder: where the avatar is written.
    """
    rig, path = load_flame_rig(flame), Path(parameters)
    splats = read_splat_ply(cloud, len(rig.faces) + TEETH)
    skin = splats.triangle < len(rig.faces)
    if not skin.all():
        log.info("%s: %d splats of VHAP's teeth are left out", cloud, int((~skin).sum()))
        splats = take(splats, skin)
    fix = "Give flame_param.npz beside the cloud, or canonical_flame_param.npz of the data set."
    if not path.is_file():
        raise BadInput(path, expected="FLAME's parameters of the head", found="no such file", fix=fix)
    needed = ("shape", "expr", "jaw_pose")
    stored = read_npz(path, expected="FLAME's parameters of the head", fix=fix, needed=needed)
    shape = np.asarray(stored["shape"], np.float64).reshape(-1)
    offset = np.asarray(stored.get("static_offset", np.zeros((len(rig.template), 3))), np.float64).reshape(-1, 3)
    offset = offset[: len(rig.template)]
    expression = np.atleast_2d(np.asarray(stored["expr"], np.float64)).reshape(-1, np.shape(stored["expr"])[-1])
    jaw = np.asarray(stored["jaw_pose"], np.float64).reshape(-1, 3)
    finite = all(np.isfinite(some).all() for some in (shape, offset, expression, jaw))
    matches = len(offset) == len(rig.template) and len(expression) == len(jaw) and expression.shape[1] <= EXPRESSIONS
    if not finite or not matches or len(shape) > rig.identity.shape[2]:
        found = (
            "NaN or infinity"
            if not finite
            else f"{len(expression)} expressions, {len(jaw)} jaws, {len(offset)} offsets"
        )
        raise BadInput(path, expected="FLAME's parameters of the head", found=found, fix=fix)
    avatar = Avatar(
        splats=splats,
        template=flame_vertices(rig, shape, offset).astype(np.float32),
        faces=rig.faces,
        mm_per_unit=1000.0,
        seen=np.concatenate([expression, jaw], axis=1).astype(np.float32),
        local=False,
        rig=FLAME,
        flame={"shape": shape, "static_offset": offset},
        about={"flame_model": rig.fingerprint, "imported": Path(cloud).name},
    )
    with own_folder(folder, IMPORTED) as place:
        save_avatar(place, avatar)
    return avatar
