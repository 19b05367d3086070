"""The encoder of Whisper (Radford et al. 2022) of any size as a speech encoder.

A log-mel spectrogram, two convolutions down to 50 Hz, and a transformer, whose first layers are frozen. Whisper was
trained on windows padded to 30 s; here the positions are cut to the length of the clip, so that time and memory are
those of the speech.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import WhisperConfig
from transformers.models.whisper import modeling_whisper

from learn2talk_core.audio.log_mel import HOP, log_mel_levels
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.linear import by_onednn
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder, windows
from learn2talk_core.models.speech_encoders.source import beside, check_links
from learn2talk_core.run.device import device_of, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json
from learn2talk_core.run.weights import check_description, described, read_origin
from learn2talk_core.untrusted.published import State, check_state, fill, read_state

FIX = "Name a Whisper in the format of transformers: a folder with config.json and model.safetensors."
WHAT = "the encoder of a Whisper"
POSITIONS = 1500  # in every published size: 30 s at 50 Hz
TRAINED_LAYERS = 2  # the last ones, if nothing else is asked for
RANGE = 8.0  # bels: lower levels count as this much below the loudest
# what determines the encoder, with the largest value that a file may ask for; large has 1280, 32, 20, 5120 and 128
SIZES = {
    "d_model": 16384,
    "encoder_layers": 100,
    "encoder_attention_heads": 1024,
    "encoder_ffn_dim": 65536,
    "num_mel_bins": 1024,
    "max_source_positions": POSITIONS,
}


class WhisperSpeechEncoder(modeling_whisper.WhisperEncoder, SpeechEncoder):
    """transformers' WhisperEncoder, run part by part; the state dict is that of published checkpoints' encoder.

    The feature of mel columns 2k - 1 … 2k + 1 is centred on sample 320 k.
    """

    model_type = "whisper"
    window = 30.0
    stride = 2 * HOP
    offset = 0

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        by_onednn(self)

    @property
    def feature_width(self) -> int:
        return int(self.config.d_model)

    @property
    def width(self) -> int:
        return int(self.config.d_model)

    @property
    def frozen_layers(self) -> int:
        layers = int(self.config.encoder_layers)
        return int(getattr(self.config, "frozen_layers", max(0, layers - TRAINED_LAYERS)))

    def freeze(self) -> None:
        for part in (self.conv1, self.conv2, self.embed_positions, self.layers[: self.frozen_layers]):
            part.requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        sizes = {name: getattr(self.config, name) for name in SIZES}
        return {"model_type": self.model_type, **sizes, "frozen_layers": self.frozen_layers}

    @torch.no_grad()
    def frozen_features(self, wave: np.ndarray) -> Tensor:
        """Levels more than 80 dB below the clip's loudest count as 80 dB below it, as in Whisper.

        Speech longer than 30 s is processed in windows of 30 s that overlap by 4 s, each with positions from 0.
        """
        levels = log_mel_levels(wave, self.config.num_mel_bins)
        return self.features_of(levels, float(levels.max()))

    def hearing(self) -> "LoudnessHearing":
        return LoudnessHearing(self)

    def features_of(self, levels: Tensor, loudest: float) -> Tensor:
        """Log-mel levels (m, bands) -> features (m / 2 rounded up, C)."""
        mel = sent((levels.clamp(min=loudest - RANGE) + 4) / 4, device_of(self))
        count, rate = (len(mel) + 1) // 2, SAMPLE_RATE / self.stride
        pieces = []
        for start, end, first, last in windows(count, rate, self.window, self.margin):
            x = F.gelu(self.conv1(mel[2 * start : 2 * end].T[None]))
            x = F.gelu(self.conv2(x)).transpose(1, 2)
            x = x + self.embed_positions.weight[: x.shape[1]]
            for layer in self.layers[: self.frozen_layers]:
                x = layer(x, None)
            pieces.append(x[0, first - start : last - start])
        return torch.cat(pieces)

    def encode(self, features: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        mask = None
        if lengths is not None and min(lengths) < features.shape[1]:
            ends = sent(torch.as_tensor(lengths), features.device)[:, None]
            beyond = torch.arange(features.shape[1], device=features.device)[None] >= ends
            mask = torch.zeros(beyond.shape, dtype=features.dtype, device=features.device)
            mask = mask.masked_fill(beyond, torch.finfo(features.dtype).min)[:, None, None]
        x = features
        for layer in self.layers[self.frozen_layers :]:
            x = layer(x, mask)
        return self.layer_norm(x)


class LoudnessHearing:
    """Whisper's `Hearing`: the loudest level, below which others are cut off, is that of all the sound so far."""

    def __init__(self, encoder: WhisperSpeechEncoder) -> None:
        self._encoder, self._loudest = encoder, -torch.inf

    @torch.no_grad()
    def features(self, wave: np.ndarray, new: int) -> Tensor:
        levels = log_mel_levels(wave, self._encoder.config.num_mel_bins)
        self._loudest = max(self._loudest, float(levels.max()))
        return self._encoder.features_of(levels, self._loudest)


