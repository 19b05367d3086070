"""Curves: the weights of Apple's 52 ARKit blend shapes that an animation corresponds to.

The curves w(t) in 0..1 minimise, over all frames together,

    ½ Σ_t |Σ_k w_k(t) S_k − u(t)|² + Σ_tk |S_k|² (σ_k(t) w_k(t) + ½ μ (D²w_k)(t)²),

u the displacement of the frame's vertices, S_k the shapes, D² the second difference. The second term keeps shapes that
explain next to nothing at rest; after a first solution v with σ everywhere, σ_k(t) = σ ε / (v_k(t) + ε), so that large
weights are not made smaller (Candès, Wakin and Boyd 2008, J. Fourier Anal. Appl. 14). The third is a low pass without
delay: a shape that looks like no other is damped to one half at the frequency f_c, and a mix of shapes that hardly
moves a vertex, which a fit frame by frame would fill with noise, at a lower one. Of two opposing shapes (`OPPOSING`)
only the stronger one is used in a frame.

Only shapes of mouth, jaw, cheeks and tongue are fitted to the speech, and those of the brows and nose besides if the
face is alive. Blinks, gaze and edits are known exactly, and are added. The motion is linear in the states, so the
normal equations are formed once between shapes and basis, and vertices are never computed for single frames.
"""

import numpy as np
from scipy.fft import dct, idct

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, OPPOSING, BlendShapes, embedded_shapes
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.run.errors import BadInput

EYES, UPPER = ("eye",), ("brow", "nose")  # how the names of shapes begin that speech does not move
CUT_OFF = 8.0  # hertz, f_c
SPARSITY, SMALL = 0.002, 0.01  # σ, ε
CHUNK = 256  # frames solved together: 5 MB for 52 shapes
RIDGE = 1e-9  # times the shapes' mean square, added to the diagonal: makes the solution unique for similar shapes
STEPS = 1000  # upper limit, far more than needed, in case rounding makes the iteration cycle
TOLERANCE = 1e-9  # in weights
SPLITTINGS, SETTLED = 1000, 1e-6  # of the alternating directions: at most so many; the change of weight that ends them


def arkit_weights(
    animation: Animation,
    shapes: BlendShapes | None = None,
    *,
    cut_off: float | None = CUT_OFF,
    sparsity: float = SPARSITY,
    whole_face: bool = False,
) -> np.ndarray:
    """Weights (T, 52) float32 in 0..1, in the order of `ARKIT`; zero where the mesh has no such shape.

    Args:
        animation: the animation to convert.
        shapes: the blend shapes of its mesh; None takes the animation's own, or those of the embedded head.
        cut_off: f_c in hertz; None fits every frame by itself, with opposing shapes together.
        sparsity: σ.
        whole_face: fit the eyes' shapes too, for motion that was recorded.

    Raises:
        BadInput: the shapes belong to another mesh, or none were given for a mesh other than the embedded head.
    """
    shapes = shapes_of(animation) if shapes is None else shapes
    if shapes.deltas.shape[1:] != animation.template.shape:
        raise BadInput(
            "ARKit weights",
            expected=f"blend shapes of {len(animation.template)} vertices, as the animation has",
            found=f"{shapes.deltas.shape[1]}",
            fix="Make them from the same mesh, with the vertices in the same order.",
        )
    known = len(animation.shapes)
    states, basis = animation.states, animation.basis
    weights = np.zeros((len(states), len(ARKIT)))
    for number, name in enumerate(animation.shapes, states.shape[1] - known):
        weights[:, ARKIT.index(name)] += states[:, number]
    alive = animation.pose is not None or any(name.startswith(EYES) for name in animation.shapes)
    left_out = () if whole_face else EYES if alive else EYES + UPPER
    names = [name for name in shapes.names if not name.startswith(left_out)]
    if not names:
        return weights.clip(0, 1).astype(np.float32)
    deltas = np.stack([shapes.deltas[shapes.names.index(name)] for name in names])
    deltas = deltas.reshape(len(names), -1).astype(np.float64)
    moving = deltas @ basis[: len(basis) - known].reshape(len(basis) - known, -1).T
    right = deltas @ animation.offset.reshape(-1) + states[:, : len(basis) - known] @ moving.T
    gram = deltas @ deltas.T
    if cut_off is None:
        gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        right -= sparsity * np.diag(gram)
        parts = [solve_box(gram, right[start : start + CHUNK]) for start in range(0, len(right), CHUNK)]
        found = np.concatenate(parts)
    else:
        pairs = [tuple(names.index(name) for name in pair) for pair in OPPOSING if set(pair) <= set(names)]
        found = solve_curves(gram, right, pairs, animation.fps / cut_off, sparsity)
    ours = [number for number, name in enumerate(names) if name in ARKIT]
    weights[:, [ARKIT.index(names[number]) for number in ours]] += found[:, ours]
    return weights.clip(0, 1).astype(np.float32)


