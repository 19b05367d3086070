"""The names of the export formats, which can be checked before their writers and libraries are loaded."""

from collections.abc import Iterable

from learn2talk_core.run.errors import BadInput

# in the order of `formats.FORMATS`
FORMAT_NAMES = (
    "mp4", "npy", "npz", "obj", "ply", "glb", "glb-exact", "usd", "arkit", "metahuman", "visemes", "vrm", "rhubarb",
    "unity", "godot", "talkinghead", "fbx", "flame", "onto",
)  # fmt: skip


def check_names(names: Iterable[str], where: str) -> None:
    """Raise `BadInput` for an unknown format or an empty list; `where` tells the user which option is wrong."""
    names = list(names)
    unknown = [name for name in names if name not in FORMAT_NAMES]
    if unknown or not names:
        found = unknown[0] if unknown else "none"
        raise BadInput(where, expected=f"some of {', '.join(FORMAT_NAMES)}", found=found, fix="Choose from this list.")
