"""A student speaks the clips of a corpus."""

from collections.abc import Sequence
from pathlib import Path

import torch

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.corpus.predictions import write_predictions
from learn2talk_core.models.faceformer import FaceFormer
from learn2talk_core.models.student import predict_states
from learn2talk_core.progress import progress


def predict_clips(
    folder: str | Path,
    student: FaceFormer,
    speakers: Sequence[str],
    corpus: Corpus,
    clips: Sequence[Clip],
    description: str,
) -> int:
    """Write the student's motion for every clip; returns how many motions there are.

    A training speaker speaks in the own style, all others in every training style, as the paper does.

    Args:
        folder: replaced as a whole.
        student: frozen.
        speakers: the training speakers, in the order of the style one-hot.
        corpus, clips: what to speak.
        description: of the progress bar.
    """
    weight, bias = student.vertice_map_r.weight.T.numpy(force=True), student.vertice_map_r.bias.numpy(force=True)
    motions = 0
    with write_predictions(folder, weight, bias) as writer:
        for clip in progress(clips, description, unit="clip"):
            styles = (clip.speaker,) if clip.speaker in speakers else speakers
            one_hot = torch.eye(len(speakers))[[speakers.index(style) for style in styles]]
            states = predict_states(student, corpus.audio(clip), corpus.fps, one_hot, clip.frames)
            for style, rows in zip(styles, states.numpy(), strict=True):
                writer.add(clip.id, style, rows)
                motions += 1
    return motions
