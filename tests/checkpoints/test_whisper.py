"""Whisper's encoder from CTranslate2's model.bin, written here by hand, and from transformers' files."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk.cli import main
from learn2talk_core.checkpoints.speech_encoder import import_speech_encoder
from learn2talk_core.checkpoints.whisper import import_whisper
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder, save_speech_encoder
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.speech_encoders.whisper import WhisperSpeechEncoder
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.ctranslate2 import read_ctranslate2
from tests.models.speech_encoders.test_wav2vec2 import tiny as tiny_wav2vec2
from tests.models.speech_encoders.test_whisper import tiny

NUMBERS = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}


def text(words: str) -> bytes:
    return struct.pack("<H", len(words) + 1) + words.encode() + b"\0"


def model_bin(arrays: dict[str, np.ndarray], kind: str = "WhisperSpec", version: int = 6) -> bytes:
    """CTranslate2's file."""
    content = struct.pack("<I", version) + text(kind) + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        content += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        content += struct.pack("<BI", NUMBERS[str(array.dtype)], array.nbytes) + array.tobytes()
    return content + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")


def arrays_of(encoder: WhisperSpeechEncoder) -> dict[str, np.ndarray]:
    """The encoder's weights under CTranslate2's names, and a few of a decoder."""
    w = {key: value.numpy().astype(np.float16) for key, value in encoder.state_dict().items()}
    found = {
        "decoder/embeddings/weight": np.zeros((5, 16), np.float16),
        "encoder/num_heads": np.array(encoder.config.encoder_attention_heads, np.int16),
        "encoder/position_encodings/encodings": w["embed_positions.weight"],
    }
    for conv in ("conv1", "conv2"):
        found |= {f"encoder/{conv}/{kind}": w[f"{conv}.{kind}"] for kind in ("weight", "bias")}
    norms = {"encoder/layer_norm": "layer_norm"}
    for i in range(encoder.config.encoder_layers):
        own, theirs = f"layers.{i}.", f"encoder/layer_{i}/"
        norms[theirs + "self_attention/layer_norm"] = own + "self_attn_layer_norm"
        norms[theirs + "ffn/layer_norm"] = own + "final_layer_norm"
        query, key, value = (w[f"{own}self_attn.{name}_proj.weight"] for name in "qkv")
        found[theirs + "self_attention/linear_0/weight"] = np.concatenate([query, key, value])
        biases = w[own + "self_attn.q_proj.bias"], np.zeros(16, np.float16), w[own + "self_attn.v_proj.bias"]
        found[theirs + "self_attention/linear_0/bias"] = np.concatenate(biases)
        for part, name in (
            ("self_attention/linear_1", "self_attn.out_proj"),
            ("ffn/linear_0", "fc1"),
            ("ffn/linear_1", "fc2"),
        ):
            found |= {f"{theirs}{part}/{kind}": w[f"{own}{name}.{kind}"] for kind in ("weight", "bias")}
    for theirs, own in norms.items():
        found |= {f"{theirs}/gamma": w[own + ".weight"], f"{theirs}/beta": w[own + ".bias"]}
    return found


def test_ctranslate2s_file_gives_the_encoder_in_half_precision(tmp_path: Path) -> None:
    encoder, path = tiny(), tmp_path / "model.bin"
    path.write_bytes(model_bin(arrays_of(encoder)))
    for source in (path, tmp_path):
        for read in (import_whisper, import_speech_encoder):
            found = read(source)
            assert found.settings() == {**encoder.settings(), "frozen_layers": 1}
            for key, value in encoder.state_dict().items():
                assert torch.equal(found.state_dict()[key], value.half().float()), key


def test_the_kind_is_told_by_the_files(tmp_path: Path) -> None:
    for name, encoder in (("a", tiny()), ("b", tiny_wav2vec2())):
        (tmp_path / name).mkdir()
        save_speech_encoder(tmp_path / name, encoder)
    assert isinstance(import_speech_encoder(tmp_path / "a"), WhisperSpeechEncoder)
    assert isinstance(import_speech_encoder(tmp_path / "b"), Wav2Vec2SpeechEncoder)
    assert isinstance(load_speech_encoder(tmp_path / "b"), Wav2Vec2SpeechEncoder)
    with pytest.raises(BadInput, match=r"nobody/has-this: expected a wav2vec 2.0 on this machine"):
        import_speech_encoder("nobody/has-this")
    with pytest.raises(
        BadInput, match=r"w.pth: expected a folder, a hub model or CTranslate2's model.bin, found a file"
    ):
        (tmp_path / "w.pth").write_bytes(b"x")
        import_whisper(tmp_path / "w.pth")


