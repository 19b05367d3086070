"""corpus, speech encoder → data/models/students/NAME: a student, trained on the losses of its own paper.

It does not depend on any λ, so a sweep never trains it again. Instead of training, published weights may be imported;
they must have been trained on this same corpus, and keep the alignment of sound and motion used in their training.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from learn2talk_core.checkpoints.watched import refuse_unwatched
from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run import paths
from learn2talk_core.run.config import load_params, shared
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.networks import checkpoints_of, training_of
from learn2talk_core.run.stage import run
from learn2talk_core.run.students import PlainStudent
from learn2talk_core.run.weights import parameter_count
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.student import spoken_clips

CORPUS, ENCODER, OUT = paths.CORPUS, paths.SPEECH_ENCODER, paths.STUDENTS
METRICS, CURVES = f"{paths.METRICS}/students", f"{paths.CURVES}/students"


@dataclass(frozen=True)
class Params:
    seed: int = shared()
    frozen_layers: int | None = shared()
    students: dict[str, PlainStudent] = shared()


def main(params: Params, name: str) -> str:
    corpus, student = open_corpus(CORPUS), params.students[name]
    if not paths.is_nothing(student.checkpoint):
        return import_trained_student(name, student, corpus)
    training = training_of(student.network, f"students.{name}.network")
    recipe = load_params(training.NetworkRecipe, student.network)
    encoder = load_speech_encoder(ENCODER, params.frozen_layers)
    keyed = (replace(params, students={name: student}), recipe)
    with open_scratch(f"student-{name}", keyed, [CORPUS, ENCODER]) as scratch:
        clips = spoken_clips(corpus, encoder, corpus.split("train"), "speech features")
        model, history = training.train_network(
            corpus, encoder, clips, recipe, seed=params.seed, scratch=scratch, description=name
        )
        with whole_folder(f"{OUT}/{name}") as folder:
            save_student(folder, model, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe)
        write_curve(history, f"{CURVES}/{name}.csv")
        write_json(f"{METRICS}/{name}.json", {"network": student.network, "parameters": parameter_count(model)})
        scratch.remove()
    return f"{model} from {len(clips)} clips, vertex loss {history[-1]['vertex']:.3g}"


def import_trained_student(name: str, student: PlainStudent, corpus: Corpus) -> str:
    """Import published weights instead of training, if they were trained on this corpus."""
    training_of(student.network, f"students.{name}.network")
    checkpoint = student.checkpoint
    refuse_unwatched(checkpoint, f"students.{name}.checkpoint", [f"{Path(checkpoint).name}.config.json"])
    model, speakers = checkpoints_of(student.network).import_student(checkpoint, corpus)
    with whole_folder(f"{OUT}/{name}") as folder:
        save_student(folder, model, fps=corpus.fps, speakers=speakers, recipe=corpus.recipe, checkpoint=checkpoint)
    write_curve([{"step": 0.0}], f"{CURVES}/{name}.csv")
    parameters = parameter_count(model)
    about = {"network": student.network, "parameters": parameters, "checkpoint": checkpoint}
    write_json(f"{METRICS}/{name}.json", about)
    return f"imported {checkpoint}: {model}, {parameters / 1e6:.1f} million parameters"


if __name__ == "__main__":
    run(main, Params, roles="students")
