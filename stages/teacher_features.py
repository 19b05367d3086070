"""mouths, lipreader/loss, corpus → data/teacher_features: E_lipread(G_teach(X)) of Eq. 6, once and not at every step.

What the same lip reader recognises in the teacher's videos goes to metrics/teacher_features.json: a teacher whose lips
cannot be read has nothing to teach.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.corpus.mouths import open_mouths
from learn2talk_core.corpus.phonemes import PHONEMES, frame_labels, visemes_of
from learn2talk_core.corpus.teacher_features import write_teacher_features
from learn2talk_core.files import write_json
from learn2talk_core.models.lipreader import FPS, load_lipreader, read_lips
from learn2talk_core.progress import progress
from learn2talk_core.recognition import ctc_greedy, error_rate, viseme_accuracy
from learn2talk_core.stage import run

OUT = "data/teacher_features"


@dataclass(frozen=True)
class Params:
    """Group `teacher_features` of params.yaml."""

    features: Literal["frontend", "encoder"]
    dtype: Literal["float16", "float32"]


def main(params: Params) -> str:
    mouths, corpus = open_mouths("data/mouths"), open_corpus("data/corpus")
    reader, head = load_lipreader("data/models/lipreader/loss")
    spoken = {clip.id: clip.phonemes for clip in corpus.clips}
    said, read, labels, logits = [], [], [], []

    @torch.no_grad()
    def features() -> Iterator[tuple[str, np.ndarray]]:
        for clip in progress(mouths.clips, "teacher features", unit="clip"):
            grey = mouths.frames(clip)
            reading = read_lips(reader, head, grey)
            if spoken[clip]:
                said.append([1 + PHONEMES.index(phoneme.name) for phoneme in spoken[clip] if phoneme.name])
                read.append(ctc_greedy(reading.log_probs))
                labels.append(frame_labels(spoken[clip], len(grey), FPS))
                logits.append(reading.frame_logits)
            if params.features == "encoder":
                yield clip, reading.features
            else:
                yield clip, reader.features(torch.from_numpy(grey).float()[None] / 255, params.features)[0].numpy()

    write_teacher_features(OUT, features(), kind=params.features, fps=FPS, dtype=params.dtype)
    recognised = (
        {
            "clips": len(said),
            "phoneme_error": error_rate(said, read),
            "viseme_accuracy": viseme_accuracy(
                np.concatenate(logits), np.concatenate(labels), visemes_of(np.arange(1 + len(PHONEMES)))
            ),
        }
        if said
        else {"clips": 0}
    )
    write_json("metrics/teacher_features.json", recognised)
    return f"{params.features} features of {len(mouths.clips)} clips, {recognised}"


if __name__ == "__main__":
    run(main, Params)