def test_the_command_imports_a_hub_model_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, snapshot = tiny(), "0" * 40
    cache = tmp_path / "hub" / "models--someone--whisper"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(snapshot)
    (cache / "snapshots" / snapshot).mkdir(parents=True)
    save_speech_encoder(cache / "snapshots" / snapshot, encoder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["import-checkpoint", "someone/whisper", "--as", "whisper"]) == 0
    said = capsys.readouterr().out
    assert "Whisper's encoder, 3 layers of width 16" in said
    assert "-S experts.speech_encoder=checkpoints/whisper" in said
    found = load_speech_encoder("checkpoints/whisper").state_dict()
    assert all(torch.equal(value, found[key]) for key, value in encoder.state_dict().items())
    assert main(["import-checkpoint", "someone/other", "--as", "whisper"]) == 1
    assert "someone/other: expected a Whisper on this machine, found no config.json" in capsys.readouterr().err


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path, arrays = tmp_path / "model.bin", arrays_of(tiny())
    whole = model_bin(arrays)
    bad = {
        "expected a complete model.bin of CTranslate2, found 5000 bytes, of which": whole[:5000],
        "expected a complete model.bin of CTranslate2, found 3 bytes": whole[:3],
        "expected CTranslate2's model.bin of version 6, found 1009593645": b"---<" + whole,
        "expected a model of the kind WhisperSpec, found 'TransformerSpec'": model_bin(arrays, "TransformerSpec"),
        r"expected Whisper's encoder, found no encoder/layer_1/ffn/linear_0/weight": model_bin(
            {name: array for name, array in arrays.items() if name != "encoder/layer_1/ffn/linear_0/weight"}
        ),
        "expected Whisper's encoder, found no encoder/num_heads": model_bin(
            {name: array for name, array in arrays.items() if "num_heads" not in name}
        ),
        r"conv1/bias: expected finite weights, found NaN or infinity": model_bin(
            {**arrays, "encoder/conv1/bias": np.full(16, np.inf, np.float16)}
        ),
        r"conv2.weight of shape \(16, 8, 3\) instead of \(16, 16, 3\)": model_bin(
            {**arrays, "encoder/conv2/weight": np.zeros((16, 8, 3), np.float16)}
        ),
        "embed_positions.weight of shape": model_bin(
            {**arrays, "encoder/position_encodings/encodings": np.zeros((7, 16), np.float16)}
        ),
        r"d_model: expected a whole number 1 … 16384, found 0": model_bin(
            {**arrays, "encoder/conv1/weight": np.zeros((16, 80), np.float16)}
        ),
    }
    for pattern, content in bad.items():
        path.write_bytes(content)
        with pytest.raises(BadInput, match=pattern):
            import_whisper(path)


def test_sizes_that_a_file_claims_are_checked(tmp_path: Path) -> None:
    """Neither a count nor a size is believed beyond the bytes that follow it."""
    path = tmp_path / "model.bin"
    head = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<I", 3)
    one = struct.pack("<I", 1) + text("a")
    bad = {
        r"expected at most 100000 arrays, found 4294967295": head + struct.pack("<I", 2**32 - 1),
        r"a: expected at most 8 axes, found 255": head + one + b"\xff",
        r"expected a complete model.bin.*of which 42949": head + one + struct.pack("<BIBI", 1, 4, 0, 2**32 - 1),
        r"a: expected 16 bytes for \(4,\) float32, found 8": head + one + struct.pack("<BIBI", 1, 4, 0, 8) + bytes(8),
        r"a: expected a known type, found type 9": head + one + struct.pack("<BIBI", 1, 4, 9, 8) + bytes(8),
    }
    for pattern, content in bad.items():
        path.write_bytes(content)
        with pytest.raises(BadInput, match=pattern):
            read_ctranslate2(path, "WhisperSpec")
    with pytest.raises(BadInput, match=r"other.bin: expected CTranslate2's model.bin, found nothing"):
        read_ctranslate2(tmp_path / "other.bin", "WhisperSpec")


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_give_an_encoder_or_one_clear_error(tmp_path: Path, seed: int) -> None:
    rng, path = np.random.default_rng(seed), tmp_path / "model.bin"
    whole = np.frombuffer(model_bin(arrays_of(tiny())), np.uint8)
    refused = []
    for _ in range(30):
        content = whole.copy()
        content[rng.integers(len(content) if rng.uniform() < 0.3 else 2000, size=3)] = rng.integers(256, size=3)
        path.write_bytes(content.tobytes())
        try:
            import_whisper(path)
        except BadInput as error:
            refused.append(str(error))
    assert refused
    assert all("model.bin" in message for message in refused)


def test_the_script_writes_packaged_weights(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(model_bin(arrays_of(tiny())))
    out = tmp_path / "weights"
    command = [sys.executable, "-m", "scripts.make_speech_encoder", str(tmp_path), "-o", str(out), "--name", "toy.en"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "0.0 million parameters" in done.stdout
    written, source = load_speech_encoder(out).state_dict(), import_whisper(tmp_path).state_dict()
    assert all(torch.equal(written[key], value) for key, value in source.items())
    card = (out / "README.md").read_text()
    assert "license: mit" in card
    assert "the encoder of OpenAI's Whisper toy.en" in card
    assert "English speech from the web; no other language" in card
