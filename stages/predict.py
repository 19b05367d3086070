"""students, corpus (validation, test) → data/predicted/{faceformer,learn2talk}: motion for every clip.

A seen speaker speaks in the own style; others in every training style, as the paper does.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from learn2talk_core.config import shared
from learn2talk_core.corpus.format import Clip, Corpus, open_corpus
from learn2talk_core.corpus.predictions import write_predictions
from learn2talk_core.models.faceformer import FaceFormer
from learn2talk_core.models.student import load_student, predict_states
from learn2talk_core.parallel import Backend, map_clips
from learn2talk_core.progress import progress
from learn2talk_core.stage import run

CORPUS = "data/corpus"
CHUNK = 8  # clips for which a student is loaded once
MODELS = {"faceformer": "baseline", "learn2talk": "student"}
Studio = tuple[Corpus, FaceFormer, tuple[str, ...]]


@dataclass(frozen=True)
class Params:
    workers: int
    parallel: Backend = shared()


def main(params: Params) -> str:
    clips = open_corpus(CORPUS).split("validation", "test_seen", "test_unseen")
    motions = 0
    for name, stage in MODELS.items():
        student, _ = load(stage)
        weight, bias = student.vertice_map_r.weight.T.numpy(), student.vertice_map_r.bias.numpy()
        predicted = map_clips(
            predict, clips, partial(open_studio, stage),
            backend=params.parallel, workers=params.workers, chunk=CHUNK, name=lambda clip: clip.id,
        )  # fmt: skip
        bar = progress(predicted, name, total=len(clips), unit="clip")
        with write_predictions(f"data/predicted/{name}", weight, bias) as writer:
            for clip, styles in zip(clips, bar, strict=True):
                for style, states in styles:
                    writer.add(clip.id, style, states)
                    motions += 1
    return f"{motions} motions for {len(clips)} clips by {len(MODELS)} students"


def load(stage: str) -> tuple[FaceFormer, tuple[str, ...]]:
    """A student and the speakers of its styles."""
    return load_student(f"data/models/{stage}", made_by=f"dvc repro {stage}")


def open_studio(stage: str) -> Studio:
    """Corpus, student and its speakers, for one job."""
    torch.set_num_threads(1)  # the roll-out is thousands of tiny operations: threads would only wait for each other
    return open_corpus(CORPUS), *load(stage)


def predict(studio: Studio, clip: Clip) -> list[tuple[str, np.ndarray]]:
    """The decoder's states (T, d) float32 for a clip, in the speaker's own style or in each of the training styles."""
    corpus, student, speakers = studio
    styles = (clip.speaker,) if clip.speaker in speakers else speakers
    one_hot = torch.eye(len(speakers))[[speakers.index(style) for style in styles]]
    states = predict_states(student, corpus.audio(clip), corpus.fps, one_hot, clip.frames)
    return list(zip(styles, states.numpy(), strict=True))


if __name__ == "__main__":
    run(main, Params)
