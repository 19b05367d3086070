"""Weights of Apple's 52 ARKit blend shapes, as the CSV of Epic's Live Link Face app and as JSON.

The curves w(t) in 0..1 minimise, over all frames together,

    ½ Σ_t |Σ_k w_k(t) S_k − u(t)|² + Σ_tk |S_k|² (σ_k(t) w_k(t) + ½ μ (D²w_k)(t)²),

u the displacement of the frame's vertices, S_k the shapes, D² the second difference. The second term keeps shapes that
explain next to nothing at rest; after a first solution v with σ everywhere, σ_k(t) = σ ε / (v_k(t) + ε), so that large
weights are not made smaller (Candès, Wakin and Boyd 2008, J. Fourier Anal. Appl. 14). The third is a low pass without
delay: a shape that looks like no other is damped to one half at the frequency f_c, and a mix of shapes that hardly
moves a vertex, which a fit frame by frame would fill with noise, at a lower one. Of two opposing shapes (`OPPOSING`)
only the stronger one is used in a frame.

Only shapes of mouth, jaw, cheeks and tongue are fitted to the speech, and those of the brows and nose besides if the
face is alive; blinks and gaze are known exactly, and are copied. For the embedded head the shapes are its own face
units; any other mesh needs a file with its shapes. The motion is linear in the states, so the normal equations are
formed once between shapes and basis, and vertices are never computed for single frames.
"""

import json
from pathlib import Path

import numpy as np
from scipy.fft import dct, idct

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, OPPOSING, BlendShapes, embedded_shapes
from learn2talk_core.animation.life import LOOK_DEGREES, SIDES
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.export.geometry import check_animation, suffixed, write_sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file

TURNS = (
    *("HeadYaw", "HeadPitch", "HeadRoll"),
    *(f"{side}Eye{turn}" for side in ("Left", "Right") for turn in ("Yaw", "Pitch", "Roll")),
)
EYES, UPPER = ("eye",), ("brow", "nose")  # how the names of shapes begin that speech does not move
CUT_OFF = 8.0  # hertz, f_c
SPARSITY, SMALL = 0.002, 0.01  # σ, ε
CHUNK = 256  # frames solved together: 5 MB for 52 shapes
RIDGE = 1e-9  # times the shapes' mean square, added to the diagonal: makes the solution unique for similar shapes
STEPS = 1000  # upper limit, far more than needed, in case rounding makes the iteration cycle
TOLERANCE = 1e-9  # in weights
SPLITTINGS, SETTLED = 1000, 1e-6  # of the alternating directions: at most so many; the change of weight that ends them


def write_arkit(stem: Path, animation: Animation, shapes: BlendShapes | None = None) -> list[Path]:
    """Write `STEM_arkit.csv`, `STEM_arkit.json` and `STEM.wav`; arguments as for `arkit_weights`."""
    check_animation(stem, animation)
    weights = arkit_weights(animation, shapes)
    head = None if animation.pose is None else head_turns(animation)
    return [
        write_arkit_csv(suffixed(stem, "_arkit.csv"), weights, animation.fps, head),
        write_arkit_json(suffixed(stem, "_arkit.json"), weights, animation.fps, head),
        write_sound(suffixed(stem, ".wav"), animation),
    ]


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
        shapes: the blend shapes of its mesh; None for the embedded head.
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
    weights = np.zeros((len(states), len(ARKIT)), np.float32)
    for number, name in enumerate(animation.shapes, states.shape[1] - known):
        weights[:, ARKIT.index(name)] = np.clip(states[:, number], 0, 1)
    alive = bool(known) or animation.pose is not None
    left_out = () if whole_face else EYES if alive else EYES + UPPER
    names = [name for name in shapes.names if not name.startswith(left_out) and name not in animation.shapes]
    if not names:
        return weights
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
    weights[:, [ARKIT.index(names[number]) for number in ours]] = found[:, ours]
    return weights


