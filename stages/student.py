"""corpus, speech encoder, SyncNet3D (loss), lip reader (loss), teacher features → data/models/student: Learn2Talk.

The student is trained on Eq. 8 with `lambda1` and `lambda2`; with both 0 it equals the baseline.
"""

from dataclasses import dataclass
from typing import Literal

from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.models.speech_encoder import load_speech_encoder
from learn2talk_core.models.students.faceformer import FaceFormer
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run import paths
from learn2talk_core.run.config import shared
from learn2talk_core.run.files import whole_folder
from learn2talk_core.run.stage import run
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import Scratch, open_scratch
from learn2talk_core.training.student import Recipe, spoken_clips, train_student
from learn2talk_core.training.student_terms import extra_terms

CORPUS, ENCODER, OUT = paths.CORPUS, paths.SPEECH_ENCODER, paths.STUDENT
SYNCNET3D, LIPREADER, TEACHER = f"{paths.SYNCNET3D}/loss", f"{paths.LIPREADER}/loss", paths.TEACHER_FEATURES


@dataclass(frozen=True)
class Params:
    balance: Literal["gradient", "none"]
    lipread_frames: int
    lipread_clips: int
    seed: int = shared()
    lambda1: float = shared()
    lambda2: float = shared()
    faceformer: Recipe = shared()


def main(params: Params) -> str:
    corpus = open_corpus(CORPUS)
    with open_scratch("student", params, [CORPUS, ENCODER, SYNCNET3D, LIPREADER, TEACHER]) as scratch:
        model, history = train(params, corpus, scratch, "learn2talk")
        with whole_folder(OUT) as folder:
            save_student(
                folder, model, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe,
                lambda1=params.lambda1, lambda2=params.lambda2, balance=params.balance,
            )  # fmt: skip
        write_curve(history, f"{paths.CURVES}/student.csv")
        scratch.remove()
    return f"Learn2Talk from {len(corpus.split('train'))} clips, vertex loss {history[-1]['vertex']:.3g}"


def train(
    params: Params, corpus: Corpus, scratch: Scratch, description: str
) -> tuple[FaceFormer, list[dict[str, float]]]:
    """A student and the curve of its losses, see `train_student`; `description` labels the progress bar."""
    encoder = load_speech_encoder(ENCODER)
    clips = spoken_clips(corpus, encoder, corpus.split("train"), "speech features")
    extra = extra_terms(
        corpus, clips, lambda1=params.lambda1, lambda2=params.lambda2,
        syncnet3d=SYNCNET3D, lipreader=LIPREADER, teacher_features=TEACHER,
        lipread_frames=params.lipread_frames, lipread_clips=params.lipread_clips, seed=params.seed,
    )  # fmt: skip
    return train_student(
        corpus, encoder, clips, params.faceformer, seed=params.seed, scratch=scratch, description=description,
        extra=extra, balanced=params.balance == "gradient",
    )  # fmt: skip


if __name__ == "__main__":
    run(main, Params)
