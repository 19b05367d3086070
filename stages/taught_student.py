"""corpus, speech encoder, motion prior, losses' SyncNet3D and lip reader, teacher features → data/models/students/NAME.

A student trained on Eq. 8 with `lambda1` and `lambda2`: Learn2Talk, if its network is FaceFormer. If both are 0, it
equals the student of the same network that is trained on its own losses.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.students.student import Student, save_student
from learn2talk_core.run import paths
from learn2talk_core.run.config import load_params, shared
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.networks import motion_prior_of, training_of
from learn2talk_core.run.stage import run
from learn2talk_core.run.students import TaughtStudent
from learn2talk_core.run.weights import parameter_count
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import Scratch, open_scratch
from learn2talk_core.training.student_terms import extra_terms

CORPUS, ENCODER, OUT = paths.CORPUS, paths.SPEECH_ENCODER, paths.STUDENTS
SYNCNET3D, LIPREADER, TEACHER = f"{paths.SYNCNET3D}/loss", f"{paths.LIPREADER}/loss", paths.TEACHER_FEATURES
OTHER_LAMBDAS = ("lambda_closure", "lambda_phoneme")  # noted with the model if they are not 0


@dataclass(frozen=True)
class Params:
    balance: Literal["gradient", "none"]
    lipread_frames: int | None
    lipread_clips: int
    lambda_closure: float
    closure_sharpness: float
    lambda_phoneme: float
    seed: int = shared()
    frozen_layers: int | None = shared()
    lambda1: float = shared()
    lambda2: float = shared()
    taught_students: dict[str, TaughtStudent] = shared()


def main(params: Params, name: str) -> str:
    corpus, network = open_corpus(CORPUS), params.taught_students[name].network
    recipe = load_params(training_of(network, f"taught_students.{name}.network").NetworkRecipe, network)
    keyed = (replace(params, taught_students={name: params.taught_students[name]}), recipe)
    inputs = [CORPUS, ENCODER, f"{paths.MOTION_PRIOR}/{network}", SYNCNET3D, LIPREADER, TEACHER]
    with open_scratch(f"taught_student-{name}", keyed, inputs) as scratch:
        model, history = train_taught_student(params, network, recipe, corpus, scratch, name)
        with whole_folder(f"{OUT}/{name}") as folder:
            save_student(
                folder, model, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe,
                lambda1=params.lambda1, lambda2=params.lambda2, balance=params.balance,
                **{name: weight for name in OTHER_LAMBDAS if (weight := getattr(params, name))},
            )  # fmt: skip
        write_curve(history, f"{paths.CURVES}/students/{name}.csv")
        write_json(f"{paths.METRICS}/students/{name}.json", {"network": network, "parameters": parameter_count(model)})
        scratch.remove()
    return f"{model} from {len(corpus.split('train'))} clips, vertex loss {history[-1]['vertex']:.3g}"


def train_taught_student(
    params: Params,
    network: str,
    recipe: Any,
    corpus: Corpus,
    scratch: Scratch,
    description: str,
    prior: str | None = None,
    teacher: str = TEACHER,
) -> tuple[Student, list[dict[str, float]]]:
    """Train a student; returns it with the curve of its losses. `description` labels the progress bar, `prior` is the
    folder of the network's motion prior (default: that of the stage), `teacher` that of the teacher's features."""
    encoder = load_speech_encoder(ENCODER, params.frozen_layers)
    clips = corpus.split("train")
    extra = extra_terms(
        corpus, clips, lambda1=params.lambda1, lambda2=params.lambda2,
        syncnet3d=SYNCNET3D, lipreader=LIPREADER, teacher_features=teacher,
        lipread_frames=params.lipread_frames, lipread_clips=params.lipread_clips, seed=params.seed,
        lambda_closure=params.lambda_closure, closure_sharpness=params.closure_sharpness,
        lambda_phoneme=params.lambda_phoneme,
    )  # fmt: skip
    training = training_of(network, "network")
    return training.train_network(
        corpus, encoder, clips, recipe, seed=params.seed, scratch=scratch, description=description,
        extra=extra, balanced=params.balance == "gradient", **motion_prior_of(network, training, corpus, prior),
    )  # fmt: skip


if __name__ == "__main__":
    run(main, Params, roles="taught_students")
