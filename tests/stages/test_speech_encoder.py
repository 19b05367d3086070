"""The speech encoder's stage imports a published checkpoint."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from stages.speech_encoder import OUT, Params, main, small_encoder, spoken_texts


@pytest.fixture
def params() -> Params:
    return load_params(Params, "speech_encoder", "pretraining/params.yaml")


def with_values(params: Params, **values: object) -> Params:
    return Params(**{**params.__dict__, **values})


def test_a_checkpoint_is_taken_over(params, tmp_path, monkeypatch) -> None:
    torch.manual_seed(0)
    encoder = small_encoder(with_values(params, width=32, layers=1, tcn_width=16, heads=2))
    encoder.save_pretrained(tmp_path / "published")
    monkeypatch.chdir(tmp_path)
    sentence = main(with_values(params, checkpoint="published"))
    assert sentence.startswith("imported published, 0.0 million")
    loaded = load_speech_encoder(OUT).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in encoder.state_dict().items())
    assert json.loads((tmp_path / "metrics/speech_encoder.json").read_text())["checkpoint"] == "published"
    assert (tmp_path / "metrics/curves/speech_encoder.csv").read_text() == "step\n0\n"


def test_a_checkpoint_that_dvc_cannot_watch(params, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"speech_encoder\.checkpoint: expected a file or a folder, found nowhere"):
        main(with_values(params, checkpoint="nowhere"))
    small_encoder(with_values(params, width=32, layers=1, tcn_width=16, heads=2)).save_pretrained("published")
    with pytest.raises(BadInput, match=r"found published/model\.safetensors, with config\.json beside it"):
        main(with_values(params, checkpoint="published/model.safetensors"))
    assert not (tmp_path / "data").exists()


def test_without_phonemes_there_must_be_a_checkpoint() -> None:
    spoken = [SimpleNamespace(split="loss", phonemes=said) for said in ((Phoneme(0.0, 0.5, "AA"),), ())]
    video = SimpleNamespace(split=lambda *_: spoken, audio=lambda clip: np.zeros(8000, np.float32))
    assert [text.phonemes for text in spoken_texts(video, "loss", "metric")] == [spoken[0].phonemes]
    spoken.pop(0)
    with pytest.raises(
        BadInput,
        match=r"speech_encoder.checkpoint: expected a trained speech encoder, since the films have no ph",
    ):
        spoken_texts(video, "loss")
