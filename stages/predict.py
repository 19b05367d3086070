"""students, corpus (validation, test) → data/predicted/NAME: motion of every clip, by each student of the run.

A seen speaker is predicted in its own style, any other speaker in every training style, as in the paper.
"""

from dataclasses import dataclass
from functools import partial

import torch

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.evaluation.predict import Studio, predict_clip, write_motions
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.run.clip_map import Backend, map_clips
from learn2talk_core.run.config import shared
from learn2talk_core.run.device import run_device
from learn2talk_core.run.paths import CORPUS, PREDICTED, STUDENTS
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run
from learn2talk_core.run.students import PlainStudent, TaughtStudent, student_names

CHUNK = 16  # clips per job, for which a student is loaded once


@dataclass(frozen=True)
class Params:
    workers: int
    parallel: Backend = shared()
    students: dict[str, PlainStudent] = shared()
    taught_students: dict[str, TaughtStudent] = shared()


def main(params: Params) -> str:
    corpus = open_corpus(CORPUS)
    clips = corpus.split("validation", "test_seen", "test_unseen")
    motions, names = 0, student_names(params.students, params.taught_students)
    for name in names:
        spoken = map_clips(
            predict_clip, clips, partial(open_studio, name),
            backend=params.parallel, workers=params.workers, chunk=CHUNK, name=lambda clip: clip.id,
        )  # fmt: skip
        bar = progress(spoken, name, total=len(clips), unit="clip")
        motions += write_motions(f"{PREDICTED}/{name}", open_studio(name), clips, bar)
    return f"{motions} motions for {len(clips)} clips by {len(names)} students"


def open_studio(name: str) -> Studio:
    """Corpus, student and its speakers, for one job."""
    torch.set_num_threads(1)  # the roll-out is thousands of tiny operations, which threads do not speed up
    corpus = open_corpus(CORPUS)
    student, speakers = load_student(f"{STUDENTS}/{name}", made_by="make repro", recipe=corpus.recipe)
    return Studio(corpus, student.to(run_device()), speakers)


if __name__ == "__main__":
    run(main, Params)
