import dataclasses

import numpy as np
import pytest

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.metrics.protocol import describe_corpus, describe_test
from learn2talk_core.report.table import markdown, result_table
from tests.toy import toy_corpus


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return toy_corpus(tmp_path / "corpus")


def with_lips(corpus: Corpus, count: int) -> Corpus:
    regions = {**corpus.topology.regions, "lips": np.arange(count)}
    return dataclasses.replace(corpus, topology=dataclasses.replace(corpus.topology, regions=regions))


def test_names_of_the_fields_protocols(corpus):
    assert describe_corpus(corpus)["tests"] == {"seen": "toy/seen", "unseen": "toy/unseen"}
    biwi = describe_corpus(dataclasses.replace(corpus, recipe="biwi-codetalker", mm_per_unit=185.0))
    assert biwi["tests"] == {"seen": "biwi-test-a/codetalker", "unseen": "biwi-test-b/codetalker"}
    assert (biwi["unit"], biwi["mm_per_unit"]) == ("unit", 185.0)
    assert biwi["notes"] == [
        "BIWI-Test-A has 24 clips and 3879 frames, found 1 and 36: not comparable with published numbers"
    ]
    vocaset = dataclasses.replace(corpus, recipe="vocaset")
    assert describe_corpus(with_lips(vocaset, 250))["tests"]["unseen"] == "voca/flame-lips-250"
    assert "voca/flame-lips-254" in describe_corpus(with_lips(vocaset, 250))["notes"][0]
    assert describe_corpus(with_lips(vocaset, 16))["tests"]["unseen"] == "voca/lips-16"


def test_what_cannot_be_measured_is_said(corpus):
    mute = tuple(dataclasses.replace(clip, phonemes=()) for clip in corpus.clips)
    assert describe_corpus(corpus)["notes"] == []
    assert describe_corpus(dataclasses.replace(corpus, clips=mute))["notes"] == [
        "no phonemes are known: no closure error, reading error and viseme accuracy"
    ]
    closed = dataclasses.replace(corpus.topology, lip_pairs=np.zeros((0, 2), np.int64))
    assert "no facing lip vertices" in describe_corpus(dataclasses.replace(corpus, topology=closed))["notes"][0]


def test_protocol_frames_and_unit_are_printed(corpus):
    row = {"clips": 3, "frames": 90, "frames_trimmed": 0, "lve_mm": 1.0}
    results = {
        "seen": {},
        "students": ["learn2talk"],
        "unseen": {"truth": row, "learn2talk": {**row, "frames_trimmed": 2}},
        "protocol": {"lve_mm": {"name": "LVE", "unit": "mm", "goal": "lower", "protocol": "x"}},
        "corpus": describe_corpus(dataclasses.replace(corpus, recipe="biwi-codetalker", mm_per_unit=185.0)),
    }
    says = "3 clips and 90 frames, 2 frames trimmed, protocol biwi-test-b/codetalker, 1 unit = 185 mm"
    assert describe_test(results, "unseen") == says
    for text in (result_table(results), markdown(results, {})):
        assert says in text
        assert "BIWI-Test-A has 24 clips" in text
        assert "Seen speakers" not in text
