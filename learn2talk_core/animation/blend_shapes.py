"""Blend shapes of a mesh: named displacements, among them Apple's 52 ARKit shapes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.npz import read_npz

_EYE = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
# In the order of the app's files (right before left for jaw and mouth); ARKit's names begin with a lower-case letter.
ARKIT = (
    *(f"eye{what}{side}" for side in ("Left", "Right") for what in _EYE),
    *("jawForward", "jawRight", "jawLeft", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft"),
    *(f"mouth{what}{side}" for what in ("Smile", "Frown", "Dimple", "Stretch") for side in ("Left", "Right")),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *(f"mouth{what}{side}" for what in ("Press", "LowerDown", "UpperUp") for side in ("Left", "Right")),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut"),
)

_BOTH = ("Left", "Right")
OPPOSING = (  # pairs that no face shows together
    *(("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")),
    *((f"mouthSmile{side}", f"mouthFrown{side}") for side in _BOTH),
    *((f"eyeLookIn{side}", f"eyeLookOut{side}") for side in _BOTH),
    *((f"eyeLookUp{side}", f"eyeLookDown{side}") for side in _BOTH),
    *((f"eyeBlink{side}", f"eyeWide{side}") for side in _BOTH),
    *((f"browDown{side}", f"browOuterUp{side}") for side in _BOTH),
)


@dataclass(frozen=True)
class BlendShapes:
    """Named blend shapes of one mesh.

    Attributes:
        names: names of the shapes, ARKit's or others. The others are fitted too, but their weights are not written.
        deltas: (K, V, 3) float32 displacement at weight 1, in the template's unit.
    """

    names: tuple[str, ...]
    deltas: np.ndarray


def embedded_shapes() -> BlendShapes:
    """The shapes of the embedded head: 46 of ARKit's 52, and the tip of the tongue."""
    units = load_face().unit
    return BlendShapes(tuple(units), np.stack(list(units.values())))


def load_shapes(path: str | Path) -> BlendShapes:
    """Read an `.npz` with `names` (K,) and `deltas` (K, V, 3).

    Names may also begin with a capital letter, as in the CSV, or end in `_L` and `_R`.
    """
    path = Path(path)
    expected, fix = (
        "an .npz with names (K,) and deltas (K, V, 3)",
        "Write it with numpy.savez; docs/export.md shows how.",
    )
    stored = read_npz(path, ("names", "deltas"), expected=expected, fix=fix, needed=("names", "deltas"))
    if stored["names"].ndim != 1 or stored["names"].dtype.kind not in "US" or stored["deltas"].dtype.kind not in "biuf":
        found = f"names and deltas of types {stored['names'].dtype} and {stored['deltas'].dtype}"
        raise BadInput(path, expected=expected, found=found, fix=fix)
    with np.errstate(over="ignore"):  # numbers beyond float32's range become infinite, which is refused below
        names, deltas = [str(name) for name in stored["names"]], np.asarray(stored["deltas"], np.float32)
    known = {name.lower(): name for name in ARKIT}
    names = [known.get(_long(name).lower(), name) for name in names]
    if deltas.shape != (len(names), *deltas.shape[1:2], 3) or not np.isfinite(deltas).all():
        raise BadInput(
            path,
            expected="as many deltas as names, (K, V, 3), all finite",
            found=f"{len(names)} names and deltas of shape {deltas.shape}",
            fix="A delta is the shape's vertices minus the neutral ones.",
        )
    if len(set(names)) < len(names) or not set(names) & set(ARKIT):
        found = "a duplicate name" if len(set(names)) < len(names) else f"none of them in {', '.join(names[:5])} …"
        raise BadInput(path, expected="ARKit's names, each once", found=found, fix="Rename them: jawOpen, …")
    return BlendShapes(tuple(names), deltas)


def _long(name: str) -> str:
    for short, side in (("_L", "Left"), ("_R", "Right")):
        if name.endswith(short):
            return name.removesuffix(short) + side
    return name
