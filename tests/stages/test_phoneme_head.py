"""The stage phoneme_head at tiny size."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from learn2talk_core.audio.opus import encode_opus
from learn2talk_core.datasets.embedded.utterances import Utterance, write_utterances
from learn2talk_core.models.phoneme_head import load_recogniser
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder, save_speech_encoder
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from stages.phoneme_head import ENCODER, OUT, SPEECH, Params, SpokenUtterances, main
from tests.models.speech_encoders.test_whisper import tiny
from tests.training.test_speech_encoder import beeps


def utterance(speaker: str, split: str, seed: int) -> Utterance:
    said = beeps(seed, 4)
    return Utterance(
        speaker, f"voice {speaker}", False, split, "beep", len(said.wave), said.phonemes, encode_opus(said.wave)
    )


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Params:
    found = load_params(Params, "phoneme_head", "pretraining/params.yaml")
    monkeypatch.chdir(tmp_path)
    Path(ENCODER).mkdir(parents=True)
    save_speech_encoder(ENCODER, tiny())
    Path(SPEECH).mkdir(parents=True)
    for speaker, split in (("N00", "loss"), ("N01", "metric"), ("N02", "validation")):
        write_utterances(f"{SPEECH}/{speaker}.parquet", [utterance(speaker, split, i) for i in range(2)])
    return replace(found, width=8, steps=3, batch=2, window=0.5)


def test_a_head_is_trained_scored_and_written(params: Params) -> None:
    sentence = main(params)
    numbers = json.loads(Path("metrics/phoneme_head.json").read_text())
    assert (numbers["train_clips"], numbers["validation_clips"]) == (4, 2)
    assert set(numbers) >= {"phoneme_error", "frame_accuracy", "phoneme_error_no_audio", "parameters"}
    assert sentence.startswith(f"phoneme error {numbers['phoneme_error']:.3f} on unseen voices")
    assert len(Path("metrics/curves/phoneme_head.csv").read_text().splitlines()) == 4
    model = load_recogniser(load_speech_encoder(ENCODER), OUT, made_by="a test")
    assert model.head.feature_width == 16


def test_without_held_out_voices_it_is_refused(params: Params) -> None:
    Path(f"{SPEECH}/N02.parquet").unlink()
    with pytest.raises(BadInput, match=r"expected speech of the split validation and of others, found 2 of loss, 2 of"):
        main(params)
    assert not Path(OUT).exists()


def test_sounds_are_decoded_when_they_are_needed() -> None:
    clips = SpokenUtterances([utterance("N00", "loss", i) for i in range(3)])
    assert len(clips) == 3
    assert len(clips[1:]) == 2
    assert clips[1:][0].phonemes == clips[1].phonemes == beeps(1, 4).phonemes
    assert clips[2].wave.shape == beeps(2, 4).wave.shape
