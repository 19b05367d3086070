"""corpus, speech encoder → data/models/baseline: FaceFormer, that is the student with λ1 = λ2 = 0.

It depends on no λ, so a sweep never trains it again.
"""

from dataclasses import dataclass

from learn2talk_core.config import shared
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.files import whole_folder
from learn2talk_core.models.speech_encoder import load_speech_encoder
from learn2talk_core.models.student import save_student
from learn2talk_core.stage import run
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.student import Recipe, spoken_clips, train_student

CORPUS, ENCODER, OUT = "data/corpus", "data/models/speech_encoder", "data/models/baseline"


@dataclass(frozen=True)
class Params:
    seed: int = shared()
    faceformer: Recipe = shared()


def main(params: Params) -> str:
    corpus = open_corpus(CORPUS)
    encoder = load_speech_encoder(ENCODER)
    with open_scratch("baseline", params, [CORPUS, ENCODER]) as scratch:
        clips = spoken_clips(corpus, encoder, corpus.split("train"), "speech features")
        model, history = train_student(
            corpus, encoder, clips, params.faceformer, seed=params.seed, scratch=scratch, description="faceformer"
        )
        with whole_folder(OUT) as folder:
            save_student(folder, model, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe)
        write_curve(history, "metrics/curves/baseline.csv")
        scratch.remove()
    return f"FaceFormer from {len(clips)} clips, vertex loss {history[-1]['vertex']:.3g}"


if __name__ == "__main__":
    run(main, Params)
