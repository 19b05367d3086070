"""What a clip shows by itself to be wrong: the same checks for a dataset and for the corpus made of it.

The thresholds lie between what clean clips measure (208 clips of the embedded corpus, 210 of the imitations of VOCASET,
BIWI and own data) and what the planted faults of `tests/datasets/test_clip_checks.py` measure.
"""

from itertools import pairwise

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE, SILENCE_PEAK
from learn2talk_core.corpus.format import Corpus, Recording
from learn2talk_core.corpus.offset import STEP, sound_level
from learn2talk_core.datasets.problem import Problem
from learn2talk_core.datasets.source import Source

Data = Source | Corpus

SIZES = (0.8, 1.25)  # a face against its template; a person's own face varies by less, another unit by far more
LIPS_STILL = 0.1  # mm; lips that move by less do not speak
DRIFT = 5.0  # mm; a head that moves by more is not held still
STRANGER = 5.0  # mm, root mean square; clean faces lie within 0.6 of their template, two people within 4
CLOSER = 0.2  # mm by which another template must fit better, so that one template under two names raises no alarm
FASTEST = 600.0  # mm/s; lips, jaw and lids stay below 400
FROZEN_STEP = 0.01  # mm that the most moving vertex moves from frame to frame; scans tremble by 0.2
FROZEN_SPEECH = 0.3  # seconds of speech in which nothing moves; stops hold the lips for less
SPEECH_RANGE = 25.0  # dB below the loudest moment of the clip; what is fainter is a pause
NEAR_PEAK, MOST_NEAR_PEAK = 0.9, 0.004  # share of the peak, share of samples above it; clean speech has 0.0017 at most


def broken_clip(data: Data, clip: Recording) -> list[Problem]:
    """Why a clip cannot be examined at all: no sound, motion that is not finite, or another mesh or unit."""
    where, template = _where(clip), data.templates[clip.speaker]
    problems = [*_not_finite(clip), *_silent(clip)]
    if clip.motion.shape[1:] != template.shape or not len(clip.motion):
        what = f"motion of shape {clip.motion.shape} for a template of shape {template.shape}"
        problems.append(Problem(where, what, "error", "Check that clip and template belong to one mesh."))
    elif not problems:
        ratio = float(np.ptp(clip.motion[0], axis=0).max() / max(np.ptp(template, axis=0).max(), 1e-12))
        if not SIZES[0] < ratio < SIZES[1]:
            what = f"the face is {ratio:.3g} times as large as the speaker's template"
            problems.append(Problem(where, what, "error", "Bring motion and templates to one unit and one recipe."))
    return problems


def doubtful(data: Data, clip: Recording) -> list[Problem]:
    """What is wrong with a clip that is not `broken_clip`."""
    steps = largest_steps(clip.motion) * data.mm_per_unit
    return [
        *_moving_head(data, clip),
        *_wrong_face(data, clip),
        *_jump(data, clip, steps),
        *_still(data, clip, steps),
        *_clipped(clip),
    ]


def largest_steps(motion: np.ndarray) -> np.ndarray:
    """(T - 1,) how far the most moving vertex of (T, V, 3) moves from each frame to the next."""
    moves = (after - before for before, after in pairwise(motion))
    return np.sqrt([np.einsum("vi,vi->v", move, move).max() for move in moves])


def distance(points: np.ndarray, others: np.ndarray) -> float:
    """Root mean square distance of two shapes (n, 3), one turned and moved onto the other (Kabsch); no mirroring."""
    a, b = points - points.mean(axis=0), others - others.mean(axis=0)
    u, scale, vt = np.linalg.svd(a.T @ b)
    scale[-1] *= np.sign(np.linalg.det(u @ vt))
    return float(np.sqrt(max(np.vdot(a, a) + np.vdot(b, b) - 2 * scale.sum(), 0.0) / len(a)))


def _where(clip: Recording) -> str:
    return f"clip {clip.id}"


def _not_finite(clip: Recording) -> list[Problem]:
    finite = np.isfinite(clip.motion.reshape(len(clip.motion), -1)).all(axis=1)
    if finite.all():
        return []
    what = f"frame {int(np.argmin(finite))}: NaN or infinity in the motion"
    return [Problem(_where(clip), what, "error", "Repair or leave out the clip.")]


