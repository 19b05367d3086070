"""All export formats by name, with the function that writes each."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import load_shapes
from learn2talk_core.export.arkit import write_arkit
from learn2talk_core.export.avatar import write_avatar
from learn2talk_core.export.fbx import write_fbx
from learn2talk_core.export.flame import load_flame, write_flame
from learn2talk_core.export.gltf import write_gltf
from learn2talk_core.export.meshes import write_obj, write_ply
from learn2talk_core.export.mp4 import write_mp4
from learn2talk_core.export.onto import UsersAvatar, write_onto
from learn2talk_core.export.picture import PICTURE, Picture
from learn2talk_core.export.presets import (
    write_godot,
    write_metahuman,
    write_rhubarb,
    write_talkinghead,
    write_unity,
    write_visemes,
    write_vrm,
)
from learn2talk_core.export.usd import write_usd
from learn2talk_core.export.vertices import write_npy, write_npz
from learn2talk_core.run.errors import BadInput

Writer = Callable[[Path, Animation], list[Path]]  # takes a path without suffix, returns what it wrote
SHOWN = ("mp4",)  # to look at: with blinks and head motion unless told otherwise
ONTO = "onto"
CURVES: dict[str, Callable[..., list[Path]]] = {  # of ARKit's shapes; each also takes `shapes`
    "arkit": write_arkit,
    "metahuman": write_metahuman,
    "visemes": write_visemes,
    "vrm": write_vrm,
    "rhubarb": write_rhubarb,
    "unity": write_unity,
    "godot": write_godot,
    "talkinghead": write_talkinghead,
    "fbx": write_fbx,
}


def formats(
    blend_shapes: str | Path | None = None,
    flame_model: str | Path | None = None,
    *,
    onto: str | Path | None = None,
    visemes: bool = False,
    picture: Picture = PICTURE,
) -> dict[str, Writer]:
    """Map each format's name to its writer.

    Args:
        blend_shapes: an `.npz` with ARKit shapes of the animated mesh, if it is not the embedded head's.
        flame_model: FLAME's `generic_model.pkl`, which `flame` needs.
        onto: the user's avatar, a GLB, which `onto` needs; it is read and checked here.
        visemes: add viseme targets to `glb`.
        picture: size, background and camera of `mp4`.
    """
    shapes = None if blend_shapes is None else load_shapes(blend_shapes)
    avatar = None if onto is None else UsersAvatar(onto)

    def flame(stem: Path, animation: Animation) -> list[Path]:
        if flame_model is None:
            raise BadInput(
                "flame",
                expected="FLAME's model file",
                found="none",
                fix="Download generic_model.pkl from flame.is.tue.mpg.de; its licence forbids us to include it.",
            )
        return write_flame(stem, animation, load_flame(flame_model))

    def on_avatar(stem: Path, animation: Animation) -> list[Path]:
        if avatar is None:
            raise BadInput("onto", expected="an avatar", found="none", fix="Give it with --onto avatar.glb.")
        return write_onto(stem, animation, avatar, shapes)

    return {
        "mp4": partial(write_mp4, picture=picture),
        "npy": write_npy,
        "npz": write_npz,
        "obj": write_obj,
        "ply": write_ply,
        "glb": partial(write_avatar, shapes=shapes, visemes=visemes),
        "glb-exact": write_gltf,
        "usd": write_usd,
        **{name: partial(writer, shapes=shapes) for name, writer in CURVES.items()},
        "flame": flame,
        ONTO: on_avatar,
    }


FORMATS: dict[str, Writer] = formats()


def write_formats(
    stem: str | Path, animation: Animation, names: Iterable[str], writers: Mapping[str, Writer] = FORMATS
) -> list[Path]:
    """Write an animation in several formats, as `STEM.SUFFIX`; returns the paths of all that was written."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [path for name in dict.fromkeys(names) for path in writers[name](stem, animation)]
    return list(dict.fromkeys(written))  # several formats share one sound file
