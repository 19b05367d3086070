"""Checks across clips: shared templates, duplicate clips, sound that does not fit the lips.

Reversed or late sound of all clips, or of a speaker with `ENOUGH` clips, shows in the loudness alone. The loudness of a
single clip says too little: in the embedded corpus one clean clip in ten fits better with reversed sound. Single clips
are compared with what all other clips tell, see `sound_and_lips`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from learn2talk_core.corpus.format import Corpus, Recording
from learn2talk_core.corpus.offset import STEP, AudioOffset, correlations, lip_curves, mean_offset, opening_curve
from learn2talk_core.datasets.problem import Problem
from learn2talk_core.datasets.sound_and_lips import Misfit, SoundAndLips, misfits, sound_and_lips
from learn2talk_core.datasets.source import Source

SAME_TEMPLATE = 0.01  # mm; two scans of one person differ by more
HEAD = round(1.5 / STEP)  # samples of a curve that are compared before whole clips are compared
SAME_CURVE = 0.999  # correlation; two voices that say the same sentence reach 0.99
IN_STEP = 10.0  # ms by which lips open after the sound in synchronous speech, see `corpus.offset`
FITS = 0.2  # correlation of loudness and lip opening above which their lag is meaningful
ENOUGH = 6  # clips; the mean lag of this many clips scatters by 30 ms around that of the corpus
SPEAKER_LATE = 60.0  # ms
REVERSED = "the sound fits the lips better when it is reversed"
REVERSE = "Reverse the sound or the motion, whichever is wrong."
BACKWARDS = 0.05  # gain in correlation that reversed sound must reach; for `ENOUGH` correct clips it fits worse


@dataclass(frozen=True)
class Trace:
    """The data of a clip that is kept for comparison with others: about ten kilobytes per second.

    Attributes:
        id, speaker: of the clip.
        level, opening: its curves, see `corpus.offset`.
        fit: (2, lags) `correlations` with its sound and with its reversed sound; None if `correlations` gives none.
        sound_and_lips: see there; None for short clips.
    """

    id: str
    speaker: str
    level: np.ndarray
    opening: np.ndarray
    fit: np.ndarray | None
    sound_and_lips: SoundAndLips | None


def trace(data: Source | Corpus, clip: Recording) -> Trace:
    """The trace of a clip for which `clip_checks.broken_clip` found no problem."""
    curves = lip_curves(opening_curve(data.topology, clip.motion), clip.audio, data.fps)
    smallest = 1e-6 * float(np.ptp(data.templates[clip.speaker]))
    rows = [correlations(curves, smallest, backwards=backwards) for backwards in (False, True)]
    fit = None if rows[0] is None else np.array(rows)
    detail = None if fit is None else sound_and_lips(data.topology, clip.motion, clip.audio, data.fps)
    return Trace(clip.id, clip.speaker, curves.level, curves.opening, fit, detail)


def across_clips(data: Source | Corpus, traces: Sequence[Trace], where: str) -> list[Problem]:
    """Problems across the clips of the corpus or dataset at `where`."""
    return [*_shared_templates(data), *_twice(traces), *_out_of_step(traces, where, data.fps)]


def _shared_templates(data: Source | Corpus) -> list[Problem]:
    fix = "Give each speaker its own neutral face, unless both are animated with the same head."
    return [
        Problem(f"speaker {other}", f"has the template of speaker {one}", "warning", fix)
        for (one, a), (other, b) in combinations(data.templates.items(), 2)
        if data.mm_per_unit * float(np.abs(a - b).max(initial=0)) < SAME_TEMPLATE
    ]


def _twice(traces: Sequence[Trace]) -> list[Problem]:
    motion = _first_alike([trace.opening for trace in traces])
    sound = _first_alike([trace.level for trace in traces])
    problems = []
    for number in sorted(motion.keys() | sound.keys()):
        first = motion.get(number, sound.get(number, 0))
        if motion.get(number) == sound.get(number):
            what = f"is a duplicate of clip {traces[first].id}"
        else:
            what = f"has the {'motion' if number in motion else 'sound'} of clip {traces[first].id}"
        fix = "Leave out one of them, or give it its own motion and sound."
        problems.append(Problem(f"clip {traces[number].id}", what, "warning", fix))
    return problems


def _first_alike(curves: Sequence[np.ndarray]) -> dict[int, int]:
    """Index of a curve → index of the first earlier curve that equals it, up to scale, over their common length."""
    heads = np.zeros((len(curves), HEAD))
    for row, curve in zip(heads, curves, strict=True):
        row[: len(curve)] = _unit(curve[:HEAD])
    found = {}
    for number, curve in enumerate(curves):
        for other in np.flatnonzero(heads[:number] @ heads[number] > SAME_CURVE).tolist():
            length = min(len(curve), len(curves[other]))
            if _unit(curve[:length]) @ _unit(curves[other][:length]) > SAME_CURVE:
                found[number] = other
                break
    return found


def _unit(curve: np.ndarray) -> np.ndarray:
    """The curve minus its mean, scaled to norm 1; zeros if it is constant."""
    moved = curve - curve.mean() if len(curve) else curve
    return moved / max(float(np.linalg.norm(moved)), 1e-30)


def _out_of_step(traces: Sequence[Trace], where: str, fps: float) -> list[Problem]:
    """Sound that does not fit the lips: in all clips, otherwise in those of a speaker, otherwise in single clips."""
    heard = [trace for trace in traces if trace.fit is not None]
    if not heard:
        return []
    offset = _offset(heard)
    if problems := _reversed(heard, where):
        return problems
    if offset.correlation < FITS:
        return []
    problems, single = [], []
    late = offset.lag_ms - IN_STEP
    if abs(late) >= 1500 / fps:
        fix = f"Add {late:+.0f} to corpus.source.audio_offset_ms."
        problems.append(Problem(where, str(offset), "warning", fix))
    for speaker in dict.fromkeys(trace.speaker for trace in heard):
        own = [trace for trace in heard if trace.speaker == speaker]
        wrong = _reversed(own, f"speaker {speaker}") or _late_speaker(own, speaker, offset.lag_ms)
        problems += wrong
        single += [] if wrong else own
    return problems + _single_clips(single)


def _fits(traces: Sequence[Trace]) -> np.ndarray:
    return np.array([trace.fit for trace in traces if trace.fit is not None])


def _offset(traces: Sequence[Trace]) -> AudioOffset:
    return mean_offset(_fits(traces)[:, 0])


def _reversed(traces: Sequence[Trace], where: str) -> list[Problem]:
    if len(traces) < ENOUGH:
        return []
    there, back = _fits(traces).mean(axis=0).max(axis=1)
    if back < max(FITS, there + BACKWARDS):
        return []
    return [Problem(where, REVERSED, "error", REVERSE)]


def _late_speaker(traces: Sequence[Trace], speaker: str, usual_ms: float) -> list[Problem]:
    if len(traces) < ENOUGH:
        return []
    offset = _offset(traces)
    if offset.correlation < FITS or abs(offset.lag_ms - usual_ms) < SPEAKER_LATE:
        return []
    return [_late(f"speaker {speaker}", offset.lag_ms - usual_ms)]


def _single_clips(traces: Sequence[Trace]) -> list[Problem]:
    found = misfits([trace.sound_and_lips for trace in traces])
    return [_misfit(f"clip {traces[number].id}", misfit) for number, misfit in found.items()]


def _misfit(where: str, misfit: Misfit) -> Problem:
    if misfit.kind == "shifted":
        return _late(where, -misfit.late_ms)
    if misfit.kind == "reversed":
        return Problem(where, REVERSED, "error", REVERSE)
    what = "the sound does not fit the lips, compared with all clips"
    return Problem(where, what, "warning", "Check that sound and motion are of the same recording.")


def _late(where: str, motion_ms: float) -> Problem:
    side = "early" if motion_ms > 0 else "late"
    what = f"the sound is {abs(motion_ms):.0f} ms {side} against the lips, compared with all clips"
    return Problem(where, what, "warning", "Align sound and motion; check that both start together.")
