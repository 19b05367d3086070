"""students, corpus (validation, test) → data/predicted/{faceformer,learn2talk}: motion for every clip.

A seen speaker speaks in the own style; others in every training style, as the paper does.
"""

from dataclasses import dataclass
from functools import partial

import torch

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.evaluation.predict import Studio, speak, write_motions
from learn2talk_core.models.students.student import load_student
from learn2talk_core.run import paths
from learn2talk_core.run.clip_map import Backend, map_clips
from learn2talk_core.run.config import shared
from learn2talk_core.run.paths import CORPUS, PREDICTED
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run

CHUNK = 8  # clips for which a student is loaded once
MODELS = {"faceformer": "baseline", "learn2talk": "student"}


@dataclass(frozen=True)
class Params:
    workers: int
    parallel: Backend = shared()


def main(params: Params) -> str:
    corpus = open_corpus(CORPUS)
    clips = corpus.split("validation", "test_seen", "test_unseen")
    motions = 0
    for name, stage in MODELS.items():
        spoken = map_clips(
            speak, clips, partial(open_studio, stage),
            backend=params.parallel, workers=params.workers, chunk=CHUNK, name=lambda clip: clip.id,
        )  # fmt: skip
        bar = progress(spoken, name, total=len(clips), unit="clip")
        motions += write_motions(f"{PREDICTED}/{name}", open_studio(stage), clips, bar)
    return f"{motions} motions for {len(clips)} clips by {len(MODELS)} students"


def open_studio(stage: str) -> Studio:
    """Corpus, student and its speakers, for one job."""
    torch.set_num_threads(1)  # the roll-out is thousands of tiny operations: threads would only wait for each other
    corpus = open_corpus(CORPUS)
    return Studio(corpus, *load_student(f"{paths.MODELS}/{stage}", made_by=f"dvc repro {stage}", recipe=corpus.recipe))


if __name__ == "__main__":
    run(main, Params)
