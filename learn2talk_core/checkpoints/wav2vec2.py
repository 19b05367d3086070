"""Published wav2vec 2.0 of any size: a hub model in the local cache, a folder, or one file of weights.

No tokenizer is needed or read. Weight normalisation may have its old or its new names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.speech_encoders.source import beside
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder, load_wav2vec2, wav2vec2_config
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, write_json
from learn2talk_core.run.own_folder import EXPORT, own_folder
from learn2talk_core.run.weights import check_description, described
from learn2talk_core.untrusted.published import check_state, export_state, fill, read_state

HEAD_WIDTH = 64  # width of an attention head in every published size
FIX = "Name a wav2vec 2.0 in the format of transformers: a folder, a file of weights, or a hub model in the cache."
# modules that pre-training and speech recognition add to the encoder
HEADS = ("lm_head.", "quantizer.", "project_hid.", "project_q.", "classifier.", "projector.", "adapter_layer")


def import_wav2vec2(source: str | Path, config: str | Path | None = None) -> Wav2Vec2SpeechEncoder:
    """The encoder, without any head.

    Args:
        source: a folder with `config.json` and weights; the name of a hub model in the local cache (nothing is
            downloaded); or a file of weights.
        config: `config.json` for a file of weights. If None, the one beside the file is used; if there is none, the
            sizes are taken from the shapes of the weights (see `encoder_config`).

    Raises:
        BadInput: not a wav2vec 2.0, an incomplete one, or one for another sample rate.
    """
    path = Path(source)
    if not path.is_file():
        _check_about(source)
        return load_wav2vec2(source)
    state = {key.removeprefix("wav2vec2."): value for key, value in read_state(path).items()}
    state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    beside = path.with_name("config.json")
    if config is None and beside.is_file():
        config = beside
    if config is not None:
        _check_about(Path(config).parent)
    return encoder_from(state, path, None if config is None else read_config(config))


def encoder_from(
    state: Mapping[str, Tensor], path: object, config: Wav2Vec2Config | None = None
) -> Wav2Vec2SpeechEncoder:
    """The encoder of a state dict with the key names of transformers' Wav2Vec2Model; `path` is for errors.

    The mask embedding, which only pre-training uses, may be missing.
    """
    config = encoder_config(state, path) if config is None else config
    what = "a wav2vec 2.0 of this configuration"
    skeleton = described(
        lambda: Wav2Vec2SpeechEncoder(config), path, expected=what, fix=FIX
    )  # compared before allocating memory
    mask = {"masked_spec_embed": torch.zeros(config.hidden_size)}
    own = skeleton.state_dict()
    given = {**({key: value for key, value in mask.items() if key in own}), **state}
    if "masked_spec_embed" not in own:
        given.pop("masked_spec_embed", None)
    check_state(skeleton, given, path, what=what, fix=FIX)
    encoder = Wav2Vec2SpeechEncoder(config)
    fill(encoder, given, path, what=what, fix=FIX)
    return encoder.eval()


def encoder_config(state: Mapping[str, Tensor], path: object) -> Wav2Vec2Config:
    """The configuration, from the shapes of the weights and from what all published models of such shapes share.

    Models with a layer norm in each convolution (large-lv60, XLSR) normalise before each transformer block, the others
    (base, large) after it; attention heads have width 64; the strides are 5 and six times 2.
    """
    try:
        conv = [state[f"feature_extractor.conv_layers.{i}.conv.weight"] for i in range(7)]
        hidden = len(state["feature_projection.projection.bias"])
        inner = len(state["encoder.layers.0.feed_forward.intermediate_dense.bias"])
        direction = next(
            state[f"encoder.pos_conv_embed.conv.{name}"]
            for name in ("weight_v", "parametrizations.weight.original1")
            if f"encoder.pos_conv_embed.conv.{name}" in state
        )
        per_layer = "feature_extractor.conv_layers.1.layer_norm.weight" in state
        numbers = {
            "conv_dim": [len(weight) for weight in conv],
            "conv_kernel": [weight.shape[-1] for weight in conv],
            "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in state,
            "feat_extract_norm": "layer" if per_layer else "group",
            "do_stable_layer_norm": per_layer,
            "hidden_size": hidden,
            "num_hidden_layers": len({key.split(".")[2] for key in state if key.startswith("encoder.layers.")}),
            "num_attention_heads": max(1, hidden // HEAD_WIDTH),
            "intermediate_size": inner,
            "num_conv_pos_embeddings": direction.shape[-1],
            "num_conv_pos_embedding_groups": max(1, hidden // direction.shape[1]),
        }
    except (KeyError, StopIteration) as error:
        absent = str(error.args[0]) if error.args else "encoder.pos_conv_embed.conv.weight_v"
        raise BadInput(path, expected="the weights of a wav2vec 2.0", found=f"no {absent}", fix=FIX) from None
    except (TypeError, IndexError, ZeroDivisionError) as error:  # too few axes, or an axis of length 0
        found = f"weights of other shapes ({error})"
        raise BadInput(path, expected="the weights of a wav2vec 2.0", found=found, fix=FIX) from error
    return wav2vec2_config(numbers, path, fix=FIX)


def read_config(path: str | Path) -> Wav2Vec2Config:
    """A `config.json` of transformers; refused if it is of another kind of model."""
    about = _description(Path(path))
    if about.get("model_type", "wav2vec2") != "wav2vec2":
        raise BadInput(path, expected="a wav2vec 2.0", found=f"a {about['model_type']}"[:80], fix=FIX)
    return wav2vec2_config(about, path, fix=FIX)


def export_wav2vec2(encoder: Wav2Vec2SpeechEncoder, out: str | Path) -> None:
    """Write a folder like those of published models: `config.json`, `pytorch_model.bin` with the old names of weight
    normalisation, which every version of transformers reads, and `preprocessor_config.json`."""
    with own_folder(out, EXPORT) as folder:
        write_json(folder / "config.json", config_dict(encoder))
        torch.save(export_state(encoder), folder / "pytorch_model.bin")
        write_json(
            folder / "preprocessor_config.json",
            {
                "feature_extractor_type": "Wav2Vec2FeatureExtractor",
                "feature_size": 1,
                "sampling_rate": SAMPLE_RATE,
                "padding_value": 0.0,
                "do_normalize": True,
                "return_attention_mask": False,
            },
        )


def config_dict(encoder: Wav2Vec2SpeechEncoder) -> dict[str, Any]:
    """The configuration in the form of `config.json`."""
    return {**encoder.config.to_diff_dict(), "model_type": "wav2vec2", "architectures": ["Wav2Vec2Model"]}


def _check_about(source: str | Path) -> None:
    """Refuse another kind of model, another sample rate or audio without normalisation, if the files state it."""
    path = beside(source, "config.json")
    about = None if path is None else _description(path)
    if about is not None and about.get("model_type", "wav2vec2") != "wav2vec2":
        raise BadInput(source, expected="a wav2vec 2.0", found=f"a {about['model_type']}"[:80], fix=FIX)
    path = beside(source, "preprocessor_config.json")
    heard = {} if path is None else _description(path)
    if heard.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise BadInput(source, expected="a model for 16 kHz", found=f"{heard['sampling_rate']} Hz", fix=FIX)
    if not heard.get("do_normalize", True):
        found = "do_normalize: false"
        raise BadInput(source, expected="a model for audio with mean 0 and variance 1", found=found, fix=FIX)


def _description(path: Path) -> dict[str, Any]:
    return check_description(read_json(path, made_by="download it"), path, fix=FIX)
