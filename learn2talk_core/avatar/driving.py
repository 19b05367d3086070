"""Drive an avatar: where its mesh is in every frame of an animation.

An avatar of the same mesh takes the displacements onto its own face. One with FLAME's parameters gets the expression
and jaw whose displacements, on the avatar's own face, are nearest to the animation's: the fit is to offsets, so that
the speaker's identity does not leak into the expression. The parameters are then projected onto the principal
components of those that the avatar was trained with, and clamped to their range: beyond it, splats have never been
seen. The head's pose is that of the animation, and blend shapes of the gaze turn FLAME's eyes.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.life import LOOK_DEGREES, SIDES
from learn2talk_core.avatar.avatar import FLAME, Avatar
from learn2talk_core.avatar.flame_head import FlameRig, flame_vertices
from learn2talk_core.export.flame import Flame, fit_flame
from learn2talk_core.run.errors import BadInput

Place = Callable[[int], np.ndarray]  # frame → vertices (V, 3) of the avatar's mesh
EXPLAINED = 0.999  # of the variance of the parameters in training, by the principal components that are kept


def driver(avatar: Avatar, animation: Animation, rig: FlameRig | None = None) -> Place:
    """The avatar's mesh in each frame of the animation.

    Args:
        avatar: the avatar.
        animation: of a mesh with the avatar's topology.
        rig: FLAME's model, for an avatar that FLAME's parameters move.

    Raises:
        BadInput: another topology, no model, or another model than the avatar was trained with.
    """
    if avatar.rig == FLAME:
        return _by_flame(avatar, animation, rig)
    if not np.array_equal(animation.topology.faces, avatar.faces):
        raise BadInput(
            "avatar",
            expected=f"an animation of the avatar's mesh, {len(avatar.template)} vertices",
            found=f"another mesh, of {len(animation.template)}",
            fix="Use a student of the corpus whose head the avatar shows.",
        )
    scale = animation.mm_per_unit / avatar.mm_per_unit
    own = replace(animation, template=(avatar.template / scale).astype(np.float32))
    return lambda frame: np.float32(scale) * own.vertices(slice(frame, frame + 1))[0]


def within(seen: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Parameters (T, K), projected onto the principal components of `seen` (S, K) and clamped to their range there.

    The components are those of the standardised parameters: an angle of the jaw counts as much as an expression.
    """
    mean, spread = seen.mean(axis=0), seen.std(axis=0)
    spread = np.where(spread > 0, spread, np.inf)  # what never changed stays as it was
    _, sizes, directions = np.linalg.svd((seen - mean) / spread, full_matrices=False)
    share = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-30)
    directions = directions[: int(np.searchsorted(share, EXPLAINED)) + 1]
    known, wanted = ((some - mean) / spread @ directions.T for some in (seen, parameters))
    held = np.clip(wanted, known.min(axis=0), known.max(axis=0)) @ directions
    return mean + held * np.where(np.isfinite(spread), spread, 0)


def _by_flame(avatar: Avatar, animation: Animation, rig: FlameRig | None) -> Place:
    fix = "Give --flame with the model file that the avatar was trained with."
    if rig is None:
        raise BadInput("avatar", expected="FLAME's model file, which moves it", found="none", fix=fix)
    check_model(avatar, rig)
    face = flame_vertices(rig, avatar.flame["shape"], avatar.flame["static_offset"])
    eyes, still_eyes = gaze_apart(animation)
    own = replace(still_eyes, template=(1000 * face / animation.mm_per_unit).astype(np.float32))
    expression, jaw = fit_flame(part_of(rig, avatar.seen.shape[1] - 3), own)
    parameters = within(avatar.seen, np.concatenate([expression, jaw], axis=1))
    rigid = animation.rigid()
    metres = animation.mm_per_unit / 1000

    def place(frame: int) -> np.ndarray:
        pose = np.zeros(15)
        pose[6:9], pose[9:] = parameters[frame, -3:], eyes[frame]
        still = flame_vertices(rig, avatar.flame["shape"], avatar.flame["static_offset"], parameters[frame, :-3], pose)
        return (still @ rigid[frame, :, :3].T + metres * rigid[frame, :, 3]).astype(np.float32)

    return place


def gaze_apart(animation: Animation) -> tuple[np.ndarray, Animation]:
    """Rotations of the left and the right eye (T, 6), axis times angle in radians, by the animation's blend shapes
    `eyeLook…`, and the animation without these: expressions must not be fitted to turning eyeballs."""
    first = len(animation.basis) - len(animation.shapes)
    columns = {name: first + k for k, name in enumerate(animation.shapes) if name.startswith("eyeLook")}
    eyes = np.zeros((len(animation.states), 2, 3))
    for side, name in enumerate(SIDES):
        for look, axis, sign in (("Up", 0, -1), ("Down", 0, 1), ("In", 1, 2 * side - 1), ("Out", 1, 1 - 2 * side)):
            column = columns.get(f"eyeLook{look}{name}")
            if column is not None:
                eyes[:, side, axis] += sign * np.radians(LOOK_DEGREES[look]) * animation.states[:, column]
    kept = [k for k in range(len(animation.basis)) if k not in columns.values()]
    shapes = tuple(name for name in animation.shapes if name not in columns)
    still = replace(animation, states=animation.states[:, kept], basis=animation.basis[kept], shapes=shapes)
    return eyes.reshape(-1, 6), still


def check_model(avatar: Avatar, rig: FlameRig) -> None:
    """Refuse a FLAME model with another expression basis, whose parameters mean other faces."""
    trained = avatar.about.get("flame_model")
    if trained != rig.fingerprint:
        raise BadInput(
            "FLAME",
            expected=f"the model that the avatar was trained with (expression basis {trained!s:.12})",
            found=f"another expression basis ({rig.fingerprint:.12}): the parameters of FLAME 2020 and 2023 differ",
            fix="Give the model file of the avatar's tracker (VHAP: flame2023.pkl).",
        )


def part_of(rig: FlameRig, expressions: int) -> Flame:
    """The parts of the model that `export.flame` fits, with this number of expressions."""
    return Flame(
        template=rig.template,
        identity=rig.identity,
        expression=rig.expression[:, :, :expressions],
        correctives=rig.correctives[:, :, 9:18],
        joint=rig.regressor[2],
        weight=rig.weights[:, 2],
        root=rig.regressor[0],
    )
