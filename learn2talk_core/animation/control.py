"""What an artist changes about a speaking face: gains, smoothing, rest in silence, edits, expressions.

All of it is added to the motion as weights of ARKit's shapes, in rows of their own behind those of the speech, so that
every format and the curves contain it. Where the lips are closed (p b m, by the distance of the lips or by the
phonemes) they stay closed: what an addition opens there, `mouthClose` closes again; and smoothing leaves these frames
as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.signal import butter, sosfiltfilt

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, OCULUS
from learn2talk_core.animation.curves import arkit_weights, shapes_of
from learn2talk_core.animation.edits import groups_of
from learn2talk_core.animation.settings import Control
from learn2talk_core.animation.visemes import viseme_weights
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.phonemes import BILABIALS, Phoneme
from learn2talk_core.run.errors import BadInput

CLOSED, OPEN = (
    0.6,
    2.0,
)  # millimetres between the lips, more than at rest: closed below the first, open above the second
QUIET, PAUSE, RAMP = (
    40.0,
    0.35,
    0.12,
)  # dB below the loud parts; seconds of it that are a pause; seconds to come to rest
LOUD = 0.95  # quantile of the level that counts as loud


def controlled(animation: Animation, control: Control) -> Animation:
    """The animation with the settings applied. Without any the same object.

    Raises:
        BadInput: gains or edits for a mesh whose ARKit shapes are unknown, or that lacks one of them.
    """
    if not len(animation.states):
        return animation
    closed = None
    if control.smooth is not None:
        closed = closedness(animation)
        animation = smoothed(animation, control.smooth, closed)
    if control.rest:
        animation = rested(animation)
    if not control.gains and not control.edits:
        return animation
    closed = closedness(animation) if closed is None else closed
    before = arkit_weights(animation)
    after = _gained(before, animation, control.gains)
    for edit in control.edits:
        after = edit.apply(after, animation.fps)
    return added(animation, after - before, closed)


def _gained(curves: np.ndarray, animation: Animation, gains: Mapping[str, float]) -> np.ndarray:
    result = curves.astype(np.float64)
    of_shape = dict.fromkeys(ARKIT, 1.0)
    for name, gain in gains.items():
        for shape in groups_of(name):
            of_shape[shape] *= gain
    result *= np.array([of_shape[name] for name in ARKIT])
    visemes = {name: gain for name, gain in gains.items() if name in OCULUS}
    if visemes:
        shown = viseme_weights(curves, animation.fps, animation.phonemes)
        factor = np.ones(len(curves))
        for name, gain in visemes.items():
            factor += (gain - 1) * shown[:, list(OCULUS).index(name)]
        mouth = [number for number, name in enumerate(ARKIT) if name.startswith(("jaw", "mouth", "tongue"))]
        result[:, mouth] *= factor[:, None]
    return result.clip(0, 1)


def added(animation: Animation, change: np.ndarray, closed: np.ndarray) -> Animation:
    """The animation with a change (T, 52) of the weights of ARKit's shapes, the lips kept together where `closed`."""
    shapes = shapes_of(animation)
    used = [number for number, name in enumerate(ARKIT) if np.abs(change[:, number]).max(initial=0) > 1e-6]
    missing = [ARKIT[number] for number in used if ARKIT[number] not in shapes.names]
    if missing:
        fix = "Leave it out, or add it to --shapes."
        raise BadInput("control", expected="ARKit's shapes of this mesh", found=f"no {missing[0]}", fix=fix)
    if not used:
        return animation
    close = ARKIT.index("mouthClose")
    pairs = animation.topology.lip_pairs
    if len(pairs) and "mouthClose" in shapes.names:
        gaps = {n: _mean_gap(shapes.deltas[shapes.names.index(ARKIT[n])], pairs) for n in {*used, close}}
        opened = np.clip(sum((change[:, n] * gaps[n] for n in used), start=np.zeros(len(change))), 0, None)
        if gaps[close] < 0:
            change = change.copy()
            change[:, close] += closed * opened / -gaps[close]
            used = sorted({*used, close})
    deltas = np.stack([shapes.deltas[shapes.names.index(ARKIT[number])] for number in used])
    return replace(
        animation,
        states=np.concatenate([animation.states, change[:, used].astype(np.float32)], axis=1),
        basis=np.concatenate([animation.basis, deltas.astype(np.float32)]),
        shapes=(*animation.shapes, *(ARKIT[number] for number in used)),
    )


