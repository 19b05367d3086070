"""Fit FLAME's expression and jaw parameters to an animation of a mesh in FLAME's topology (Li et al. 2017).

The user provides the model file. With the jaw's rotation R, Q = R − I, and E, P the bases of the expression ψ and of
the pose correctives, linear blend skinning of a head that does not move is

    v = T + E ψ + P q + w ∘ Q (T + E ψ + P q − j(ψ)),      q = the nine numbers of Q,   j(ψ) = j₀ + J E ψ,

where T is the speaker's own face at rest, w the skinning weight of each vertex for the jaw, and j the jaw's joint. So
v − T is bilinear in (1, q) and u = (ψ, 1, q):  v − T = Σ_a (1, q)_a M_a u.  The products M_aᵀ M_b, and those of M_a
with the animation's directions of motion, are computed once; the Levenberg-Marquardt steps for (ψ, R) then need no
vertices and run for many frames in parallel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from scipy.spatial.transform import Rotation

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.geometry import check_animation, suffixed, write_sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.untrusted.pickles import load_pickle

IDENTITIES = 300  # columns of shapedirs before the expressions
EXPRESSIONS = 50  # number of expression parameters fitted, as in DECA and EMOCA
JAW = 2  # among the joints: root, neck, jaw, left eye, right eye
CHUNK = 64  # frames fitted together
STEPS = 20
SETTLED = 1e-5  # converged when no step is larger, in expression units and radians
RIDGE = 1e-8  # times the expressions' mean square
TURNS = np.array(  # the derivative of a rotation about x, y, z at the identity
    [[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]], [[0, -1, 0], [1, 0, 0], [0, 0, 0]]]
)


@dataclass(frozen=True)
class Flame:
    """The parts of the model file that are used.

    Attributes:
        template: (V, 3) float64, metres.
        identity: (V, 3, up to 300) identity basis.
        expression: (V, 3, E) expression basis.
        correctives: (V, 3, 9) pose correctives for the jaw's rotation.
        joint: (V,) weights of the vertices whose mean is the jaw's joint.
        weight: (V,) skinning weight of each vertex for the jaw.
        root: (V,) weights of the vertices whose mean is the root joint, about which the whole head turns.
    """

    template: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    correctives: np.ndarray
    joint: np.ndarray
    weight: np.ndarray
    root: np.ndarray


def load_flame(path: str | Path, expressions: int = EXPRESSIONS) -> Flame:
    """Read FLAME's `generic_model.pkl` (or the female or male model), without running any code in it.

    Args:
        path: the pickle, with chumpy or NumPy arrays.
        expressions: number of expressions to use; the first ones are taken.
    """
    path = Path(path)
    data = load_pickle(path)
    try:
        arrays = {
            name: np.asarray(data[name], np.float64) for name in ("v_template", "shapedirs", "posedirs", "weights")
        }
        regressor = data["J_regressor"]
        regressor = regressor.toarray() if scipy.sparse.issparse(regressor) else np.asarray(regressor, np.float64)
        count = len(arrays["v_template"])
        shapes = {name: array.shape for name, array in arrays.items()} | {"J_regressor": regressor.shape}
        expected = {
            "v_template": (count, 3),
            "shapedirs": (count, 3, max(IDENTITIES + 1, shapes["shapedirs"][-1])),
            "posedirs": (count, 3, 36),
            "weights": (count, 5),
            "J_regressor": (5, count),
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput(
            path,
            expected="a FLAME model with v_template, shapedirs, posedirs, weights, J_regressor",
            found=f"{type(error).__name__}: {error}",
            fix="Give the unmodified generic_model.pkl.",
        ) from error
    for name, shape in expected.items():
        if shapes[name] != shape:
            fix = "Give the unmodified generic_model.pkl."
            raise BadInput(f"{path}: {name}", expected=f"shape {shape}", found=f"{shapes[name]}", fix=fix)
    first = 9 * (JAW - 1)  # the root has no correctives
    return Flame(
        template=arrays["v_template"],
        identity=arrays["shapedirs"][:, :, :IDENTITIES],
        expression=arrays["shapedirs"][:, :, IDENTITIES : IDENTITIES + expressions],
        correctives=arrays["posedirs"][:, :, first : first + 9],
        joint=regressor[JAW],
        weight=arrays["weights"][:, JAW],
        root=regressor[0],
    )


def fit_flame(flame: Flame, animation: Animation) -> tuple[np.ndarray, np.ndarray]:
    """Fit expression (T, E) and jaw (T, 3), axis times angle in radians, to the vertices of every frame.

    The animation's template serves as the identity, so that only motion is fitted.

    Raises:
        BadInput: the animation's mesh is not FLAME's, or not in FLAME's unit.
    """
    _same_mesh(flame, animation)
    metres = animation.mm_per_unit / 1000
    directions = np.concatenate([animation.offset[None], animation.basis])
    still, turned = _parts(flame, animation.template.astype(np.float64) * metres)
    gram, cross = _products(still, turned), metres * _products_with(directions.astype(np.float64), still, turned)
    count = flame.expression.shape[2]
    gram[0, 0, range(count), range(count)] += RIDGE * np.trace(gram[0, 0, :count, :count]) / count
    states = np.concatenate([np.ones((len(animation.states), 1)), animation.states], axis=1)
    fitted = [
        _fit_chunk(gram, np.einsum("aik,tk->tai", cross, states[i : i + CHUNK]), count)
        for i in range(0, len(states), CHUNK)
    ]
    expression, jaw = (np.concatenate(parts) for parts in zip(*fitted, strict=True))
    return expression, jaw


def fit_identity(flame: Flame, face: np.ndarray) -> np.ndarray:
    """Identity (up to 300,) of a face at rest (V, 3) in metres, by ridge regression (1e-6 times the mean square)."""
    basis = flame.identity.reshape(-1, flame.identity.shape[2])
    gram = basis.T @ basis
    gram += 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, basis.T @ (face - flame.template).reshape(-1))


def write_flame(stem: Path, animation: Animation, flame: Flame) -> list[Path]:
    """Write `STEM_flame.npz` and `STEM.wav`.

    Arrays, float32: `shape` (up to 300,), `expression` (T, E), `pose` (T, 15) as axis times angle of root, neck, jaw
    and the eyes (nonzero only for the jaw, columns 6 to 8, and for the root where the head moves), `translation`
    (T, 3) of the whole head in metres, `fps` ().
    """
    path = suffixed(stem, "_flame.npz")
    check_animation(path, animation)
    expression, jaw = fit_flame(flame, animation)
    pose = np.zeros((len(jaw), 15), np.float32)
    pose[:, 3 * JAW : 3 * JAW + 3] = jaw
    metres = animation.mm_per_unit / 1000
    face = metres * animation.template.astype(np.float64)
    rigid = animation.rigid()
    pose[:, :3] = Rotation.from_matrix(rigid[:, :, :3]).as_rotvec()
    joint = flame.root @ face + expression @ np.einsum("v,vxe->ex", flame.root, flame.expression)  # root joint
    translation = metres * rigid[:, :, 3] + np.einsum("txy,ty->tx", rigid[:, :, :3], joint) - joint
    shape = fit_identity(flame, face)
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            shape=shape.astype(np.float32),
            expression=expression.astype(np.float32),
            pose=pose,
            translation=translation.astype(np.float32),
            fps=np.float32(animation.fps),
        )
    return [path, write_sound(suffixed(stem, ".wav"), animation)]


def _same_mesh(flame: Flame, animation: Animation) -> None:
    if animation.template.shape != flame.template.shape:
        raise BadInput(
            "FLAME",
            expected=f"a mesh in FLAME's topology, {len(flame.template)} vertices",
            found=f"{len(animation.template)}",
            fix="Use a model of VOCASET or another corpus of that topology.",
        )
    found = np.ptp(animation.template, axis=0).max() * animation.mm_per_unit
    expected = 1000 * np.ptp(flame.template, axis=0).max()
    if not 0.5 < found / expected < 2:
        raise BadInput(
            "FLAME",
            expected=f"a head about {expected:.0f} mm high",
            found=f"{found:.0f} mm",
            fix="Check the corpus's mm_per_unit.",
        )


def _parts(flame: Flame, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrices from u to the displacement without the jaw and to what the jaw rotates, both (V, 3, E + 10).

    The columns belong to u = (ψ, 1, q). In the notation of the module's docstring, the first matrix is M_0, and M_a for
    q_a = Q_xy has the y components of the second matrix as its x components.
    """
    shaped = np.concatenate([flame.expression, face[:, :, None]], axis=2)
    from_joint = shaped - np.einsum("v,vxk->xk", flame.joint, shaped)
    turned = flame.weight[:, None, None] * np.concatenate([from_joint, flame.correctives], axis=2)
    shaped[:, :, -1] = 0  # the face at rest is not part of the displacement
    return np.concatenate([shaped, flame.correctives], axis=2), turned


