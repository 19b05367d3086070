"""Published Whisper, of which only the encoder is read: transformers' files, and CTranslate2's.

No tokenizer is needed or read.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import WhisperConfig

from learn2talk_core.models.speech_encoders.whisper import (
    POSITIONS,
    WhisperSpeechEncoder,
    load_whisper,
    whisper_config,
    whisper_from,
)
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.ctranslate2 import read_ctranslate2
from learn2talk_core.untrusted.published import State

FIX = "Name a folder with a Whisper's config.json and model.safetensors, a hub model in the cache, or a model.bin."
CTRANSLATE2 = "model.bin"  # the name of its file of weights
# CTranslate2's names of a layer's parts -> transformers'
NORMS = {"self_attention/layer_norm": "self_attn_layer_norm", "ffn/layer_norm": "final_layer_norm"}
LINEAR = {"self_attention/linear_1": "self_attn.out_proj", "ffn/linear_0": "fc1", "ffn/linear_1": "fc2"}
INPUT = "self_attention/linear_0"  # query, key and value in one; Whisper's keys have no bias, here it is zero


def import_whisper(source: str | Path) -> WhisperSpeechEncoder:
    """The encoder of a published Whisper of any size, in evaluation mode, in float32.

    Args:
        source: a folder with `config.json` and weights in transformers' format; the name of a hub model in the local
            cache (nothing is downloaded); CTranslate2's `model.bin` or its folder.

    Raises:
        BadInput: not a Whisper, or an incomplete or damaged one.
    """
    path = Path(source)
    if path.is_dir() and not (path / "model.safetensors").is_file() and (path / CTRANSLATE2).is_file():
        path = path / CTRANSLATE2
    if not path.is_file():
        return load_whisper(source)
    if path.suffix != ".bin":
        raise BadInput(path, expected="a folder, a hub model or CTranslate2's model.bin", found="a file", fix=FIX)
    given = read_ctranslate2(path, "WhisperSpec", "encoder/")
    try:
        return whisper_from(_renamed(given), _config(given, path), path, fix=FIX)
    except KeyError as error:
        raise BadInput(path, expected="Whisper's encoder", found=f"no encoder/{error.args[0]}", fix=FIX) from None


def _config(given: State, path: Path) -> WhisperConfig:
    width, bands, _ = given["conv1/weight"].shape if given["conv1/weight"].ndim == 3 else (0, 0, 0)
    sizes = {
        "d_model": width,
        "num_mel_bins": bands,
        "encoder_layers": len({key.split("/")[0] for key in given if key.startswith("layer_") and "/ffn/" in key}),
        "encoder_attention_heads": int(given["num_heads"]) if given["num_heads"].numel() == 1 else 0,
        "encoder_ffn_dim": given["layer_0/ffn/linear_0/bias"].numel(),
        "max_source_positions": POSITIONS,
    }
    return whisper_config(sizes, path, fix=FIX)


def _renamed(given: State) -> State:
    """transformers' names for the arrays of CTranslate2's encoder."""
    state = {f"{conv}.{kind}": given[f"{conv}/{kind}"] for conv in ("conv1", "conv2") for kind in ("weight", "bias")}
    state["embed_positions.weight"] = given["position_encodings/encodings"]
    state |= _norm(given, "layer_norm", "layer_norm")
    layers = sorted({key.split("/")[0] for key in given if key.startswith("layer_") and "/ffn/" in key})
    for layer in layers:
        own = f"layers.{layer.removeprefix('layer_')}"
        for theirs, ours in NORMS.items():
            state |= _norm(given, f"{layer}/{theirs}", f"{own}.{ours}")
        for theirs, ours in LINEAR.items():
            state |= {f"{own}.{ours}.{kind}": given[f"{layer}/{theirs}/{kind}"] for kind in ("weight", "bias")}
        weights, biases = (_thirds(given[f"{layer}/{INPUT}/{kind}"]) for kind in ("weight", "bias"))
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            state[f"{own}.self_attn.{name}_proj.weight"] = weight
            if name != "k":
                state[f"{own}.self_attn.{name}_proj.bias"] = bias
    return state


def _norm(given: State, theirs: str, ours: str) -> State:
    return {f"{ours}.weight": given[f"{theirs}/gamma"], f"{ours}.bias": given[f"{theirs}/beta"]}


def _thirds(joined: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    size = len(joined) // 3
    query, key, value = torch.split(joined[: 3 * size], size) if size else (joined,) * 3
    return query, key, value