def shapes_of(animation: Animation) -> BlendShapes:
    """The ARKit shapes of the animation's mesh.

    Raises:
        BadInput: the animation has none, and its mesh is not the embedded head.
    """
    if animation.arkit is not None:
        return animation.arkit
    if not np.array_equal(animation.topology.faces, load_face().faces):
        raise BadInput(
            "ARKit weights",
            expected="the embedded head, or a file with the blend shapes of this mesh",
            found=f"another mesh, of {len(animation.template)} vertices",
            fix="Give an .npz file with the names and deltas of its blend shapes (docs/export.md).",
        )
    return embedded_shapes()


def solve_curves(
    gram: np.ndarray, right: np.ndarray, pairs: list[tuple[int, ...]], frames: float, sparsity: float
) -> np.ndarray:
    """The curves W (T, K) in 0..1 that minimise ½ tr W G Wᵀ − tr W Bᵀ + Σ_k g_kk (Σ_t σ_k w_k + ½ μ |D² w_k|²).

    By alternating directions (ADMM; Boyd et al. 2011, Foundations and Trends in Machine Learning 3(1), §5.2): the
    quadratic part is solved exactly, since it is diagonal in the eigenvectors of G along shapes and in cosines along
    time; D²'s ends are those of the cosine transform (type 2: the curve is mirrored). The box is a clip. After a first
    solution the weaker of two opposing shapes is held at 0, and the rest is solved again.

    Args:
        gram: G, (K, K).
        right: B, (T, K).
        pairs: numbers of opposing shapes.
        frames: frames per second over the cut-off frequency, fps / f_c. With it μ = (2 − 2 cos(2π / frames))⁻²,
            since D² multiplies a wave of that frequency by −(2 − 2 cos).
        sparsity: σ.
    """
    size = np.sqrt(np.maximum(np.diag(gram), 1e-30 + RIDGE * np.trace(gram) / len(gram)))
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))  # every shape has length 1: v = size · w
    cost = np.full_like(right, sparsity)
    count = len(right)
    at = np.concatenate([np.pi * np.arange(count) / count, [min(2 * np.pi / frames, np.pi)]])
    bends = (1 - np.cos(at[:-1])) ** 2 / (1 - np.cos(at[-1])) ** 2
    step = float(np.sqrt(np.median(values.clip(1e-3))))
    inverse = 1 / (values.clip(0) + bends[:, None] + step)
    highest = np.tile(size, (count, 1))
    shown, price = np.zeros_like(right), np.zeros_like(right)
    for again in range(2):
        turned = (right / size - cost * size) @ vectors
        for _ in range(SPLITTINGS):
            target = dct(turned + step * ((shown - price) @ vectors), axis=0, norm="ortho") * inverse
            smooth = idct(target, axis=0, norm="ortho") @ vectors.T
            mixed = 1.6 * smooth - 0.6 * shown  # over-relaxed, §3.4.3
            before, shown = shown, np.clip(mixed + price, 0, highest)
            price += mixed - shown
            moved, apart = np.abs(shown - before).max(axis=0), np.abs(shown - smooth).max(axis=0)
            if (moved < SETTLED * size).all() and (apart < 10 * SETTLED * size).all():
                break
        if not again:
            cost = sparsity * SMALL / (shown / size + SMALL)
            for one, other in pairs:
                weaker = shown[:, one] < shown[:, other]
                highest[weaker, one], highest[~weaker, other] = 0, 0
    return shown / size


def solve_box(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For every row b of `right`, the w in [0, 1]^K that minimises ½ wᵀ G w − bᵀ w.

    Bounded-variable least squares by active sets (Stark & Parker 1995, Computational Statistics 10). Weights at a bound
    are held fixed. The others move to their minimum, or towards it until one of them reaches a bound; that one is then
    held, too. At the minimum, the held weight whose gradient points inwards most strongly is released. Rows are
    independent and solved in parallel. The result is exact even for shapes so similar that gradient descent is slow.

    Args:
        gram: G, (K, K), symmetric positive definite.
        right: (T, K).

    Returns:
        (T, K) float64.
    """
    scale, alone = 1 / np.diag(gram), np.eye(len(gram), dtype=bool)
    weights = np.clip(np.linalg.solve(gram, right.T).T, 0, 1)
    w, held, rows = weights.copy(), (weights <= 0) | (weights >= 1), np.arange(len(right))
    for _ in range(STEPS):
        slope = w @ gram - right[rows]
        system = np.where((~held[:, :, None] & ~held[:, None, :]) | alone, gram, 0)
        step = -np.linalg.solve(system, np.where(held, 0, slope)[:, :, None])[:, :, 0]
        moves = ~held & (step != 0)
        room = np.divide(np.where(step < 0, w, 1 - w), np.abs(step), out=np.full_like(w, np.inf), where=moves)
        far = np.minimum(room.min(axis=1), 1)
        stopped = room <= np.where(far < 1, far, -1)[:, None]
        w = np.clip(np.where(stopped, step > 0, w + far[:, None] * step), 0, 1)
        held |= stopped
        inwards = np.where(held, np.where(w <= 0, -1, 1) * (w @ gram - right[rows]) * scale, -np.inf)
        strongest = inwards.argmax(axis=1)
        arrived = far == 1
        free = arrived & (inwards.max(axis=1) > TOLERANCE)
        held[free, strongest[free]] = False
        weights[rows] = w
        on = ~arrived | free
        w, held, rows = w[on], held[on], rows[on]
        if not len(rows):
            break
    return weights