def _silent(clip: Recording) -> list[Problem]:
    if np.abs(clip.audio).max(initial=0) >= SILENCE_PEAK:
        return []
    return [Problem(_where(clip), "silent audio", "error", "Give it its sound, or leave out the clip.")]


def _moving_head(data: Data, clip: Recording) -> list[Problem]:
    skull = data.topology.regions["upper_face"]
    away = (clip.motion[:, skull] - data.templates[clip.speaker][skull]).mean(axis=1)
    most = data.mm_per_unit * float(np.linalg.norm(away, axis=1).max(initial=0))
    if most <= DRIFT:
        return []
    what = f"the upper face moves {most:.0f} mm away from the template"
    return [Problem(_where(clip), what, "warning", "Take the head's own motion out of the vertices.")]


def _wrong_face(data: Data, clip: Recording) -> list[Problem]:
    """The clip's mean upper face, which hardly depends on what is said, against the templates of all speakers."""
    skull = data.topology.regions["upper_face"]
    if not len(skull):
        return []
    shapes = {name: template[skull].astype(np.float64) for name, template in data.templates.items()}
    face = clip.motion[:, skull].mean(axis=0, dtype=np.float64)
    away = {name: data.mm_per_unit * distance(face, shape) for name, shape in shapes.items()}
    own, nearest = away[clip.speaker], min(away, key=lambda name: away[name])
    if own > STRANGER and data.mm_per_unit * distance(face * [-1, 1, 1], shapes[clip.speaker]) < own / 2:
        what = "the motion is mirrored, left for right"
        fix = "Mirror it back (x of every vertex), or leave out the clip."
    elif own > away[nearest] + CLOSER:
        what = f"the face fits the template of speaker {nearest} better than that of {clip.speaker}"
        fix = "Check who speaks in the clip, and whether templates are swapped."
    elif own > STRANGER:
        what = f"the upper face has another shape than the template, {own:.0f} mm apart"
        fix = "Check that clip and template are of one speaker and one mesh."
    else:
        return []
    return [Problem(_where(clip), what, "error", fix)]


def _jump(data: Data, clip: Recording, steps: np.ndarray) -> list[Problem]:
    if steps.max(initial=0) * data.fps <= FASTEST:
        return []
    frame = int(np.argmax(steps))
    moved = np.linalg.norm(clip.motion[frame + 1] - clip.motion[frame], axis=1)
    what = f"vertex {int(np.argmax(moved))} jumps {steps[frame]:.0f} mm from frame {frame} to {frame + 1}"
    return [Problem(_where(clip), what, "error", "Repair these frames, or leave out the clip.")]


def _still(data: Data, clip: Recording, steps: np.ndarray) -> list[Problem]:
    lips = data.topology.regions["lips"]
    moved = data.mm_per_unit * float(np.ptp(clip.motion[:, lips], axis=0).max(initial=0))
    if moved < LIPS_STILL:
        what = f"the lips move by {moved:.2g} mm only"
        return [Problem(_where(clip), what, "error", "Leave out the clip.")]
    first, last = _longest_run(steps < FROZEN_STEP)
    times = np.arange(0, len(clip.audio) / SAMPLE_RATE, STEP)
    level = sound_level(clip.audio, times)
    frozen = (times >= first / data.fps) & (times < last / data.fps)
    if STEP * (frozen & (level > level.max() - SPEECH_RANGE)).sum() < FROZEN_SPEECH:
        return []
    what = f"nothing moves from {first / data.fps:.1f} to {last / data.fps:.1f} s, though there is speech"
    return [Problem(_where(clip), what, "error", "Repair the motion, or leave out the clip.")]


def _longest_run(true: np.ndarray) -> tuple[int, int]:
    """First index of the longest run of true values, and the one after its last; (0, 0) where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]])))
    if not len(edges):
        return 0, 0
    first, last = max(edges.reshape(-1, 2).tolist(), key=lambda run: run[1] - run[0])
    return first, last


def _clipped(clip: Recording) -> list[Problem]:
    """Clipping leaves many samples near the peak, also after the sound was made softer or resampled."""
    level = np.abs(clip.audio)
    share = float((level > NEAR_PEAK * min(float(level.max()), 1.0)).mean())
    if share <= MOST_NEAR_PEAK:
        return []
    fix = "Take a recording that is not overdriven; the networks would hear what others do not sound like."
    return [Problem(_where(clip), "clipped sound: many samples at its peak", "warning", fix)]
