"""Weights of ARKit's blend shapes → FLAME's expression and jaw.

The two share no basis, and an average table of one in terms of the other fits nobody. Here the weights move the
embedded head, which has ARKit's shapes; its motion is transferred to FLAME's mesh (`mesh.transfer`), and FLAME's
parameters are fitted to it, frame by frame (`export.flame`).
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, embedded_shapes
from learn2talk_core.avatar.driving import part_of
from learn2talk_core.avatar.flame_head import FlameRig
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.export.flame import EXPRESSIONS, fit_flame
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.mesh.transfer import find_correspondence
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file

FIX = "Give a recording of Live Link Face (CSV), or the CSV or JSON of learn2talk animate --format arkit."
LIVE_LINK_FPS = 60.0


def read_arkit(path: str | Path, fps: float | None = None) -> tuple[np.ndarray, float]:
    """Weights (T, 52) in the order of `ARKIT`, and the frame rate: that of the JSON, or `fps`, or 60.

    Raises:
        BadInput: neither kind of file, no weights of ARKit in it, or NaN.
    """
    path = Path(path)
    expected = "weights of ARKit's blend shapes"
    try:
        if path.suffix.lower() == ".json":
            told = json.loads(path.read_bytes())
            names, rows, rate = told["names"], told["frames"], fps or float(told["fps"])
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                header, *lines = [line for line in csv.reader(file) if line]
            names, rows, rate = header, [line[: len(header)] for line in lines], fps or LIVE_LINK_FPS
        known = {name.lower(): number for number, name in enumerate(ARKIT)}
        columns = [(known[name.lower()], column) for column, name in enumerate(names) if name.lower() in known]
        weights = np.zeros((len(rows), len(ARKIT)))
        for place, column in columns:
            weights[:, place] = [float(row[column]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError) as error:
        found = f"{type(error).__name__}: {str(error)[:100]}"
        raise BadInput(path, expected=expected, found=found, fix=FIX) from error
    if not columns or not len(rows) or not np.isfinite(weights).all() or not 0 < rate < 1000:
        found = f"{len(columns)} of their names, {len(rows)} frames" if rows and columns else "none"
        raise BadInput(path, expected=f"{expected}, finite", found=found, fix=FIX)
    return weights.clip(0, 1), rate


def arkit_to_flame(weights: np.ndarray, rig: FlameRig, expressions: int = EXPRESSIONS) -> tuple[np.ndarray, np.ndarray]:
    """Expression (T, E) and jaw (T, 3), axis times angle in radians, for weights (T, 52)."""
    face, shapes = load_face(), embedded_shapes()
    found = find_correspondence(face.neutral, face.faces, rig.template.astype(np.float32), rig.faces)
    place = {name: number for number, name in enumerate(shapes.names)}
    shared = [name for name in ARKIT if name in place]
    carried = Animation(
        states=weights[:, [ARKIT.index(name) for name in shared]].astype(np.float32),
        basis=found.move(shapes.deltas[[place[name] for name in shared]]),
        offset=np.zeros(rig.template.shape, np.float32),
        template=rig.template.astype(np.float32),
        fps=LIVE_LINK_FPS,
        mm_per_unit=1000.0,
        topology=Topology(rig.faces, {}, np.zeros((0, 2), np.int64), np.full(rig.template.shape, 0.7, np.float32)),
        wave=np.zeros(1, np.float32),
    )
    return fit_flame(part_of(rig, expressions), carried)


def write_flame_parameters(path: str | Path, expression: np.ndarray, jaw: np.ndarray, fps: float) -> None:
    """Write an `.npz` for GaussianAvatars' `--motion_path`, all float32 with T rows: `expr`, `jaw_pose`, `rotation`,
    `neck_pose`, `eyes_pose`, `translation`, and `fps`; the head does not move."""
    frames = len(expression)
    still = {"rotation": 3, "neck_pose": 3, "eyes_pose": 6, "translation": 3}
    arrays: dict[str, Any] = {name: np.zeros((frames, size), np.float32) for name, size in still.items()}
    arrays |= {"expr": expression.astype(np.float32), "jaw_pose": jaw.astype(np.float32), "fps": np.float32(fps)}
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)
