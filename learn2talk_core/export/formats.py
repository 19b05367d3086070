"""Formats by name, for the command line: what each writes, given the animation and a path without suffix."""

from collections.abc import Callable
from pathlib import Path

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import load_shapes
from learn2talk_core.export.arkit import arkit_weights, head_turns, write_arkit_csv, write_arkit_json
from learn2talk_core.export.flame import load_flame, write_flame
from learn2talk_core.export.geometry import check_animation, write_sound
from learn2talk_core.export.gltf import write_gltf
from learn2talk_core.export.usd import write_usd
from learn2talk_core.run.errors import BadInput

Writer = Callable[[Path, Animation], list[Path]]


def formats(blend_shapes: str | Path | None = None, flame_model: str | Path | None = None) -> dict[str, Writer]:
    """Name → writer, which takes the output's path without suffix and returns the paths of what it wrote.

    Each writes the sound as `STEM.wav`, too.

    Args:
        blend_shapes: an `.npz` with the animated mesh's ARKit shapes; without it only the embedded head has `arkit`.
        flame_model: FLAME's `generic_model.pkl`, which `flame` needs.
    """

    def gltf(stem: Path, animation: Animation) -> list[Path]:
        return write_gltf(_add(stem, ".glb"), animation)

    def usd(stem: Path, animation: Animation) -> list[Path]:
        return write_usd(_add(stem, ".usda"), animation)

    def arkit(stem: Path, animation: Animation) -> list[Path]:
        check_animation(stem, animation)
        weights = arkit_weights(animation, None if blend_shapes is None else load_shapes(blend_shapes))
        head = None if animation.pose is None else head_turns(animation)
        return [
            write_arkit_csv(_add(stem, "_arkit.csv"), weights, animation.fps, head),
            write_arkit_json(_add(stem, "_arkit.json"), weights, animation.fps, head),
            write_sound(_add(stem, ".wav"), animation),
        ]

    def flame(stem: Path, animation: Animation) -> list[Path]:
        if flame_model is None:
            raise BadInput(
                "flame",
                expected="FLAME's model file",
                found="none",
                fix="Download generic_model.pkl from flame.is.tue.mpg.de; its licence does not let us carry it.",
            )
        model = load_flame(flame_model)
        return [write_flame(_add(stem, "_flame.npz"), animation, model), write_sound(_add(stem, ".wav"), animation)]

    return {"glb": gltf, "usd": usd, "arkit": arkit, "flame": flame}


FORMATS: dict[str, Writer] = formats()


def _add(stem: Path, suffix: str) -> Path:
    """Unlike `with_suffix`, leaves dots in the name alone."""
    return stem.with_name(stem.name + suffix)
