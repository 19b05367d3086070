"""Who says what: the sentences of each voice, in the packaged speech of the 3D corpus and in the 2D corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learn2talk_core.audio.opus import BITS_PER_SECOND
from learn2talk_core.datasets.embedded.kokoro import open_kokoro
from learn2talk_core.datasets.embedded.natural_speech import speak_naturally
from learn2talk_core.datasets.embedded.sentences import make_sentences, prose
from learn2talk_core.datasets.embedded.speech import synthesise
from learn2talk_core.datasets.embedded.utterances import Utterance, utterance
from learn2talk_core.datasets.embedded.voices import FILM_VOICES, EspeakVoice, Voice, corpus_voices, film_voices

PACKAGED_SENTENCES = {"train": 28, "validation": 22, "test_unseen": 22}  # of each speaker
PACKAGED_PROSE = 6  # of them; every second sentence until they are used up
FILM_BITS_PER_SECOND = 16_000  # the 2D corpus has seven times as much speech as the 3D corpus
FILM_PROSE = 0.3  # share of the sentences of a speaker of the 2D corpus
FILM_LENGTHS = range(42, 73)  # characters of the grammar's sentences
HELD_OUT_PROSE = 5  # of so many sentences of the 2D corpus's prose, one is for validation


@dataclass(frozen=True)
class SpokenPart:
    """What one voice says. `split` is of the corpus that it belongs to."""

    voice: Voice
    split: str
    texts: tuple[str, ...]


def packaged_parts() -> list[SpokenPart]:
    """The parts of the packaged speech. No sentence occurs twice."""
    voices = corpus_voices()
    written = iter(prose()["corpus"])
    grammatical = iter(make_sentences(sum(PACKAGED_SENTENCES[split] for split, _ in voices), 0))
    parts = []
    for split, voice in voices:
        count = PACKAGED_SENTENCES[split]
        texts = [next(written if i % 2 == 0 and i < 2 * PACKAGED_PROSE else grammatical) for i in range(count)]
        parts.append(SpokenPart(voice, split, tuple(texts)))
    return parts


def film_parts(natural: int, espeak: int, sentences: int, seed: int) -> list[SpokenPart]:
    """The parts of the 2D corpus: other sentences than the 3D corpus's, and no sentence in two splits.

    Each speaker reads some prose, which several speakers of a split may read, and sentences of the grammar, which
    nobody else says.

    Args:
        natural, espeak: numbers of voices; see `film_voices`.
        sentences: of each speaker.
        seed: for voices and sentences.
    """
    voices = film_voices(natural, espeak, seed)
    taken = {text for part in packaged_parts() for text in part.texts}
    written = round(FILM_PROSE * sentences)
    count = len(voices) * (sentences - written)
    grammatical = iter(make_sentences(count, seed + 1, taken, FILM_LENGTHS))
    shelves = _by_split(prose()["films"])
    parts = []
    for split, voice in voices:
        rng = np.random.default_rng([voice.seed, 2])
        texts = rng.choice(shelves[split], min(written, len(shelves[split])), replace=False).tolist()
        texts += [next(grammatical) for _ in range(sentences - written)]
        parts.append(SpokenPart(voice, split, tuple(rng.permutation(texts).tolist())))
    return parts


def record(part: SpokenPart, kokoro: str | Path | None, *, bits_per_second: int = BITS_PER_SECOND) -> list[Utterance]:
    """Let a voice say its part. `kokoro` is the folder of Kokoro's files, which natural voices need."""
    voice = part.voice
    if isinstance(voice, EspeakVoice):
        spoken = synthesise(voice, part.texts)
    else:
        assert kokoro is not None
        spoken = speak_naturally(open_kokoro(kokoro), voice, part.texts)
    return [
        utterance(voice.id, voice.name, voice.female, part.split, text, said, bits_per_second)
        for text, said in zip(part.texts, spoken, strict=True)
    ]


def _by_split(texts: Sequence[str]) -> dict[str, list[str]]:
    """Deal out sentences: one of `HELD_OUT_PROSE` for validation, the rest alternately for loss and metric."""
    others = [text for i, text in enumerate(texts) if i % HELD_OUT_PROSE != 0]
    return dict(zip(FILM_VOICES, (others[::2], others[1::2], list(texts[::HELD_OUT_PROSE])), strict=True))
