"""embedded generator → data/corpus: the 3D speech corpus in the canonical format"""

from dataclasses import dataclass
from typing import Literal

from learn2talk_core.config import shared
from learn2talk_core.corpus.embedded.generate import cast, make_corpus
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.stage import run


@dataclass(frozen=True)
class Params:
    train_speakers: int
    validation_speakers: int
    unseen_speakers: int
    train_sentences: int
    seen_test_sentences: int
    other_sentences: int
    variation: float
    seed: int = shared()
    dataset: Literal["embedded"] = shared()


def main(params: Params) -> str:
    roles = cast(
        params.seed,
        train_speakers=params.train_speakers,
        validation_speakers=params.validation_speakers,
        unseen_speakers=params.unseen_speakers,
        train_sentences=params.train_sentences,
        seen_test_sentences=params.seen_test_sentences,
        other_sentences=params.other_sentences,
    )
    make_corpus("data/corpus", roles, params.seed, params.variation)
    corpus = open_corpus("data/corpus")
    seconds = sum(clip.samples for clip in corpus.clips) / 16_000
    return f"{len(corpus.clips)} clips of {len(roles)} speakers, {seconds / 60:.1f} minutes"


if __name__ == "__main__":
    run(main, Params)
