"""corpus, speech encoder → data/models/baseline: FaceFormer, that is the student with λ1 = λ2 = 0.

It depends on no λ, so a sweep never trains it again. Or a published FaceFormer, trained on this very corpus, in the
alignment of sound and motion that it was made with.
"""

from dataclasses import dataclass

from learn2talk_core.checkpoints.faceformer import import_student
from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.models.speech_encoder import load_speech_encoder
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.config import shared
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.paths import BASELINE, CORPUS, CURVES, METRICS, SPEECH_ENCODER
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import parameter_count
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.student import Recipe, spoken_clips, train_student

ENCODER, OUT, NUMBERS = SPEECH_ENCODER, BASELINE, f"{METRICS}/baseline.json"


@dataclass(frozen=True)
class Params:
    checkpoint: str | None
    seed: int = shared()
    faceformer: Recipe = shared()


def main(params: Params) -> str:
    corpus = open_corpus(CORPUS)
    if params.checkpoint is not None:
        return take_over(params.checkpoint, corpus)
    encoder = load_speech_encoder(ENCODER)
    with open_scratch("baseline", params, [CORPUS, ENCODER]) as scratch:
        clips = spoken_clips(corpus, encoder, corpus.split("train"), "speech features")
        model, history = train_student(
            corpus, encoder, clips, params.faceformer, seed=params.seed, scratch=scratch, description="faceformer"
        )
        with whole_folder(OUT) as folder:
            save_student(folder, model, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe)
        write_curve(history, f"{CURVES}/baseline.csv")
        write_json(NUMBERS, {"parameters": parameter_count(model), "alignment": model.alignment})
        scratch.remove()
    return f"FaceFormer from {len(clips)} clips, vertex loss {history[-1]['vertex']:.3g}"


def take_over(checkpoint: str, corpus: Corpus) -> str:
    """Bring published weights into the stage's place, if they are for this corpus."""
    model, speakers = import_student(checkpoint, corpus)
    with whole_folder(OUT) as folder:
        save_student(folder, model, fps=corpus.fps, speakers=speakers, recipe=corpus.recipe, checkpoint=checkpoint)
    write_curve([{"step": 0.0}], f"{CURVES}/baseline.csv")
    parameters = parameter_count(model)
    write_json(NUMBERS, {"checkpoint": checkpoint, "parameters": parameters, "alignment": model.alignment})
    return f"took over {checkpoint}, {parameters / 1e6:.1f} million parameters, alignment {model.alignment}"


if __name__ == "__main__":
    run(main, Params)
