from collections import Counter

import pytest

from learn2talk_core.datasets.embedded.voices import (
    CORPUS_VOICES,
    FILM_VOICES,
    SPEED,
    NaturalVoice,
    corpus_voices,
    espeak_voices,
    film_voices,
)

HELD_OUT = {*CORPUS_VOICES["validation"], *CORPUS_VOICES["test_unseen"]}


def bases(voices: list, *splits: str) -> set[str]:
    return {base for split, voice in voices if split in splits for base, _ in getattr(voice, "blend", ())}


def test_no_base_voice_is_heard_in_two_splits() -> None:
    voices = corpus_voices()
    named = [base for split in CORPUS_VOICES for base in sorted(bases(voices, split))]
    assert len(named) == len(set(named)) == 16
    films = film_voices(96, 32, 0)
    parts = [bases(films, split) for split in FILM_VOICES]
    assert [len(part) for part in parts] == [10, 10, 4]
    assert len(set.union(*parts)) == 24
    assert not set.union(*parts) & HELD_OUT


def test_the_voices_of_the_2d_corpus() -> None:
    films = film_voices(96, 32, 0)
    assert len({voice.name for _, voice in films if isinstance(voice, NaturalVoice)}) == 96
    assert len({voice.id for _, voice in films}) == 128
    assert not {voice.name for _, voice in films} & {voice.name for voice in espeak_voices(16, 0)}
    counts = Counter((split, voice.female) for split, voice in films)
    assert sum(counts.values()) == 128
    people = {split: counts[split, True] + counts[split, False] for split in FILM_VOICES}
    assert people == {"loss": 59, "metric": 57, "validation": 12}
    assert all(0.4 < counts[split, True] / people[split] < 0.6 for split in FILM_VOICES)


def test_blends_are_of_one_sex_and_sum_to_one() -> None:
    for _, voice in film_voices(96, 0, 3):
        assert isinstance(voice, NaturalVoice)
        assert sum(weight for _, weight in voice.blend) == pytest.approx(1)
        assert min(weight for _, weight in voice.blend) > 0.19
        assert {base[1] for base, _ in voice.blend} == {"f" if voice.female else "m"}
        assert SPEED[0] <= voice.speed <= SPEED[1]


def test_three_voices_have_all_splits_and_more_start_the_same() -> None:
    assert [split for split, _ in film_voices(3, 0, 0)] == ["loss", "metric", "validation"]
    assert film_voices(0, 5, 0) == film_voices(0, 9, 0)[:5]
    assert film_voices(20, 0, 0) == film_voices(40, 0, 0)[:20]
    assert film_voices(3, 3, 0) != film_voices(3, 3, 1)


def test_espeak_voices_differ_and_both_sexes_speak() -> None:
    voices = espeak_voices(96, 0)
    assert len({voice.name for voice in voices}) == 96
    assert sum(voice.female for voice in voices) == 48
