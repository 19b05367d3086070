"""students, corpus (validation, test) → data/predicted/{faceformer,learn2talk}: motion for every clip.

A seen speaker speaks in the own style; others in every training style, as the paper does.
"""

from dataclasses import dataclass

import torch

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.models.student import load_student
from learn2talk_core.prediction import predict_clips
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
        motions += predict_clips(f"data/predicted/{name}", student, speakers, corpus, clips, name)
    return f"{motions} motions for {len(clips)} clips by {len(MODELS)} students"


if __name__ == "__main__":
    run(main, Params)
