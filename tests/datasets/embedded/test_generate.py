from collections import Counter
from pathlib import Path

import numpy as np

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.datasets.embedded.generate import cast, make_corpus

SIZES = {
    "train_speakers": 2,
    "validation_speakers": 1,
    "unseen_speakers": 1,
    "train_sentences": 1,
    "seen_test_sentences": 1,
    "other_sentences": 1,
}


def test_speakers_and_sentences_of_the_splits_are_disjoint() -> None:
    roles = cast(0, **{**SIZES, "train_sentences": 5, "other_sentences": 4})
    said = [(role.speaker.id, split, text) for role in roles for split, texts in role.sentences for text in texts]
    assert Counter(split for _, split, _ in said) == {"train": 10, "test_seen": 2, "validation": 4, "test_unseen": 4}
    assert len({text for *_, text in said}) == len(said)
    speakers = {name: {who for who, split, _ in said if split == name} for _, name, _ in said}
    assert speakers["test_seen"] == speakers["train"]
    assert len(speakers["train"] | speakers["validation"] | speakers["test_unseen"]) == 4


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(tmp_path: Path) -> None:
    make_corpus(tmp_path / "a", cast(0, **SIZES), 0, 1.0, jobs=1)
    make_corpus(tmp_path / "b", cast(0, **SIZES), 0, 1.0, jobs=2)
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name

    corpus = open_corpus(tmp_path / "a")
    assert len(corpus.clips) == 6
    assert corpus.train_speakers == ("S00", "S01")
    for clip in corpus.clips:
        assert abs(clip.frames / corpus.fps - clip.samples / 16_000) < 1e-6
        assert np.isfinite(corpus.vertices(clip)).all()
        assert clip.phonemes[-1].end < clip.samples / 16_000