def whisper_config(numbers: Mapping[str, Any], path: object, *, fix: str = FIX) -> WhisperConfig:
    """transformers' configuration of an encoder, from the content of a `config.json`.

    Raises:
        BadInput: a size that is missing or out of range (see `SIZES`), or sizes that do not divide each other.
    """
    chosen = {}
    for name, most in SIZES.items():
        value = numbers.get(name)
        if type(value) is not int or not 1 <= value <= most:
            found = f"{value}"[:40] if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"
            raise BadInput(f"{path}: {name}", expected=f"a whole number 1 … {most}", found=found, fix=fix)
        chosen[name] = value
    if chosen["d_model"] % chosen["encoder_attention_heads"]:
        found = f"d_model {chosen['d_model']} and encoder_attention_heads {chosen['encoder_attention_heads']}"
        raise BadInput(path, expected="sizes that divide each other", found=found, fix=fix)
    if chosen["max_source_positions"] != POSITIONS:
        found = f"{chosen['max_source_positions']}"
        raise BadInput(path, expected=f"{POSITIONS} positions, which are 30 s", found=found, fix=fix)
    layers = chosen["encoder_layers"]
    frozen = numbers.get("frozen_layers", max(0, layers - TRAINED_LAYERS))
    if type(frozen) is not int or not 0 <= frozen <= layers:
        expected = f"a whole number 0 … {layers}, the layers of this Whisper"
        raise BadInput(f"{path}: frozen_layers", expected=expected, found=f"{frozen}"[:40], fix=fix)
    return WhisperConfig.from_dict({**chosen, "frozen_layers": frozen})


def whisper_from(state: State, config: WhisperConfig, path: object, *, fix: str = FIX) -> WhisperSpeechEncoder:
    """The encoder of a state dict, of a whole Whisper or of its encoder alone, in evaluation mode; float32.

    Raises:
        BadInput: weights that are missing, left over or of another shape; `path` is named.
    """
    skeleton = described(lambda: WhisperSpeechEncoder(config), path, expected=WHAT, fix=fix)
    own = encoder_part(state)
    check_state(skeleton, own, path, what=WHAT, fix=fix)  # before allocating memory
    encoder = WhisperSpeechEncoder(config)
    fill(encoder, own, path, what=WHAT, fix=fix)
    return encoder.eval()


def encoder_part(state: State) -> State:
    """The encoder's weights in the state dict of a whole Whisper, or all of it if it is an encoder's."""
    for prefix in ("model.encoder.", "encoder."):
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if own:
            return own
    return state


def load_whisper(source: str | Path) -> WhisperSpeechEncoder:
    """The encoder in a folder with `config.json` and weights, or of a hub model in the local cache.

    Raises:
        BadInput: nothing there, another kind of network, or incomplete or damaged weights.
    """
    if Path(source).is_dir():
        check_links(Path(source))
        read_origin(source, "speech_encoder")
    config_file = beside(source, "config.json")
    weights = beside(source, "model.safetensors") or beside(source, "pytorch_model.bin")
    if config_file is None or weights is None:
        found = "no config.json" if config_file is None else "no model.safetensors"
        raise BadInput(source, expected="a Whisper on this machine", found=found, fix=FIX)
    about = check_description(read_json(config_file, made_by="download the model"), config_file, fix=FIX)
    return whisper_from(read_state(weights), whisper_config(about, config_file), weights)
