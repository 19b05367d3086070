"""Choose the clips, styles and frames that the pictures and the video show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.corpus.phonemes import SILENCE, VISEMES, Phoneme
from learn2talk_core.corpus.predictions import Predictions
from learn2talk_core.metrics.vertex_error import vertex_distance


@dataclass(frozen=True)
class Example:
    """A clip, and its motions by name: `truth` and the students, each (T, V, 3), cut to their common length."""

    clip: Clip
    motions: Mapping[str, np.ndarray]


def example_clips(clips: Sequence[Clip], filmed: Sequence[str], count: int) -> list[Clip]:
    """The first `count` of `clips`; clips with a teacher video (ids in `filmed`) come before the others."""
    return sorted(clips, key=lambda clip: clip.id not in filmed)[:count]  # a stable sort


def reported_style(student: Predictions, clip: Clip, row: Mapping[str, Any]) -> str:
    """The style that the result table reports for the clip's speaker; `row` is the student's row in evaluate.json."""
    return row.get("styles", {}).get(clip.speaker) or student.styles(clip.id)[0]


def load_example(
    corpus: Corpus, clip: Clip, students: Mapping[str, Predictions], rows: Mapping[str, Mapping[str, Any]]
) -> Example:
    """Read the motions of one clip; `rows` are those of its test in evaluate.json."""
    found = {
        name: student.vertices(clip.id, reported_style(student, clip, rows[name])) for name, student in students.items()
    }
    motions = {"truth": corpus.vertices(clip), **found}
    frames = min(map(len, motions.values()))
    return Example(clip, {name: motion[:frames] for name, motion in motions.items()})


def viseme_frames(phonemes: Sequence[Phoneme], frames: int, fps: float, count: int) -> list[tuple[int, str]]:
    """Choose `count` frames that show different visemes, each labelled with the phoneme spoken in it.

    For each viseme the middle frame of its longest phoneme is a candidate; `count` of these are chosen, evenly spread
    over the viseme table (p b m, f v, th, …, vowels). If the clip has fewer visemes, or unknown phonemes, the frames
    are evenly spread in time and labelled with their time.
    """
    longest: dict[int, Phoneme] = {}
    for phoneme in phonemes:
        frame = int((phoneme.start + phoneme.end) / 2 * fps)
        if phoneme.name == SILENCE or frame >= frames:
            continue
        known = longest.get(VISEMES[phoneme.name])
        if known is None or phoneme.end - phoneme.start > known.end - known.start:
            longest[VISEMES[phoneme.name]] = phoneme
    if len(longest) < count:
        spread = ((np.arange(count) + 0.5) / count * frames).astype(int)
        return [(int(frame), f"{frame / fps:.1f} s") for frame in spread]
    # evenly spread over the table: closed lips first, spread lips last
    chosen = np.linspace(0, len(longest) - 1, count).round().astype(int)
    shown = [longest[viseme] for viseme in np.array(sorted(longest))[chosen]]
    return [(int((phoneme.start + phoneme.end) / 2 * fps), phoneme.name.lower()) for phoneme in shown]


def mean_errors(corpus: Corpus, clips: Sequence[Clip], student: Predictions, row: Mapping[str, Any]) -> np.ndarray:
    """Distance of every vertex from the true motion, averaged over all frames of `clips`, (V,) in millimetres."""
    total, frames = np.zeros(len(corpus.topology.colours)), 0
    for clip in clips:
        motion = student.vertices(clip.id, reported_style(student, clip, row))
        distance = vertex_distance(corpus.vertices(clip), motion)
        total += distance.sum(axis=0, dtype=np.float64)
        frames += len(distance)
    return corpus.mm_per_unit * total / max(frames, 1)