def _products(still: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """M_aᵀ M_b, (10, 10, m, m)."""
    size = still.shape[2]
    gram = np.zeros((10, 10, size, size))
    gram[0, 0] = still.reshape(-1, size).T @ still.reshape(-1, size)
    among = np.array([[turned[:, y].T @ turned[:, z] for z in range(3)] for y in range(3)])
    for x in range(3):
        own = slice(1 + 3 * x, 4 + 3 * x)
        gram[own, own] = among  # motions along different axes are orthogonal
        gram[0, own] = [still[:, x].T @ turned[:, y] for y in range(3)]
        gram[own, 0] = gram[0, own].transpose(0, 2, 1)
    return gram


def _products_with(directions: np.ndarray, still: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """M_aᵀ d for the directions d (n, V, 3), as (10, m, n)."""
    first = still.reshape(-1, still.shape[2]).T @ directions.reshape(len(directions), -1).T
    rest = [turned[:, y].T @ directions[:, :, x].T for x in range(3) for y in range(3)]
    return np.stack([first, *rest])


def _fit_chunk(gram: np.ndarray, target: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg–Marquardt for all frames of a chunk.

    Args:
        gram: M_aᵀ M_b, (10, 10, m, m).
        target: M_aᵀ d, (T, 10, m), d a frame's displacement.
        count: E.

    Returns:
        ψ (T, E), and the jaw's rotation as axis times angle (T, 3).
    """
    frames = len(target)
    expression, rotation = np.zeros((frames, count)), np.tile(np.eye(3), (frames, 1, 1))
    damping = np.full(frames, 1e-6)
    normal, slope, best = _linearise(gram, target, expression, rotation)
    for _ in range(STEPS):
        diagonal = np.einsum("tii->ti", normal)
        damped = normal + np.einsum("ti,ij->tij", damping[:, None] * diagonal, np.eye(count + 3))
        step = np.linalg.solve(damped, -slope[:, :, None])[:, :, 0]
        trial_expression = expression + step[:, :count]
        trial_rotation = Rotation.from_rotvec(step[:, count:]).as_matrix() @ rotation
        trial = _linearise(gram, target, trial_expression, trial_rotation)
        better = trial[2] <= best
        expression[better], rotation[better] = trial_expression[better], trial_rotation[better]
        normal[better], slope[better], best[better] = trial[0][better], trial[1][better], trial[2][better]
        damping = np.where(better, np.maximum(damping / 10, 1e-12), damping * 10)
        if np.abs(step).max() < SETTLED:
            break
    return expression, Rotation.from_matrix(rotation).as_rotvec()


def _linearise(
    gram: np.ndarray, target: np.ndarray, expression: np.ndarray, rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """JᵀJ (T, E + 3, E + 3), Jᵀr (T, E + 3) and ½|r|² − ½|d|² (T,) at ψ and R.

    The last three parameters are those of a rotation that multiplies R from the left.
    """
    frames, count = expression.shape
    groups, _, size, _ = gram.shape
    q = (rotation - np.eye(3)).reshape(-1, 9)
    one = np.ones((frames, 1))
    outer, u = np.concatenate([one, q], axis=1), np.concatenate([expression, one, q], axis=1)
    # half[t, b] = (Σ_a outer_a M_a)ᵀ M_b
    half = (outer @ gram.reshape(groups, -1)).reshape(frames, groups, size, size)
    whole = np.einsum("tb,tbij->tij", outer, half)
    across = np.einsum("tbij,tj->tib", half[:, 1:], u)  # products with M_b u, the derivative by outer_b
    pairs = (gram[1:, 1:].reshape(-1, size) @ u.T).reshape(9, 9, size, frames)
    pairs = np.einsum("klit,ti->tkl", pairs, u)
    wanted = np.einsum("tb,tbi->ti", outer, target)
    at_u = np.einsum("tij,tj->ti", whole, u)
    cost = 0.5 * np.einsum("ti,ti->t", u, at_u) - np.einsum("ti,ti->t", u, wanted)
    slope_u = at_u - wanted
    slope_outer = np.einsum("ti,tik->tk", u, across) - np.einsum("tki,ti->tk", target[:, 1:], u)
    # The residual depends on q in two ways: through the last nine elements of u, and through outer.
    own = slice(count + 1, None)
    slope_q = slope_u[:, own] + slope_outer
    block = across[:, :count] + whole[:, :count, own]
    square = whole[:, own, own] + across[:, own] + across[:, own].transpose(0, 2, 1) + pairs
    turns = np.einsum("kxy,tyz->txzk", TURNS, rotation).reshape(frames, 9, 3)  # derivative of q by the turn of R
    mixed = block @ turns
    normal = np.concatenate(
        [
            np.concatenate([whole[:, :count, :count], mixed], axis=2),
            np.concatenate([mixed.transpose(0, 2, 1), turns.transpose(0, 2, 1) @ square @ turns], axis=2),
        ],
        axis=1,
    )
    slope = np.concatenate([slope_u[:, :count], np.einsum("tk,tkc->tc", slope_q, turns)], axis=1)
    return normal, slope, cost
