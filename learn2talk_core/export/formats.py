"""All export formats by name, with the function that writes each."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import load_shapes
from learn2talk_core.export.arkit import write_arkit
from learn2talk_core.export.flame import load_flame, write_flame
from learn2talk_core.export.gltf import write_gltf
from learn2talk_core.export.meshes import write_obj, write_ply
from learn2talk_core.export.mp4 import write_mp4
from learn2talk_core.export.usd import write_usd
from learn2talk_core.export.vertices import write_npy, write_npz
from learn2talk_core.run.errors import BadInput

Writer = Callable[[Path, Animation], list[Path]]  # takes a path without suffix, returns what it wrote


def formats(blend_shapes: str | Path | None = None, flame_model: str | Path | None = None) -> dict[str, Writer]:
    """Map each format's name to its writer.

    Args:
        blend_shapes: an `.npz` with ARKit shapes of the animated mesh; without it `arkit` needs the embedded head.
        flame_model: FLAME's `generic_model.pkl`, which `flame` needs.
    """

    def arkit(stem: Path, animation: Animation) -> list[Path]:
        return write_arkit(stem, animation, None if blend_shapes is None else load_shapes(blend_shapes))

    def flame(stem: Path, animation: Animation) -> list[Path]:
        if flame_model is None:
            raise BadInput(
                "flame",
                expected="FLAME's model file",
                found="none",
                fix="Download generic_model.pkl from flame.is.tue.mpg.de; its licence forbids us to include it.",
            )
        return write_flame(stem, animation, load_flame(flame_model))

    return {
        "mp4": write_mp4,
        "npy": write_npy,
        "npz": write_npz,
        "obj": write_obj,
        "ply": write_ply,
        "glb": write_gltf,
        "usd": write_usd,
        "arkit": arkit,
        "flame": flame,
    }


FORMATS: dict[str, Writer] = formats()


def check_names(names: Iterable[str], where: str) -> None:
    """Raise `BadInput` for an unknown format or an empty list; `where` tells the user which option is wrong."""
    names = list(names)
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        found = unknown[0] if unknown else "none"
        raise BadInput(where, expected=f"some of {', '.join(FORMATS)}", found=found, fix="Choose from this list.")


def write_formats(
    stem: str | Path, animation: Animation, names: Iterable[str], writers: Mapping[str, Writer] = FORMATS
) -> list[Path]:
    """Write an animation in several formats, as `STEM.SUFFIX`; returns the paths of all that was written."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [path for name in dict.fromkeys(names) for path in writers[name](stem, animation)]
    return list(dict.fromkeys(written))  # several formats share one sound file
