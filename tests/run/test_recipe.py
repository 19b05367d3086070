"""A model, metric network or motion made for one recipe is not used with a corpus of another."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.corpus.predictions import open_predictions, write_predictions
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.models.syncnet3d import Shape, SyncNet3D, config, load_syncnet3d
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.recipe import refuse_other_recipe
from learn2talk_core.run.weights import save_weights
from tests.toy import toy_corpus

MIXED = (
    r"made: expected one made for the recipe biwi-metric of .*corpus, found one for biwi-codetalker\. "
    r"Recipes cannot be mixed: make it again with this corpus, or prepare the corpus with the other recipe\."
)


@pytest.fixture
def metric(tmp_path: Path) -> Corpus:
    return replace(toy_corpus(tmp_path / "corpus"), recipe="biwi-metric")


@pytest.fixture
def unit(metric: Corpus) -> Corpus:
    return replace(metric, recipe="biwi-codetalker")


@pytest.fixture
def encoder() -> Wav2Vec2SpeechEncoder:
    return Wav2Vec2SpeechEncoder.from_numbers(
        conv_dim=(8,) * 7, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    )  # fmt: skip


def test_a_student(metric: Corpus, unit: Corpus, tmp_path: Path, encoder: Wav2Vec2SpeechEncoder) -> None:
    student = new_faceformer(encoder, 64, 2, 25, width=8, dropout=0.0)
    save_student(tmp_path / "made", student, fps=25, speakers=("A", "B"), recipe="biwi-codetalker")
    assert load_student(tmp_path / "made", made_by="me", recipe=unit.recipe)[1] == ("A", "B")
    with pytest.raises(BadInput, match=MIXED):
        load_student(tmp_path / "made", made_by="me", recipe=metric.recipe)


def test_a_judge(metric: Corpus, unit: Corpus, tmp_path: Path) -> None:
    model = SyncNet3D(Shape(vertices=4, window=5, modes=3, width=8, layers=1, heads=2, channels=4, embedding=8,
                            non_negative=False))  # fmt: skip
    save_weights(tmp_path / "made", model, config(model, "biwi-codetalker"))
    assert load_syncnet3d(tmp_path / "made", unit.recipe).shape == model.shape
    with pytest.raises(BadInput, match=MIXED):
        load_syncnet3d(tmp_path / "made", metric.recipe)


def test_motion(metric: Corpus, unit: Corpus, tmp_path: Path) -> None:
    with write_predictions(tmp_path / "made", recipe="biwi-codetalker") as writer:
        writer.add("A0", "A", torch.zeros(3, 64, 3).numpy())
    assert open_predictions(tmp_path / "made", unit).clips == [("A0", "A")]
    with pytest.raises(BadInput, match=MIXED):
        open_predictions(tmp_path / "made", metric)


def test_what_does_not_say_is_let_pass(metric: Corpus) -> None:
    with pytest.raises(BadInput, match=MIXED):
        refuse_other_recipe("made", "biwi-codetalker", metric.recipe)
    for recipe in (None, metric.recipe):
        refuse_other_recipe("made", recipe, metric.recipe)
