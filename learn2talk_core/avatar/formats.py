"""A speaking avatar as files: video, a PLY a frame, glTF with splats, USD with splats in time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learn2talk_core.animation.animation import Animation
from learn2talk_core.avatar.avatar import WHITE, Avatar, as_bytes, draw_avatar
from learn2talk_core.avatar.baking import baked
from learn2talk_core.avatar.driving import Place, driver
from learn2talk_core.avatar.flame_head import FlameRig
from learn2talk_core.avatar.splat_files import write_splat_ply
from learn2talk_core.export.geometry import check_animation, linear_light, suffixed, write_sound
from learn2talk_core.export.gltf import VERTICES, GlbFile
from learn2talk_core.export.meshes import new_folder
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.pinhole import Pinhole, orbiting
from learn2talk_core.report.side_by_side import sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.progress import progress
from learn2talk_core.video.video_file import write_video

MARGIN = 1.15  # of the picture around the head
DISTANCE = 1000.0  # mm from the head to the camera
SCHEMA = "ParticleField3DGaussianSplat"  # of USD, from 26.03 on

AvatarWriter = Callable[[Path, Animation], list[Path]]


@dataclass(frozen=True)
class Framing:
    """How a video is filmed: the camera's angles in degrees (positive: the speaker's left, and up), the seconds of one
    turn around the head (0: the camera stands still), the size of the picture in pixels, and what is behind (RGB)."""

    yaw: float = 0.0
    pitch: float = 0.0
    turntable: float = 0.0
    width: int = 384
    height: int = 384
    background: tuple[float, float, float] = WHITE


def avatar_formats(avatar: Avatar, shot: Framing, rig: FlameRig | None = None) -> dict[str, AvatarWriter]:
    """The formats in which an avatar is written instead of its mesh: mp4, ply, glb, usd."""

    def mp4(stem: Path, animation: Animation) -> list[Path]:
        return write_avatar_mp4(stem, animation, avatar, shot, driver(avatar, animation, rig))

    def ply(stem: Path, animation: Animation) -> list[Path]:
        return write_avatar_ply(stem, animation, avatar, driver(avatar, animation, rig))

    def glb(stem: Path, animation: Animation) -> list[Path]:
        return write_avatar_gltf(stem, animation, avatar, driver(avatar, animation, rig))

    def usd(stem: Path, animation: Animation) -> list[Path]:
        return write_avatar_usd(stem, animation, avatar, driver(avatar, animation, rig))

    return {"mp4": mp4, "ply": ply, "glb": glb, "usd": usd}


def avatar_view(avatar: Avatar, shot: Framing, time: float = 0.0) -> Pinhole:
    """The camera of a shot at a time in seconds; it looks at the middle of the head at rest."""
    low, high = avatar.template.min(axis=0), avatar.template.max(axis=0)
    x, y, z = ((low + high) / 2).tolist()
    across, tall = (high - low)[:2].tolist()
    extent = MARGIN * max(tall, across * shot.height / shot.width)
    front = Camera(target=(x, y, z), extent=extent, distance=DISTANCE / avatar.mm_per_unit)
    turn = 2 * np.pi * time / shot.turntable if shot.turntable else 0.0
    return orbiting(front, shot.height, shot.width, np.radians(shot.yaw) + turn, np.radians(shot.pitch))


def avatar_pictures(avatar: Avatar, animation: Animation, shot: Framing, place: Place) -> Iterator[np.ndarray]:
    """The frames of the video, uint8 (height, width, 3)."""
    for frame in range(len(animation.states)):
        view = avatar_view(avatar, shot, frame / animation.fps)
        yield as_bytes(draw_avatar(avatar, place(frame), view, background=shot.background))


def write_avatar_mp4(stem: Path, animation: Animation, avatar: Avatar, shot: Framing, place: Place) -> list[Path]:
    """Write `STEM.mp4`."""
    path = suffixed(stem, ".mp4")
    check_animation(path, animation)
    audio = sound(animation.wave, len(animation.states), animation.fps)
    pictures = avatar_pictures(avatar, animation, shot, place)
    frames = progress(pictures, path.name, total=len(animation.states), unit="frame")
    write_video(path, frames, animation.fps, audio)
    return [path]


def write_avatar_ply(stem: Path, animation: Animation, avatar: Avatar, place: Place) -> list[Path]:
    """Write `STEM_splats/000000.ply` …, a scene of splats for each frame, in the avatar's unit, y up."""
    check_animation(stem, animation)
    folder = new_folder(suffixed(stem, "_splats"))
    for frame in range(len(animation.states)):
        write_splat_ply(folder / f"{frame:06d}.ply", baked(avatar, place(frame)), bound=False)
    return [folder]


