from collections import Counter
from pathlib import Path

import pytest

from learn2talk_core.datasets.embedded.parts import SpokenPart, film_parts, packaged_parts, record
from learn2talk_core.datasets.embedded.sentences import prose
from learn2talk_core.datasets.embedded.voices import FILM_VOICES, espeak_voices


def test_the_packaged_parts() -> None:
    parts = packaged_parts()
    assert Counter(part.split for part in parts) == {"train": 12, "validation": 2, "test_unseen": 2}
    texts = [text for part in parts for text in part.texts]
    assert len(texts) == len(set(texts)) == 12 * 28 + 4 * 22
    for part in parts:  # the first twelve, which the default corpus has, are prose and grammar in turn
        assert [text in prose()["corpus"] for text in part.texts[:13]] == [i % 2 == 0 and i < 12 for i in range(13)]


def test_the_2d_corpus_has_other_sentences_and_none_in_two_splits() -> None:
    parts = film_parts(24, 12, 20, 0)
    assert len(parts) == 36
    assert {len(part.texts) for part in parts} == {20}
    said = {split: {t for p in parts if p.split == split for t in p.texts} for split in FILM_VOICES}
    assert not said["loss"] & said["metric"]
    assert not said["validation"] & (said["loss"] | said["metric"])
    assert not {t for part in packaged_parts() for t in part.texts} & set.union(*said.values())
    for part in parts:
        assert len(set(part.texts)) == 20
        assert sum(text in prose()["films"] for text in part.texts) == 6
    assert film_parts(24, 12, 20, 0) == parts
    assert film_parts(24, 12, 20, 1) != parts


def test_a_recorded_part() -> None:
    pytest.importorskip("espeakng_loader")
    part = SpokenPart(espeak_voices(1, 0)[0], "loss", ("Bob may pop.",))
    [said] = record(part, None)
    assert (said.speaker, said.split, said.text, said.female) == ("S00", "loss", "Bob may pop.", False)
    assert [p.name for p in said.phonemes] == ["B", "AA", "B", "M", "EY", "P", "AA", "P"]
    assert said.wave().shape == (said.samples,)
    assert record(part, Path("not needed")) == [said]
