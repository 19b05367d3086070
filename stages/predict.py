"""students, corpus (validation, test) → data/predicted/{faceformer,learn2talk}: motion for every clip.

A seen speaker speaks in the own style; others in every training style, as the paper does.
"""

from dataclasses import dataclass

import torch

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.corpus.predictions import write_predictions
from learn2talk_core.models.student import load_student, predict_states
from learn2talk_core.progress import progress
from learn2talk_core.stage import run

CORPUS = "data/corpus"
MODELS = {"faceformer": "baseline", "learn2talk": "student"}


@dataclass(frozen=True)
class Params:
    """Prediction has no parameters."""


def main(_: Params) -> str:
    torch.set_num_threads(1)  # the roll-out is thousands of tiny operations: threads would only wait for each other
    corpus = open_corpus(CORPUS)
    clips = corpus.split("validation", "test_seen", "test_unseen")
    motions = 0
    for name, stage in MODELS.items():
        student, speakers = load_student(f"data/models/{stage}", made_by=f"dvc repro {stage}")
        weight, bias = student.vertice_map_r.weight.T.numpy(), student.vertice_map_r.bias.numpy()
        with write_predictions(f"data/predicted/{name}", weight, bias) as writer:
            for clip in progress(clips, name, unit="clip"):
                styles = (clip.speaker,) if clip.speaker in speakers else speakers
                one_hot = torch.eye(len(speakers))[[speakers.index(style) for style in styles]]
                states = predict_states(student, corpus.audio(clip), corpus.fps, one_hot, clip.frames)
                for style, rows in zip(styles, states.numpy(), strict=True):
                    writer.add(clip.id, style, rows)
                    motions += 1
    return f"{motions} motions for {len(clips)} clips by {len(MODELS)} students"


if __name__ == "__main__":
    run(main, Params)
