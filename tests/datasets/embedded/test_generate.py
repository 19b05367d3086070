from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.datasets.embedded import generate
from learn2talk_core.datasets.embedded.generate import (
    CorpusSize,
    SpeakingRole,
    cast_espeak,
    cast_packaged,
    make_corpus,
    read_texts,
)
from learn2talk_core.datasets.embedded.packaged import packaged_speech
from learn2talk_core.run.errors import BadInput

SIZE = CorpusSize(
    train_speakers=2,
    validation_speakers=1,
    unseen_speakers=1,
    train_sentences=1,
    seen_test_sentences=1,
    other_sentences=1,
)


def check_splits(roles: list[SpeakingRole]) -> None:
    said = [pair for role in roles for pair in zip(role.splits, role.texts, strict=True)]
    assert Counter(split for split, _ in said) == {"train": 10, "test_seen": 2, "validation": 4, "test_unseen": 4}
    assert len({text for _, text in said}) == len(said)
    speakers = {split: {r.speaker.id for r in roles if split in r.splits} for split, _ in said}
    assert speakers["test_seen"] == speakers["train"]
    assert len(speakers["train"] | speakers["validation"] | speakers["test_unseen"]) == len(roles) == 4


def test_speakers_and_sentences_of_the_splits_are_disjoint() -> None:
    size = replace(SIZE, train_sentences=5, other_sentences=4)
    assert size.sentences == 20
    check_splits(cast_packaged(size, 0))
    check_splits(cast_espeak(size, 0))


def test_packaged_speakers_keep_their_voices_and_get_faces_of_their_sex() -> None:
    roles = cast_packaged(SIZE, 5)
    speech = packaged_speech()
    assert [role.speaker.id for role in roles] == ["S00", "S01", "S12", "S14"]
    for role in roles:
        assert role.speech == tuple(speech[role.speaker.id][: len(role.texts)])
        assert role.speaker.female == speech[role.speaker.id][0].female
    assert roles[0].speaker.seed != cast_packaged(SIZE, 6)[0].speaker.seed


def test_more_than_is_packaged() -> None:
    expected = r"corpus: expected at most 12 speakers with 28 sentences each in the split train, .* found 13 with 2\."
    with pytest.raises(BadInput, match=expected + " Reduce them, or set corpus.speech to espeak"):
        cast_packaged(replace(SIZE, train_speakers=13), 0)
    with pytest.raises(BadInput, match=r"at most 2 speakers with 22 sentences each in the split validation"):
        cast_packaged(replace(SIZE, other_sentences=23), 0)


def test_texts_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("One boat.\n\n  Two boats.  \nOne boat.\nThree boats.\n")
    assert read_texts(path, 2) == ["One boat.", "Two boats."]
    assert cast_espeak(replace(SIZE, train_speakers=0), 0, read_texts(path, 3))[1].texts == ("Two boats.",)
    with pytest.raises(BadInput, match=r"texts.txt: expected 4 different sentences, found 3\."):
        read_texts(path, 4)
    path.write_text("a" * 301)
    with pytest.raises(BadInput, match=r"texts.txt, line 1: expected sentences of up to 300 characters, found 301\."):
        read_texts(path, 1)
    path.write_bytes(b"\xff\xfe\0a")
    with pytest.raises(BadInput, match=r"texts.txt: expected text in UTF-8, found"):
        read_texts(path, 1)
    with pytest.raises(BadInput, match=r"nowhere: expected a file, found nothing"):
        read_texts(tmp_path / "nowhere", 1)


def check_corpus(folder: Path, clips: int, speakers: tuple[str, ...]) -> None:
    corpus = open_corpus(folder)
    assert len(corpus.clips) == clips
    assert corpus.train_speakers == speakers
    for clip in corpus.clips:
        assert abs(clip.frames / corpus.fps - clip.samples / 16_000) < 1e-6
        assert np.isfinite(corpus.vertices(clip)).all()
        assert clip.phonemes[-1].end < clip.samples / 16_000


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "synthesise", None)  # packaged speech needs no synthesiser
    make_corpus(tmp_path / "a", cast_packaged(SIZE, 0), 0, 1.0, jobs=1)
    make_corpus(tmp_path / "b", cast_packaged(SIZE, 0), 0, 1.0, jobs=2)
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    check_corpus(tmp_path / "a", 6, ("S00", "S01"))


def test_a_corpus_in_espeaks_voices(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    cast = cast_espeak(replace(SIZE, unseen_speakers=0), 0)
    make_corpus(tmp_path / "a", cast, 0, 1.0, jobs=1)
    check_corpus(tmp_path / "a", 5, ("S00", "S01"))
    said = {clip.text for clip in open_corpus(tmp_path / "a").clips}
    assert said == {text for role in cast for text in role.texts}
