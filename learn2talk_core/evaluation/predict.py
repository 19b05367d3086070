"""Predict the motion of the clips of a corpus from their sound with a student."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.corpus.predictions import write_predictions
from learn2talk_core.models.students.student import Student
from learn2talk_core.run.device import enough_memory

Motions = list[tuple[str, np.ndarray]]  # style, and the student's states (T, d) float32


class Studio(NamedTuple):
    """What is needed to predict the motion of a clip.

    `speakers` are in the order of the frozen student's one-hot style. The student may be on any device.
    """

    corpus: Corpus
    student: Student
    speakers: tuple[str, ...]


def predict_clip(studio: Studio, clip: Clip) -> Motions:
    """Predict a clip: in the speaker's own style for a training speaker, otherwise in every training style, as in the
    paper; once, under the first speaker's name, by a network without styles."""
    corpus, student, speakers = studio
    styles = (clip.speaker,) if clip.speaker in speakers else speakers if student.has_styles else speakers[:1]
    one_hot = torch.eye(len(speakers))[[speakers.index(style) for style in styles]]
    template = corpus.template(clip.speaker)
    with enough_memory(f"predicting {clip.id}", "workers of predict"):
        states = student.predict_states(corpus.audio(clip), corpus.fps, one_hot, clip.frames, template)
    return list(zip(styles, states.cpu().numpy(), strict=True))


def write_motions(folder: str | Path, studio: Studio, clips: Sequence[Clip], spoken: Iterable[Motions]) -> int:
    """Write the motions of `predict_clip` for each of `clips`, replacing `folder` as a whole; returns their number."""
    count = 0
    with write_predictions(folder, *studio.student.map_arrays(), recipe=studio.corpus.recipe) as writer:
        for clip, motions in zip(clips, spoken, strict=True):
            for style, states in motions:
                writer.add(clip.id, style, states)
                count += 1
    return count
