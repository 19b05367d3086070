"""Checks of single clips, the same for a dataset and for the corpus made from it.

The thresholds lie between the values of clean clips (208 clips of the embedded corpus, 210 of the imitations of
VOCASET, BIWI and own data) and those of the planted faults of `tests/datasets/test_clip_checks.py`.
"""

from itertools import pairwise

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE, SILENCE_PEAK
from learn2talk_core.corpus.format import Corpus, Recording
from learn2talk_core.corpus.offset import STEP, sound_level
from learn2talk_core.datasets.problem import Problem
from learn2talk_core.datasets.source import Source

Data = Source | Corpus

SIZES = (0.8, 1.25)  # face relative to its template; one person's face varies less than this, another unit far more
LIPS_STILL = 0.1  # mm; lips that move less than this are not speaking
DRIFT = 5.0  # mm; if the upper face moves more than this, head motion was not removed
STRANGER = 5.0  # mm, root mean square; clean faces are within 0.6 of their template, two people within 4 of each other
CLOSER = 0.2  # mm by which another template must fit better, so that a template shared by two speakers is not reported
FASTEST = 600.0  # mm/s; lips, jaw and lids stay below 400
FROZEN_STEP = 0.01  # mm per frame of the vertex that moves most; the noise of scans is 0.2
FROZEN_SPEECH = 0.3  # seconds of speech without any motion; stop consonants hold the lips for less
SPEECH_RANGE = 25.0  # dB below the loudest moment of the clip; quieter parts count as pauses
NEAR_PEAK, MOST_NEAR_PEAK = 0.9, 0.004  # share of the peak, share of samples above it; at most 0.0017 in clean speech


def broken_clip(data: Data, clip: Recording) -> list[Problem]:
    """Problems that prevent any further check of a clip: no sound, motion that is not finite, another mesh or unit."""
    where, template = _where(clip), data.templates[clip.speaker]
    problems = [*_not_finite(clip), *_silent(clip)]
    if clip.motion.shape[1:] != template.shape or not len(clip.motion):
        what = f"motion of shape {clip.motion.shape} for a template of shape {template.shape}"
        problems.append(Problem(where, what, "error", "Check that clip and template have the same mesh."))
    elif not problems:
        ratio = float(np.ptp(clip.motion[0], axis=0).max() / max(np.ptp(template, axis=0).max(), 1e-12))
        if not SIZES[0] < ratio < SIZES[1]:
            what = f"the face is {ratio:.3g} times as large as the speaker's template"
            problems.append(Problem(where, what, "error", "Use the same unit and recipe for motion and templates."))
    return problems


def doubtful(data: Data, clip: Recording) -> list[Problem]:
    """Further problems of a clip for which `broken_clip` found none."""
    steps = largest_steps(clip.motion) * data.mm_per_unit
    return [
        *_moving_head(data, clip),
        *_wrong_face(data, clip),
        *_jump(data, clip, steps),
        *_still(data, clip, steps),
        *_clipped(clip),
    ]


def largest_steps(motion: np.ndarray) -> np.ndarray:
    """(T - 1,) the largest distance that any vertex of (T, V, 3) moves from each frame to the next."""
    moves = (after - before for before, after in pairwise(motion))
    return np.sqrt([np.einsum("vi,vi->v", move, move).max() for move in moves])


def distance(points: np.ndarray, others: np.ndarray) -> float:
    """Root mean square distance of two shapes (n, 3) after rigid alignment (Kabsch), without mirroring."""
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
    return [Problem(_where(clip), "silent audio", "error", "Add the sound, or leave out the clip.")]


def _moving_head(data: Data, clip: Recording) -> list[Problem]:
    skull = data.topology.regions["upper_face"]
    away = (clip.motion[:, skull] - data.templates[clip.speaker][skull]).mean(axis=1)
    most = data.mm_per_unit * float(np.linalg.norm(away, axis=1).max(initial=0))
    if most <= DRIFT:
        return []
    what = f"the upper face moves {most:.0f} mm away from the template"
    return [Problem(_where(clip), what, "warning", "Remove the head motion from the vertices.")]


def _wrong_face(data: Data, clip: Recording) -> list[Problem]:
    """Compare the clip's mean upper face, which hardly depends on the speech, with the templates of all speakers."""
    skull = data.topology.regions["upper_face"]
    if not len(skull):
        return []
    shapes = {name: template[skull].astype(np.float64) for name, template in data.templates.items()}
    face = clip.motion[:, skull].mean(axis=0, dtype=np.float64)
    away = {name: data.mm_per_unit * distance(face, shape) for name, shape in shapes.items()}
    own, nearest = away[clip.speaker], min(away, key=lambda name: away[name])
    if own > STRANGER and data.mm_per_unit * distance(face * [-1, 1, 1], shapes[clip.speaker]) < own / 2:
        what = "the motion is mirrored, left and right exchanged"
        fix = "Mirror it back (negate x of every vertex), or leave out the clip."
    elif own > away[nearest] + CLOSER:
        what = f"the face fits the template of speaker {nearest} better than that of {clip.speaker}"
        fix = "Check who speaks in the clip, and whether templates are swapped."
    elif own > STRANGER:
        what = f"the upper face differs in shape from the template by {own:.0f} mm"
        fix = "Check that clip and template have the same speaker and mesh."
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
        what = f"the lips move by only {moved:.2g} mm"
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
    """Start and end (exclusive) of the longest run of true values; (0, 0) if there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]])))
    if not len(edges):
        return 0, 0
    first, last = max(edges.reshape(-1, 2).tolist(), key=lambda run: run[1] - run[0])
    return first, last


def _clipped(clip: Recording) -> list[Problem]:
    """Clipping leaves many samples near the peak, even if the sound is then attenuated or resampled."""
    level = np.abs(clip.audio)
    share = float((level > NEAR_PEAK * min(float(level.max()), 1.0)).mean())
    if share <= MOST_NEAR_PEAK:
        return []
    fix = "Use a recording that is not overdriven; the networks would learn from sound that other speech does not have."
    return [Problem(_where(clip), "clipped sound: many samples at its peak", "warning", fix)]