def write_avatar_gltf(stem: Path, animation: Animation, avatar: Avatar, place: Place) -> list[Path]:
    """Write `STEM.glb`: the splats of the first frame, with the extension KHR_gaussian_splatting; metres, y up.

    The extension says nothing of moving splats, so there is no animation in it. Scales are linear, rotations x y z w.
    """
    path = suffixed(stem, ".glb")
    check_animation(path, animation)
    splats = baked(avatar, place(0))
    metres = avatar.mm_per_unit / 1000
    rotation = torch.nn.functional.normalize(splats.rotation, dim=1)[:, [1, 2, 3, 0]]
    harmonics = torch.cat([splats.base, splats.rest], dim=1)
    colour = linear_light((0.5 + 0.28209479 * splats.base[:, 0]).numpy())  # for viewers without the extension
    opacity = splats.opacity.sigmoid().numpy()
    name = "KHR_gaussian_splatting"
    file = GlbFile()
    attributes = {
        "POSITION": file.add((metres * splats.position).numpy(), VERTICES, bounds=True),
        "COLOR_0": file.add(np.concatenate([colour, opacity[:, None]], axis=1), VERTICES),
        f"{name}:ROTATION": file.add(rotation.numpy(), VERTICES),
        f"{name}:SCALE": file.add((metres * splats.scale.exp()).numpy(), VERTICES),
        f"{name}:OPACITY": file.add(opacity, VERTICES),
    }
    for degree in range(avatar.degree + 1):
        for order in range(2 * degree + 1):
            key = f"{name}:SH_DEGREE_{degree}_COEF_{order}"
            attributes[key] = file.add(harmonics[:, degree**2 + order].numpy(), VERTICES)
    kind = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective",
            "sortingMethod": "cameraDistance"}  # fmt: skip
    primitive: dict[str, Any] = {"attributes": attributes, "mode": 0, "extensions": {name: kind}}
    file.write(path, {
        "asset": {"version": "2.0", "generator": "Learn2Talk"},
        "extensionsUsed": [name],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "avatar", "mesh": 0}],
        "meshes": [{"name": "avatar", "primitives": [primitive]}],
    })  # fmt: skip
    return [path]


def write_avatar_usd(stem: Path, animation: Animation, avatar: Avatar, place: Place) -> list[Path]:
    """Write `STEM.usd` and `STEM.wav`: a field of splats whose positions, orientations, scales and colours have a
    sample for each frame. The colours are those of spherical harmonics of degree 0, which need no turning.

    Raises:
        BadInput: usd-core is not installed, or too old to know splats.
    """
    from_usd = _usd()
    path, wave = suffixed(stem, ".usd"), suffixed(stem, ".wav")
    check_animation(path, animation)
    flat = replace(avatar, splats=avatar.splats._replace(rest=avatar.splats.rest[:, :0]))
    with whole_file(path) as partial:
        stage = from_usd.Usd.Stage.CreateNew(str(partial))
        stage.SetMetadata("upAxis", "Y")
        stage.SetMetadata("metersPerUnit", avatar.mm_per_unit / 1000)
        stage.SetTimeCodesPerSecond(animation.fps)
        stage.SetFramesPerSecond(animation.fps)
        stage.SetStartTimeCode(0)
        stage.SetEndTimeCode(len(animation.states) - 1)
        prim = stage.DefinePrim("/Avatar", SCHEMA)
        stage.SetDefaultPrim(prim)
        prim.GetAttribute("opacities").Set(from_usd.Vt.FloatArray.FromNumpy(flat.splats.opacity.sigmoid().numpy()))
        prim.GetAttribute("radiance:sphericalHarmonicsDegree").Set(0)
        colours = np.ascontiguousarray(flat.splats.base[:, 0].numpy())
        prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Set(from_usd.Vt.Vec3fArray.FromNumpy(colours))
        for frame in range(len(animation.states)):
            splats = baked(flat, place(frame))
            points = from_usd.Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(splats.position.numpy()))
            prim.GetAttribute("positions").Set(points, frame)
            scales = from_usd.Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(splats.scale.exp().numpy()))
            prim.GetAttribute("scales").Set(scales, frame)
            turns = torch.nn.functional.normalize(splats.rotation, dim=1).numpy()
            quaternions = from_usd.Vt.QuatfArray.FromNumpy(np.ascontiguousarray(turns[:, [1, 2, 3, 0]]))  # w last
            prim.GetAttribute("orientations").Set(quaternions, frame)
        stage.GetRootLayer().Save()
    return [path, write_sound(wave, animation)]


def _usd() -> Any:
    """The modules of usd-core, if it knows splats."""
    expected, fix = f"usd-core 26.3 or newer, with {SCHEMA}", "pip install usd-core"
    try:
        from pxr import Usd, Vt
    except ImportError as error:
        raise BadInput("usd", expected=expected, found=str(error), fix=fix) from error
    if not Usd.SchemaRegistry().FindConcretePrimDefinition(SCHEMA):
        raise BadInput("usd", expected=expected, found="an older one", fix=fix)
    from types import SimpleNamespace

    return SimpleNamespace(Usd=Usd, Vt=Vt)
