"""Blend shapes of a mesh: named displacements, among them Apple's 52 ARKit shapes."""

from dataclasses import dataclass
from functools import cache
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

_KNOWN = {name.lower(): name for name in ARKIT}
_BOTH = ("Left", "Right")
SIDEWAYS, RAISED = 0.007, 0.005  # metres at weight 1, of jaw and mouth to a side, and of a raised cheek
OPPOSING = (  # pairs that no face shows together
    *(("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")),
    *((f"mouthSmile{side}", f"mouthFrown{side}") for side in _BOTH),
    *((f"eyeLookIn{side}", f"eyeLookOut{side}") for side in _BOTH),
    *((f"eyeLookUp{side}", f"eyeLookDown{side}") for side in _BOTH),
    *((f"eyeBlink{side}", f"eyeWide{side}") for side in _BOTH),
    *((f"browDown{side}", f"browOuterUp{side}") for side in _BOTH),
)
# Oculus' 15 visemes as mixes of ARKit's shapes; a name without a side means both sides.
OCULUS: dict[str, dict[str, float]] = {
    "sil": {},
    "PP": {"mouthPress": 0.5, "mouthRollLower": 0.25, "mouthRollUpper": 0.25},
    "FF": {"mouthRollLower": 0.55, "mouthUpperUp": 0.25, "jawOpen": 0.06},
    "TH": {"tongueOut": 0.5, "jawOpen": 0.18, "mouthLowerDown": 0.1},
    "DD": {"jawOpen": 0.13, "mouthLowerDown": 0.2, "mouthUpperUp": 0.12},
    "kk": {"jawOpen": 0.2, "mouthUpperUp": 0.1, "mouthLowerDown": 0.12},
    "CH": {"mouthFunnel": 0.45, "mouthPucker": 0.15, "jawOpen": 0.08},
    "SS": {"mouthStretch": 0.35, "mouthLowerDown": 0.2, "jawOpen": 0.04},
    "nn": {"jawOpen": 0.12, "mouthLowerDown": 0.12, "mouthStretch": 0.08},
    "RR": {"mouthPucker": 0.35, "mouthFunnel": 0.15, "jawOpen": 0.14},
    "aa": {"jawOpen": 0.5, "mouthLowerDown": 0.25, "mouthUpperUp": 0.1},
    "E": {"jawOpen": 0.28, "mouthStretch": 0.25, "mouthSmile": 0.1},
    "I": {"jawOpen": 0.14, "mouthStretch": 0.4, "mouthSmile": 0.2},
    "O": {"jawOpen": 0.34, "mouthFunnel": 0.55, "mouthPucker": 0.15},
    "U": {"mouthPucker": 0.75, "mouthFunnel": 0.2, "jawOpen": 0.1},
}


@dataclass(frozen=True)
class BlendShapes:
    """Named blend shapes of one mesh.

    Attributes:
        names: names of the shapes, ARKit's or others. The others are fitted too, but their weights are not written.
        deltas: (K, V, 3) float32 displacement at weight 1, in the template's unit.
    """

    names: tuple[str, ...]
    deltas: np.ndarray


@cache
def embedded_shapes() -> BlendShapes:
    """The shapes of the embedded head: ARKit's 52, and the tip of the tongue.

    46 are its face units. Those it lacks are made here: jaw and mouth to the sides, and cheeks raised as in a smile.
    """
    face = load_face()
    units = dict(face.unit)
    x, y, _ = face.neutral.T
    jaw = np.linalg.norm(units["jawOpen"], axis=1)
    jaw = np.clip(jaw / np.quantile(jaw, 0.98), 0, 1)
    lips = face.neutral[face.regions["lips"]].mean(axis=0)
    near = np.exp(-(((face.neutral - lips) / (0.034, 0.024, 0.04)) ** 2).sum(axis=1)) * face.part["skin"]
    for side, sign in zip(_BOTH, (1, -1), strict=True):
        units[f"jaw{side}"] = (sign * SIDEWAYS * jaw[:, None] * (1, 0, 0)).astype(np.float32)
        units[f"mouth{side}"] = (sign * SIDEWAYS * near[:, None] * (1, 0, 0)).astype(np.float32)
        cheek = np.exp(-(((sign * x - 0.040) / 0.020) ** 2) - ((y + 0.032) / 0.016) ** 2) * face.part["skin"]
        lid = 0.5 * units[f"eyeSquint{side}"]
        units[f"cheekSquint{side}"] = (lid + RAISED * cheek[:, None] * (0.2, 0.9, 0.4)).astype(np.float32)
    names = [*ARKIT, *(name for name in units if name not in ARKIT)]
    return BlendShapes(tuple(names), np.stack([units[name] for name in names]))


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
    names = [arkit_name(name) or name for name in names]
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


def arkit_name(name: str) -> str | None:
    """ARKit's name of a shape that may also begin with a capital letter or end in `_L`, `_R`; None if it has none."""
    return _KNOWN.get(_long(name).lower())


def _long(name: str) -> str:
    for short, side in (("_L", "Left"), ("_R", "Right")):
        if name.endswith(short):
            return name.removesuffix(short) + side
    return name