def _mean_gap(delta: np.ndarray, pairs: np.ndarray) -> float:
    """Mean change of the distance of the lips per unit of a shape, in the unit of the mesh."""
    return float((delta[pairs[:, 0], 1] - delta[pairs[:, 1], 1]).mean())


def closedness(animation: Animation) -> np.ndarray:
    """How closed the lips are in each frame, (T,) in 0..1: 1 within p b m, or where the lips meet."""
    found = np.zeros(len(animation.states))
    pairs = animation.topology.lip_pairs
    if len(pairs):
        ids = pairs.reshape(-1)
        still = animation.template[ids] + animation.offset[ids]
        height = animation.states @ animation.basis[:, ids, 1] + still[:, 1]
        rest = animation.template[pairs[:, 0], 1] - animation.template[pairs[:, 1], 1]
        gap = animation.mm_per_unit * (height[:, 0::2] - height[:, 1::2] - rest).mean(axis=1)
        found = 1 - _smoothstep((gap - CLOSED) / (OPEN - CLOSED))
    times = np.arange(len(found)) / animation.fps
    for phoneme in animation.phonemes:
        if phoneme.name in BILABIALS:
            found = np.maximum(found, _within(times, phoneme))
    return found


def _within(times: np.ndarray, phoneme: Phoneme, edge: float = 0.03) -> np.ndarray:
    return _smoothstep(np.minimum(times - phoneme.start, phoneme.end - times) / edge + 1)


def smoothed(animation: Animation, cut_off: float, closed: np.ndarray) -> Animation:
    """The speech through a low pass without delay; frames are left as they are as far as the lips are closed."""
    own = animation.states.shape[1] - len(animation.shapes)
    if 2 * cut_off >= animation.fps or len(animation.states) < 2:
        return animation
    speech = animation.states[:, :own].astype(np.float64)
    sos = butter(2, cut_off, fs=animation.fps, output="sos")
    smooth = sosfiltfilt(sos, speech, axis=0, padtype="even", padlen=min(len(speech) - 1, round(3 * animation.fps)))
    smooth += closed[:, None] * (speech - smooth)
    return replace(animation, states=np.concatenate([smooth.astype(np.float32), animation.states[:, own:]], axis=1))


def rested(animation: Animation) -> Animation:
    """The face at rest in the pauses of the sound; the motion before and after is not changed."""
    quiet = pauses(animation.wave, len(animation.states), animation.fps)
    if not quiet.any():
        return animation
    own = animation.states.shape[1] - len(animation.shapes)
    basis = animation.basis[:own].reshape(own, -1).astype(np.float64)
    # the states whose motion is nearest to none: basis · rest = -offset
    gram = basis @ basis.T + 1e-9 * np.eye(own) * (np.square(basis).sum() / own + 1e-30)
    rest = -np.linalg.solve(gram, basis @ animation.offset.reshape(-1).astype(np.float64))
    speech = animation.states[:, :own] + quiet[:, None] * (rest - animation.states[:, :own])
    return replace(animation, states=np.concatenate([speech.astype(np.float32), animation.states[:, own:]], axis=1))


def pauses(wave: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """How far a frame lies in a pause, (T,) in 0..1: in silence that lasts, with ramps at both of its ends.

    Silence is more than 40 dB below the loud parts of the sound, in windows of 40 ms.
    """
    half = round(0.02 * SAMPLE_RATE)
    power = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    centres = (np.arange(frames) * SAMPLE_RATE / fps).astype(int)
    first, last = np.clip(centres - half, 0, len(wave)), np.clip(centres + half, 0, len(wave))
    level = 10 * np.log10((power[last] - power[first]) / np.maximum(last - first, 1) + 1e-12)
    silent = level < np.quantile(level, LOUD) - QUIET
    depth = np.zeros(frames)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if (end - start) / fps >= PAUSE:
            inside = np.arange(start, end)
            before = (inside - start + 1) / fps if start > 0 else np.full(len(inside), np.inf)
            after = (end - inside) / fps if end < frames else np.full(len(inside), np.inf)
            depth[start:end] = _smoothstep(np.minimum(before, after) / RAMP)
    return depth


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def with_phonemes(animation: Animation, phonemes: Sequence[Phoneme]) -> Animation:
    """The animation with what is said."""
    return replace(animation, phonemes=tuple(phonemes))
