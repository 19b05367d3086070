"""The stage `corpus` on own data, and its report on the embedded corpus."""

import dataclasses
import json

import pytest

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.datasets.fixtures_folder import write_folder
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from stages.corpus import Params, main


@pytest.fixture
def params(monkeypatch, tmp_path) -> Params:
    found = load_params(Params, "corpus")
    monkeypatch.chdir(tmp_path)
    return found


def test_own_data(params, tmp_path):
    write_folder(tmp_path / "own", speakers=3, sentences=2)
    source = dataclasses.replace(params.source, path="own", fps=25.0, mm_per_unit=1.0, lips="lips.txt")
    made = main(dataclasses.replace(params, dataset="folder", source=source))
    assert made.startswith("6 clips of 3 speakers, 0.")
    corpus = open_corpus("data/corpus")
    assert (corpus.recipe, corpus.fps) == ("folder", 25)
    metrics = json.loads((tmp_path / "metrics" / "corpus.json").read_text())
    assert metrics["frames"]["train"] == sum(clip.frames for clip in corpus.split("train")) > 0
    assert (metrics["clips"], metrics["speakers"]) == (6, 3)
    assert abs(metrics["lips_after_sound_ms"]) < 60
    assert metrics["offset_correlation"] > 0.2


def test_embedded(params, tmp_path):
    small = {"train_speakers": 1, "validation_speakers": 1, "unseen_speakers": 1}
    few = {"train_sentences": 2, "seen_test_sentences": 1, "other_sentences": 1}
    assert main(dataclasses.replace(params, **small, **few)).startswith("5 clips of 3 speakers")
    assert open_corpus("data/corpus").recipe == "embedded"
    metrics = json.loads((tmp_path / "metrics" / "corpus.json").read_text())
    assert abs(metrics["lips_after_sound_ms"]) < 60


def test_a_dataset_that_is_not_there(params):
    source = dataclasses.replace(params.source, path="nowhere", recipe="codetalker")
    with pytest.raises(BadInput, match="nowhere: expected the folder of a dataset, found no such folder: the path is"):
        main(dataclasses.replace(params, dataset="biwi", source=source))
