"""embedded generator or a dataset → data/corpus: the 3D speech corpus in the canonical format; metrics/corpus.json"""

from dataclasses import dataclass
from typing import Any, Literal

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import SPLITS, Corpus, open_corpus
from learn2talk_core.corpus.offset import measure_offset
from learn2talk_core.datasets.embedded.generate import CorpusSize, cast_espeak, cast_packaged, make_corpus, read_texts
from learn2talk_core.datasets.settings import Settings, open_source, write_source
from learn2talk_core.run.config import shared
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import write_json
from learn2talk_core.run.paths import CORPUS, METRICS, is_nothing
from learn2talk_core.run.progress import log
from learn2talk_core.run.stage import run

OUT = CORPUS


@dataclass(frozen=True)
class Params:
    source: Settings
    speech: Literal["packaged", "espeak"]
    texts: str
    train_speakers: int
    validation_speakers: int
    unseen_speakers: int
    train_sentences: int
    seen_test_sentences: int
    other_sentences: int
    variation: float
    seed: int
    dataset: Literal["embedded", "vocaset", "biwi", "folder"] = shared()


def main(params: Params) -> str:
    if params.dataset == "embedded":
        embedded(params)
    else:
        write_source(OUT, open_source(params.dataset, params.source))
    corpus = open_corpus(OUT)
    found = corpus_contents(corpus)
    write_json(f"{METRICS}/corpus.json", found)
    return f"{found['clips']} clips of {found['speakers']} speakers, {found['minutes']:.1f} minutes"


def embedded(params: Params) -> None:
    size = CorpusSize(
        train_speakers=params.train_speakers,
        validation_speakers=params.validation_speakers,
        unseen_speakers=params.unseen_speakers,
        train_sentences=params.train_sentences,
        seen_test_sentences=params.seen_test_sentences,
        other_sentences=params.other_sentences,
    )
    if params.speech == "espeak":
        texts = None if is_nothing(params.texts) else read_texts(params.texts, size.sentences)
        roles = cast_espeak(size, params.seed, texts)
    elif not is_nothing(params.texts):
        found, fix = "corpus.speech: packaged", "Set corpus.speech to espeak, or corpus.texts to weights/none."
        raise BadInput("params.yaml: corpus.texts", expected="eSpeak, to speak your texts", found=found, fix=fix)
    else:
        roles = cast_packaged(size, params.seed)
    make_corpus(OUT, roles, params.seed, params.variation)


def corpus_contents(corpus: Corpus) -> dict[str, Any]:
    """The size of the corpus, and the offset of sound and lips (`corpus.offset`; None if it cannot be measured)."""
    found: dict[str, Any] = {
        "clips": len(corpus.clips),
        "speakers": len({clip.speaker for clip in corpus.clips}),
        "minutes": round(sum(clip.samples for clip in corpus.clips) / SAMPLE_RATE / 60, 3),
        "frames": {name: sum(clip.frames for clip in corpus.split(name)) for name in SPLITS},
    }
    try:
        offset = measure_offset(corpus)
    except BadInput as error:
        log.warning("%s", error)
        return found | {"lips_after_sound_ms": None, "offset_correlation": None}
    log.info("%s", offset)
    return found | {
        "lips_after_sound_ms": round(offset.lag_ms, 1),
        "offset_correlation": round(offset.correlation, 3),
    }


if __name__ == "__main__":
    run(main, Params)
