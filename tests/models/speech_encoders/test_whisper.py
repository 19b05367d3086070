"""Whisper's encoder compared with transformers' own on padded speech, with a plain functional one, and with itself."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper import modeling_whisper

from learn2talk_core.audio.log_mel import log_mel_levels
from learn2talk_core.models.speech_encoders.encoder import windows
from learn2talk_core.models.speech_encoders.loading import (
    load_speech_encoder,
    new_speech_encoder,
    save_speech_encoder,
)
from learn2talk_core.models.speech_encoders.whisper import WhisperSpeechEncoder, whisper_config
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import parameter_count
from tests.golden.fill import waveform

ROOT = Path(__file__).parents[3]
PACKAGED = ROOT / "weights/speech_encoder"
TINY = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}


def tiny(frozen_layers: int = 1) -> WhisperSpeechEncoder:
    torch.manual_seed(0)
    encoder = WhisperSpeechEncoder(whisper_config({**TINY, "frozen_layers": frozen_layers}, "tiny")).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


def heard(encoder: WhisperSpeechEncoder, wave: np.ndarray) -> Tensor:
    """Hidden states (n, H) at the encoder's own rate."""
    return encoder.encode(encoder.frozen_features(wave)[None])[0]


def padded(wave: np.ndarray) -> np.ndarray:
    return np.pad(wave, (0, 480_000 - len(wave)))


@pytest.mark.parametrize("bands", [80, 128])
def test_levels_are_those_of_transformers(bands: int) -> None:
    wave = waveform(2.0)
    levels = log_mel_levels(padded(wave), bands)
    scaled = (levels.clamp(min=levels.max() - 8) + 4) / 4
    theirs = WhisperFeatureExtractor(feature_size=bands)(wave, sampling_rate=16000, return_tensors="np")
    np.testing.assert_allclose(scaled.T.numpy(), theirs["input_features"][0], atol=2e-4)


def test_levels_in_pieces_and_of_short_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = waveform(1.0)
    whole = log_mel_levels(wave)
    monkeypatch.setattr("learn2talk_core.audio.log_mel.PIECE", 7)
    torch.testing.assert_close(log_mel_levels(wave), whole, atol=1e-5, rtol=0)
    for samples in (0, 1, 399):  # padded with silence
        torch.testing.assert_close(log_mel_levels(np.zeros(samples)), torch.full((2, 80), -10.0))
    assert log_mel_levels(np.zeros(16000 + 159)).shape == (100, 80)


@torch.inference_mode()
def test_equal_to_transformers_encoder_on_padded_speech() -> None:
    encoder, wave = tiny(), waveform(2.0)
    theirs = modeling_whisper.WhisperEncoder(WhisperConfig(**TINY)).eval()
    theirs.load_state_dict(encoder.state_dict())
    mel = WhisperFeatureExtractor()(wave, sampling_rate=16000, return_tensors="pt")["input_features"]
    torch.testing.assert_close(heard(encoder, padded(wave)), theirs(mel).last_hidden_state[0], atol=1e-3, rtol=1e-3)


def plain(encoder: WhisperSpeechEncoder, wave: np.ndarray) -> Tensor:
    """The encoder of an unpadded clip in plain functions, after the paper and OpenAI's model."""
    w = encoder.state_dict()
    levels = log_mel_levels(wave)
    x = ((torch.maximum(levels, levels.max() - 8) + 4) / 4).T[None]
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = F.gelu(F.conv1d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=stride, padding=1))
    x = x[0].T + w["embed_positions.weight"][: x.shape[2]]

    def normal(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w[name + ".weight"] + w[name + ".bias"]
        )

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)

    for i in range(TINY["encoder_layers"]):
        layer, mixed = f"layers.{i}.", []
        query, key, value = (
            linear(normal(x, layer + "self_attn_layer_norm"), f"{layer}self_attn.{n}_proj") for n in "qkv"
        )
        for part in (slice(0, 8), slice(8, 16)):  # two heads of width 8
            weight = (query[:, part] @ key[:, part].T / math.sqrt(8)).softmax(-1)
            mixed.append(weight @ value[:, part])
        x = x + linear(torch.cat(mixed, -1), layer + "self_attn.out_proj")
        x = x + linear(F.gelu(linear(normal(x, layer + "final_layer_norm"), layer + "fc1")), layer + "fc2")
    return normal(x, "layer_norm")


