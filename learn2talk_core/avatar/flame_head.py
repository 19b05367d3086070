"""FLAME's head (Li et al. 2017, "Learning a model of facial shape and expression from 4D scans") and its motion in a
folder of VHAP: what a GaussianAvatars avatar is bound to.

v = W(T + B_S β + B_E ψ + o + B_P (R(θ) − I), J(T + B_S β + B_E ψ + o), θ): identity β, expression ψ, offsets o of the
head, pose correctives, and linear blend skinning W about the joints root, neck, jaw, left and right eye. The user
provides the model file. VHAP adds 120 vertices of teeth; they are not built here, and splats that are bound to them are
left out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.avatar.views import FIX, View
from learn2talk_core.export.flame import IDENTITIES, load_flame
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.npz import read_npz
from learn2talk_core.untrusted.pickles import load_pickle

EXPRESSIONS = 100
PARENTS = (-1, 0, 1, 1, 1)  # root, neck, jaw, left eye, right eye
POSES = ("rotation", "neck_pose", "jaw_pose", "eyes_pose")
FLAME_FOLDER = "flame_param"
MM_PER_UNIT = 1000.0


@dataclass(frozen=True)
class FlameRig:
    """FLAME's model file.

    Attributes:
        template: (V, 3) float64, metres.
        faces: (F, 3) int32.
        identity: (V, 3, up to 300).
        expression: (V, 3, up to 100).
        correctives: (V, 3, 36).
        regressor: (5, V), vertices to joints.
        weights: (V, 5), skinning.
        fingerprint: of the expression basis, to tell versions of the model apart.
    """

    template: np.ndarray
    faces: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    correctives: np.ndarray
    regressor: np.ndarray
    weights: np.ndarray
    fingerprint: str


@dataclass(frozen=True)
class FlameMotion:
    """The tracked motion of a head: has the attributes of `views.MeshMotion`.

    Attributes:
        rig: the model.
        shape, static_offset: of the head.
        tables: name → (T, n): expr, rotation, neck_pose, jaw_pose, eyes_pose, translation.
        row: moment → row of the tables.
    """

    rig: FlameRig
    shape: np.ndarray
    static_offset: np.ndarray
    tables: dict[str, np.ndarray]
    row: dict[int, int]

    @property
    def moments(self) -> int:
        """Number of moments."""
        return len(self.row)

    @property
    def faces(self) -> np.ndarray:
        """(F, 3) int32."""
        return self.rig.faces

    @property
    def template(self) -> np.ndarray:
        """(V, 3) float32, the head at rest."""
        return flame_vertices(self.rig, self.shape, self.static_offset).astype(np.float32)

    @property
    def protected(self) -> np.ndarray:
        """(F,) bool: every triangle keeps a splat, as in the paper."""
        return np.ones(len(self.rig.faces), bool)

    @property
    def mm_per_unit(self) -> float:
        """Millimetres per unit: FLAME's is the metre."""
        return MM_PER_UNIT

    @property
    def weights(self) -> np.ndarray:
        """(T, E + 3) float32, expression and jaw."""
        return np.concatenate([self.tables["expr"], self.tables["jaw_pose"]], axis=1).astype(np.float32)

    def vertices(self, time: int) -> np.ndarray:
        """(V, 3) float32 at a moment."""
        row = {name: table[self.row[time]] for name, table in self.tables.items()}
        pose = np.concatenate([row[name] for name in POSES])
        still = flame_vertices(self.rig, self.shape, self.static_offset, row["expr"], pose)
        return (still + row["translation"]).astype(np.float32)


def load_flame_rig(path: str | Path) -> FlameRig:
    """Read FLAME's model file (generic_model.pkl, flame2023.pkl), without running any code in it."""
    checked = load_flame(path, EXPRESSIONS)
    data = load_pickle(Path(path))
    regressor = data["J_regressor"]
    regressor = regressor.toarray() if hasattr(regressor, "toarray") else regressor
    faces = np.asarray(data.get("f", np.zeros((0, 3)))).astype(np.int64)
    count = len(checked.template)
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or faces.min() < 0 or faces.max() >= count:
        found = f"an array of shape {faces.shape}"
        raise BadInput(f"{path}: f", expected="FLAME's triangles", found=found, fix="Give the unmodified model file.")
    basis = np.ascontiguousarray(checked.expression, "<f8")
    return FlameRig(
        template=checked.template,
        faces=faces.astype(np.int32),
        identity=checked.identity,
        expression=checked.expression,
        correctives=np.asarray(data["posedirs"], np.float64),
        regressor=np.asarray(regressor, np.float64),
        weights=np.asarray(data["weights"], np.float64),
        fingerprint=hashlib.sha256(basis.tobytes()).hexdigest(),
    )