def shapes_of(animation: Animation) -> BlendShapes:
    """The shapes of the embedded head, which the animation must have."""
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


def head_turns(animation: Animation) -> np.ndarray:
    """Yaw, pitch and roll of the head (T, 3) in radians, positive to the speaker's left, up, and to the right shoulder.

    Computed from the face's axes, as other programs do with ARKit's `ARFaceAnchor.transform`: yaw and pitch from the
    direction of z, roll from the tilt of x.
    """
    turn = animation.rigid()[:, :, :3]
    yaw, pitch = np.arctan2(turn[:, 0, 2], turn[:, 2, 2]), np.arcsin(np.clip(turn[:, 1, 2], -1, 1))
    return np.stack([yaw, pitch, np.arctan2(turn[:, 1, 0], turn[:, 1, 1])], axis=1)


def eye_turns(weights: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll of the left, then of the right eye (T, 6) in radians, from the look weights in (T, 52).

    Positive to the speaker's right and down, as in a recording of the app (docs/export.md); eyes do not roll.
    `life.LOOK_DEGREES` holds the angle by which a weight of 1 turns an eye.
    """
    turns = np.zeros((len(weights), 2, 3))
    for number, side in enumerate(SIDES):
        looks = {
            look: np.radians(degrees) * weights[:, ARKIT.index(f"eyeLook{look}{side}")]
            for look, degrees in LOOK_DEGREES.items()
        }
        inwards = looks["In"] - looks["Out"]
        turns[:, number, 0] = inwards if side == "Left" else -inwards
        turns[:, number, 1] = looks["Down"] - looks["Up"]
    return turns.reshape(-1, 6)


def write_arkit_csv(path: str | Path, weights: np.ndarray, fps: float, head: np.ndarray | None = None) -> Path:
    """Write `arkit_weights` in the layout of Live Link Face's recordings; returns the path.

    Columns: Timecode (hours:minutes:seconds:frames from the sound's start, frames with three decimals),
    BlendShapeCount (61), the 52 weights, three angles of the head (`head_turns`; zero if `head` is None) and three of
    each eye (`eye_turns`).
    """
    header = ",".join(["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in ARKIT), *TURNS])
    head = np.zeros((len(weights), 3)) if head is None else head
    columns = np.concatenate([weights, head, eye_turns(weights)], axis=1)
    row = f"%s,{len(ARKIT) + len(TURNS)}," + ",".join(["%.6f"] * columns.shape[1]) + "\n"
    with whole_file(path) as partial, partial.open("w", newline="\n") as out:
        out.write(header + "\n")
        out.writelines(row % (timecode(frame, fps), *numbers.tolist()) for frame, numbers in enumerate(columns))
    return Path(path)


def write_arkit_json(path: str | Path, weights: np.ndarray, fps: float, head: np.ndarray | None = None) -> Path:
    """Write `arkit_weights` as `{"fps": fps, "names": [52], "frames": [[52], …]}`; returns the path.

    With `head`, which `head_turns` returns, there is also `"head": [[yaw, pitch, roll], …]` in radians.
    """
    row = "[" + ",".join(["%.6f"] * len(ARKIT)) + "]"
    with whole_file(path) as partial, partial.open("w", newline="\n") as out:
        out.write(json.dumps({"fps": float(fps), "names": ARKIT})[:-1] + ', "frames": [')
        out.writelines(",\n" * (frame > 0) + row % tuple(numbers.tolist()) for frame, numbers in enumerate(weights))
        out.write("]" if head is None else f'], "head": {json.dumps(np.round(head, 6).tolist())}')
        out.write("}\n")
    return Path(path)


def timecode(frame: int, fps: float) -> str:
    """The time of a frame as hours:minutes:seconds:frames."""
    seconds = int(frame / fps + 1e-9)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{max(frame - seconds * fps, 0):06.3f}"