@pytest.mark.parametrize("frozen", [0, 1, 3])
@torch.inference_mode()
def test_positions_are_cut_to_the_clip(frozen: int) -> None:
    encoder, wave = tiny(frozen), waveform(1.3)
    assert (encoder.feature_width, encoder.width) == (16, 16)
    found = heard(encoder, wave)
    assert found.shape == (65, 16)
    torch.testing.assert_close(found, plain(encoder, wave), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_feature_is_at_the_time_of_its_sound() -> None:
    """A click at the sample 320 k moves feature k more than its neighbours."""
    encoder = tiny(0)
    silence = np.full(16000, 1e-4, np.float32) * np.sin(np.arange(16000))
    for k in (10, 33):
        wave = silence.astype(np.float32)
        before = encoder.frozen_features(wave)
        wave[k * encoder.stride + encoder.offset] += 1e-3
        change = (encoder.frozen_features(wave) - before).norm(dim=1)
        assert int(change.argmax()) == k
        assert change[k - 1] + change[k + 1] > 0
        assert float(change[: k - 2].sum() + change[k + 3 :].sum()) < 1e-3


@torch.inference_mode()
def test_a_padded_batch_equals_single_clips() -> None:
    encoder = tiny()
    lengths = [30, 47, 12]
    features = torch.randn(3, 47, 16)
    hidden = encoder.encode(features, lengths)
    for row, length in enumerate(lengths):
        alone = encoder.encode(features[row : row + 1, :length])[0]
        torch.testing.assert_close(hidden[row, :length], alone, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_long_speech_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the length of a window nothing changes; beyond it each feature comes from the window around it."""
    encoder, wave = tiny(2), waveform(2.0)
    whole = encoder.frozen_features(wave)
    monkeypatch.setattr(WhisperSpeechEncoder, "margin", 0.2)
    monkeypatch.setattr(WhisperSpeechEncoder, "window", 2.0)
    torch.testing.assert_close(encoder.frozen_features(wave), whole, atol=0, rtol=0)
    monkeypatch.setattr(WhisperSpeechEncoder, "window", 0.8)  # 40 features, of which 10 at each end are context
    levels = log_mel_levels(wave)
    found = encoder.frozen_features(wave)
    assert found.shape == whole.shape
    for start, end, first, last in ((0, 40, 0, 30), (20, 60, 30, 50), (60, 100, 70, 100)):
        alone = encoder.features_of(levels[2 * start : 2 * end], float(levels.max()))
        torch.testing.assert_close(found[first:last], alone[first - start : last - start], atol=1e-5, rtol=1e-5)
    assert encoder.listen(wave, 60, 30).shape == (60, 16)


@pytest.mark.parametrize("count", [1, 40, 41, 99, 100, 101])
def test_windows_keep_every_frame_once(count: int) -> None:
    kept: list[int] = []
    for start, end, first, last in windows(count, 50, 0.8, 0.2):
        assert 0 <= start <= first < last <= end <= count
        assert end - start <= 40
        assert first in (start, start + 10)
        assert last in (end, end - 10)
        kept += range(first, last)
    assert kept == list(range(count))


def test_only_the_last_layers_are_trained() -> None:
    encoder = tiny(2)
    encoder.freeze()
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"layers", "layer_norm"}
    assert {name.split(".")[1] for name in trained if name.startswith("layers")} == {"2"}
    features = encoder.frozen_features(waveform(0.5))
    assert not features.requires_grad
    encoder.encode(features[None]).square().sum().backward()
    assert all((p.grad is not None) == (name in trained) for name, p in encoder.named_parameters())


@torch.inference_mode()
def test_a_stream_is_scaled_by_the_loudest_level_so_far() -> None:
    encoder = tiny()
    loud, quiet = waveform(1.0), waveform(1.0)[::-1] * np.float32(1e-6)
    hearing = encoder.hearing()
    torch.testing.assert_close(hearing.features(loud, len(loud)), encoder.frozen_features(loud), atol=0, rtol=0)
    found = hearing.features(quiet, len(quiet))
    levels = log_mel_levels(quiet)
    expected = encoder.features_of(levels, float(log_mel_levels(loud).max()))
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert not torch.allclose(found, encoder.frozen_features(quiet))  # alone, it would be scaled by itself


@pytest.mark.parametrize("samples", [0, 1, 200, 1600, 16000])
@torch.inference_mode()
def test_silence_and_short_sounds_have_features(samples: int) -> None:
    encoder = tiny()
    features = encoder.frozen_features(np.zeros(samples, np.float32))
    assert features.shape == (max(1, samples // 320), 16)
    assert torch.isfinite(encoder.listen(np.zeros(samples, np.float32), 5, 30)).all()


@torch.inference_mode()
def test_saved_and_loaded(tmp_path: Path) -> None:
    encoder, wave = tiny(2), waveform(0.5)
    save_speech_encoder(tmp_path, encoder)
    loaded = load_speech_encoder(tmp_path)
    assert isinstance(loaded, WhisperSpeechEncoder)
    assert loaded.frozen_layers == 2
    torch.testing.assert_close(heard(loaded, wave), heard(encoder, wave), atol=0, rtol=0)
    assert load_speech_encoder(tmp_path, 0).frozen_layers == 0
    with pytest.raises(BadInput, match=r"frozen_layers: expected 0 … 3, the layers of the speech encoder in .*found 4"):
        load_speech_encoder(tmp_path, 4)
    untrained = new_speech_encoder(encoder.settings(), "model.json")
    assert {k: v.shape for k, v in untrained.state_dict().items()} == {
        k: v.shape for k, v in encoder.state_dict().items()
    }
    assert untrained.frozen_layers == 2
    with pytest.raises(BadInput, match=r"model.json: speech_encoder: expected wav2vec2 or whisper, found hubert"):
        new_speech_encoder({"model_type": "hubert"}, "model.json")


def test_transformers_reads_the_folder_and_we_read_transformers(tmp_path: Path) -> None:
    """A whole published Whisper, with its decoder, gives its encoder; all but its last two layers are frozen."""
    torch.manual_seed(1)
    whole = WhisperModel(WhisperConfig(**TINY, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16,
                                       vocab_size=20, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                                       decoder_start_token_id=1))  # fmt: skip
    whole.save_pretrained(tmp_path / "whole")
    loaded = load_speech_encoder(tmp_path / "whole")
    assert loaded.frozen_layers == 1
    assert all(torch.equal(value, whole.encoder.state_dict()[key]) for key, value in loaded.state_dict().items())
    save_speech_encoder(tmp_path, loaded)
    back = modeling_whisper.WhisperEncoder.from_pretrained(tmp_path)
    assert torch.equal(back.conv2.weight, whole.encoder.conv2.weight)


def test_what_is_no_whisper_is_refused(tmp_path: Path) -> None:
    save_speech_encoder(tmp_path, tiny())
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    about, state = json.loads(config.read_text()), load_file(weights)
    for change, pattern in (
        ({"d_model": 0}, r"config.json: d_model: expected a whole number 1 … 16384, found 0"),
        ({"d_model": 10**12}, r"d_model: expected a number of at most 1048576"),
        ({"encoder_layers": "4"}, r"encoder_layers: expected a whole number 1 … 100, found 4"),
        ({"encoder_attention_heads": 3}, r"sizes that divide each other, found d_model 16 and encoder_att.* 3"),
        ({"max_source_positions": 100}, r"expected 1500 positions, which are 30 s, found 100"),
        ({"frozen_layers": 4}, r"frozen_layers: expected a whole number 0 … 3, the layers of this Whisper, found 4"),
        ({"encoder_ffn_dim": 48}, r"layers.0.fc1.weight of shape \(32, 16\) instead of \(48, 16\)"),
        ({"d_model": 32}, r"conv1.weight of shape \(16, 80, 3\) instead of \(32, 80, 3\)"),
        ({"model_type": "hubert"}, r"expected a wav2vec 2.0 or a Whisper, found a hubert"),
        ({"model_type": "wav2vec2"}, r"expected weights for the whole encoder, found no weight for"),
    ):
        config.write_text(json.dumps({**about, **change}))
        with pytest.raises(BadInput, match=pattern):
            load_speech_encoder(tmp_path)
    config.write_text(json.dumps(about))
    save_file({key: value for key, value in state.items() if "layers.1" not in key}, weights)
    with pytest.raises(BadInput, match=r"expected the weights of the encoder of a Whisper, found no layers.1.*more"):
        load_speech_encoder(tmp_path)
    save_file({**state, "conv1.bias": torch.full((16,), torch.nan)}, weights)
    with pytest.raises(BadInput, match=r"conv1.bias: expected finite weights, found NaN"):
        load_speech_encoder(tmp_path)
    weights.unlink()
    with pytest.raises(BadInput, match=r"expected a Whisper on this machine, found no model.safetensors"):
        load_speech_encoder(tmp_path)


def test_the_packaged_encoder() -> None:
    encoder = load_speech_encoder(PACKAGED)
    assert parameter_count(encoder) == 8_208_384  # tiny.en's encoder
    assert (encoder.width, encoder.config.num_hidden_layers, encoder.frozen_layers) == (384, 4, 2)
    assert {value.dtype for value in encoder.state_dict().values()} == {torch.float32}
    position = torch.arange(1500, dtype=torch.float64)[:, None]  # Whisper's sinusoids, stored in half precision
    angle = position * torch.exp(-math.log(10000) / 191 * torch.arange(192, dtype=torch.float64))
    table = torch.cat([angle.sin(), angle.cos()], dim=1).float()
    assert isinstance(encoder, WhisperSpeechEncoder)
    torch.testing.assert_close(encoder.embed_positions.weight, table, atol=6e-4, rtol=0)


def test_a_changed_byte_of_packaged_weights_is_refused(tmp_path: Path) -> None:
    for file in PACKAGED.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BadInput, match=r"model.safetensors: expected the file that learn2talk.json describes"):
        load_speech_encoder(tmp_path)
    weights.write_bytes(content[:100_000])
    with pytest.raises(BadInput, match=r"found another content of 100000 bytes"):
        load_speech_encoder(tmp_path)
    weights.unlink()
    with pytest.raises(BadInput, match=r"model.safetensors: expected a file, found nothing"):
        load_speech_encoder(tmp_path)