def flame_vertices(
    rig: FlameRig,
    shape: np.ndarray,
    offset: np.ndarray,
    expression: np.ndarray | None = None,
    pose: np.ndarray | None = None,
) -> np.ndarray:
    """Vertices (V, 3) float64 in metres.

    Args:
        rig: the model.
        shape: (up to 300,) identity.
        offset: (V, 3) of the head, beyond its identity.
        expression: (up to 100,).
        pose: (15,) axis times angle of root, neck, jaw and the eyes.
    """
    shaped = rig.template + offset + rig.identity[:, :, : len(shape)] @ shape
    if expression is not None:
        shaped = shaped + rig.expression[:, :, : len(expression)] @ expression
    if pose is None:
        return shaped
    return posed_head(rig, torch.from_numpy(shaped), torch.from_numpy(np.asarray(pose, np.float64))).numpy()


def posed_head(rig: FlameRig, shaped: Tensor, pose: Tensor) -> Tensor:
    """The head `shaped` (V, 3) after pose correctives and skinning, (V, 3); `pose` as for `flame_vertices`, both
    float64. Differentiable."""
    x, y, z = pose.reshape(5, 3).unbind(1)
    zero = torch.zeros_like(x)
    turns = torch.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(5, 3, 3))
    correctives, regressor, weights = map(torch.from_numpy, (rig.correctives, rig.regressor, rig.weights))
    joints = regressor @ shaped
    posed = shaped + correctives @ (turns[1:] - torch.eye(3, dtype=turns.dtype)).reshape(-1)
    whole_turn: list[Tensor] = []  # of each joint: x → R x + t
    whole_move: list[Tensor] = []
    for joint, parent in enumerate(PARENTS):
        turn, move = turns[joint], joints[joint] - turns[joint] @ joints[joint]
        if parent >= 0:
            turn, move = whole_turn[parent] @ turn, whole_turn[parent] @ move + whole_move[parent]
        whole_turn.append(turn)
        whole_move.append(move)
    turned = torch.einsum("jxy,vy->vjx", torch.stack(whole_turn), posed) + torch.stack(whole_move)
    return torch.einsum("vj,vjx->vx", weights, turned)


def read_flame_motion(folder: str | Path, views: Sequence[View], rig: FlameRig) -> FlameMotion:
    """Read FLAME's parameters for every moment of `views`: the file that the views name, or `flame_param/NNNNN.npz`.

    Raises:
        BadInput: a missing or damaged file, NaN, or arrays of another shape.
    """
    rows: list[dict[str, np.ndarray]] = []
    files = {view.time: view.parameters or Path(folder) / FLAME_FOLDER / f"{view.time:05d}.npz" for view in views}
    moments = sorted(files)
    for time in moments:
        rows.append(_moment(files[time], len(rig.template)))
    names = ("expr", *POSES, "translation")
    tables = {name: np.stack([row[name] for row in rows]) for name in names}
    if tables["expr"].shape[1] > rig.expression.shape[2]:
        found = f"{tables['expr'].shape[1]}"
        expected = f"up to {rig.expression.shape[2]} expressions, as the model has"
        raise BadInput(Path(folder) / FLAME_FOLDER, expected=expected, found=found, fix="Give the tracker's model.")
    row = {time: number for number, time in enumerate(moments)}
    return FlameMotion(rig, rows[0]["shape"], rows[0]["static_offset"], tables, row)


def _moment(path: Path, count: int) -> dict[str, np.ndarray]:
    """One file's arrays without the leading axis; `static_offset` without the teeth."""
    if not path.is_file():
        raise BadInput(path, expected="FLAME's parameters", found="no such file", fix=FIX)
    names = ("shape", "expr", "translation", *POSES)
    stored = read_npz(path, expected="FLAME's parameters", fix=FIX, needed=names)
    offset = stored.get("static_offset", np.zeros((count, 3)))
    row = {name: np.asarray(stored[name], np.float64).reshape(-1) for name in names}
    row["static_offset"] = np.asarray(offset, np.float64).reshape(-1, 3)[:count]
    lengths = {"translation": 3, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6}
    for name, length in lengths.items():
        if len(row[name]) != length:
            raise BadInput(f"{path}: {name}", expected=f"{length} numbers", found=f"{len(row[name])}", fix=FIX)
    if len(row["static_offset"]) != count or len(row["shape"]) > IDENTITIES:
        found = f"{len(row['static_offset'])} offsets, {len(row['shape'])} identities"
        raise BadInput(path, expected=f"{count} offsets, up to {IDENTITIES} identities", found=found, fix=FIX)
    for name, values in row.items():
        if not np.isfinite(values).all():
            raise BadInput(f"{path}: {name}", expected="finite numbers", found="NaN or infinity", fix=FIX)
    return row
