"""The speech encoder compared with recorded hidden states, closed forms, and its own results on single clips."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2ForCTC
from transformers import logging as transformers_logging

from learn2talk_core.models.speech_encoders import wav2vec2
from learn2talk_core.models.speech_encoders.wav2vec2 import (
    Wav2Vec2SpeechEncoder,
    align_as_faceformer,
    load_wav2vec2,
    normalise_wave,
)
from learn2talk_core.run.errors import BadInput
from tests.golden.fill import Golden, fill_state_dict, official_key, waveform, zmuv

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def tiny(**numbers: object) -> Wav2Vec2SpeechEncoder:
    torch.manual_seed(0)
    return Wav2Vec2SpeechEncoder.from_numbers(**TINY | numbers).eval()


@pytest.fixture(scope="module")
def base() -> Wav2Vec2SpeechEncoder:
    """wav2vec 2.0 base at full size, with the weights of the golden files."""
    encoder = Wav2Vec2SpeechEncoder.from_numbers().eval()
    fill = Golden("faceformer", "vocaset").info["fill"]
    fill_state_dict(encoder, fill, rename=lambda key: "audio_encoder." + official_key(key))
    return encoder


@pytest.mark.parametrize("dataset", ["vocaset", "BIWI"])
@torch.inference_mode()
def test_hidden_states_are_those_of_faceformers_encoder(base: Wav2Vec2SpeechEncoder, dataset: str) -> None:
    golden = Golden("faceformer", dataset)
    features = base.conv_features(torch.from_numpy(zmuv(waveform(2.0), 1e-5))[None])
    golden.assert_close("conv_features", features.transpose(1, 2), atol=2e-5)
    golden.assert_close("hidden_predict", base.encode(align_as_faceformer(features, dataset.lower())), atol=1e-4)
    frames = {"vocaset": 60, "BIWI": 50}[dataset]
    aligned = align_as_faceformer(features, dataset.lower(), frames)
    golden.assert_close("hidden_train", base.encode(aligned), atol=1e-4)


def test_wave_normalisation_is_transformers() -> None:
    wave = waveform(1.0)
    np.testing.assert_allclose(normalise_wave(torch.from_numpy(wave)).numpy(), zmuv(wave), atol=1e-5)


@pytest.mark.parametrize("samples", [399, 400, 719, 720, 16000, 32000, 64000, 160000])
@torch.inference_mode()
def test_feature_count(samples: int) -> None:
    encoder = tiny()
    expected = encoder.conv_features(torch.zeros(1, samples)).shape[1] if samples >= 400 else 0
    assert encoder.feature_count(samples) == expected
    if samples % 16000 == 0:
        assert expected == 50 * samples // 16000 - 1


def test_receptive_field_and_stride() -> None:
    """Found by gradient: the samples that affect feature 3."""
    encoder = tiny(feat_extract_norm="layer")
    wave = torch.randn(1, 4000, requires_grad=True)
    encoder.conv_features(wave)[0, 3].sum().backward()
    assert wave.grad is not None
    seen = wave.grad[0].nonzero()
    assert (encoder.stride, encoder.receptive_field) == (320, 400)
    assert int(seen.min()) == 3 * encoder.stride
    assert int(seen.max()) == 3 * encoder.stride + encoder.receptive_field - 1


@pytest.mark.parametrize("fps", [25, 29.97, 30, 60])
def test_resampling_tells_the_time(fps: float) -> None:
    """If each feature is the time of its centre, resampling gives the time of each motion frame."""
    encoder = tiny()
    centre = (torch.arange(99) * 320 + 200) / 16000
    frames = int(2 * fps)
    resampled = encoder.resample(centre[None, :, None], frames, fps)[0, :, 0]
    expected = (torch.arange(frames) / fps).clamp(centre[0], centre[-1])
    torch.testing.assert_close(resampled, expected, atol=1e-6, rtol=0)


def test_resampling_beyond_the_sound_holds_the_last_feature() -> None:
    features = torch.randn(1, 49, 8)
    resampled = tiny().resample(features, 90, 30)
    torch.testing.assert_close(resampled[0, 30:], features[0, -1].expand(60, -1))
    torch.testing.assert_close(resampled[:, :29], tiny().resample(features, 29, 30))  # not stretched


def test_faceformers_frame_counts() -> None:
    features = torch.randn(1, 199, 4)
    assert align_as_faceformer(features, "vocaset").shape[1] == 119
    assert align_as_faceformer(features, "vocaset", 120).shape[1] == 120
    assert align_as_faceformer(features, "biwi").shape[1] == 198
    assert align_as_faceformer(features, "biwi", 60).shape[1] == 120
    assert align_as_faceformer(features, "biwi", 110).shape[1] == 198
    with pytest.raises(ValueError, match="expected vocaset or biwi, found flame"):
        align_as_faceformer(features, "flame")


@pytest.mark.parametrize("stable", [False, True])
@torch.inference_mode()
def test_a_padded_batch_equals_single_clips(stable: bool) -> None:
    encoder = tiny(do_stable_layer_norm=stable)
    lengths = [30, 47, 12]
    features = torch.randn(3, 47, 16)
    hidden = encoder.encode(features.clone(), lengths)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(hidden[row, :length], encoder.encode(features[row : row + 1, :length])[0])


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("samples", [16000, 16079, 33333])
@torch.inference_mode()
def test_long_speech_in_pieces_gives_the_same_features(norm: str, samples: int, monkeypatch) -> None:
    encoder = tiny(feat_extract_norm=norm)
    wave = torch.randn(2, samples) + 0.1
    whole = encoder.conv_features(wave)
    monkeypatch.setattr(wav2vec2, "PIECE", 4000)
    monkeypatch.setattr(encoder.feature_extractor, "forward", None)  # the whole is not run
    torch.testing.assert_close(encoder.conv_features(wave), whole, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_long_speech_in_windows(monkeypatch) -> None:
    """One window equals `encode`; with several, each frame comes from the window in whose middle part it lies."""
    encoder = tiny()
    features = torch.randn(1, 100, 16)
    torch.testing.assert_close(encoder.encode_long(features, 10), encoder.encode(features), atol=0, rtol=0)
    monkeypatch.setattr(Wav2Vec2SpeechEncoder, "window", 4.0)
    monkeypatch.setattr(Wav2Vec2SpeechEncoder, "margin", 0.5)
    hidden = encoder.encode_long(features, 10)  # windows of 40, edges of 5
    parts = [(0, 35, 0), (35, 65, 30), (65, 100, 60)]
    assert hidden.shape[1] == 100
    for start, end, window in parts:
        expected = encoder.encode(features[:, window : window + 40])[:, start - window : end - window]
        torch.testing.assert_close(hidden[:, start:end], expected, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_saved_and_loaded(tmp_path) -> None:
    encoder = tiny()
    encoder.save_pretrained(tmp_path)
    loaded = load_wav2vec2(tmp_path)
    wave = torch.randn(1, 8000)
    torch.testing.assert_close(
        loaded.encode(loaded.conv_features(wave)), encoder.encode(encoder.conv_features(wave)), atol=0, rtol=0
    )


@torch.inference_mode()
def test_a_ctc_checkpoint_gives_its_encoder(tmp_path) -> None:
    torch.manual_seed(0)
    ctc = Wav2Vec2ForCTC(tiny().config).eval()
    ctc.save_pretrained(tmp_path)
    loaded = load_wav2vec2(tmp_path)
    wave = torch.randn(1, 8000)
    torch.testing.assert_close(
        loaded.encode(loaded.conv_features(wave)), ctc.wav2vec2(wave).last_hidden_state, atol=1e-6, rtol=0
    )


def test_what_is_no_encoder_is_refused(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"expected a wav2vec 2\.0 on this machine"):
        load_wav2vec2(tmp_path)
    with pytest.raises(BadInput, match=r"nobody/has-this-model: expected a wav2vec 2\.0 on this machine"):
        load_wav2vec2("nobody/has-this-model")
    tiny().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if ".layers.1." not in k}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    before = transformers_logging.get_verbosity()
    with pytest.raises(BadInput, match="expected weights for the whole encoder"):
        load_wav2vec2(tmp_path)
    assert transformers_logging.get_verbosity() == before
    (tmp_path / "model.safetensors").write_bytes(b"<html>")
    with pytest.raises(BadInput, match=r"expected a wav2vec 2\.0 on this machine"):
        load_wav2vec2(tmp_path)


def test_a_folder_that_leads_out_of_itself_is_refused(tmp_path) -> None:
    tiny().save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = tmp_path / "m" / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"x": "../outside.safetensors"}}))
    with pytest.raises(BadInput, match=r"index.json: expected a plain name without path separators"):
        load_wav2vec2(tmp_path / "m")
    index.unlink()
    (tmp_path / "m" / "model.safetensors").symlink_to("../outside.safetensors")
    with pytest.raises(BadInput, match=r"model.safetensors: expected a file in its folder, found a link"):
        load_wav2vec2(tmp_path / "m")
