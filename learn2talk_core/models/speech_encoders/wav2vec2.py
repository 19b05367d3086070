"""wav2vec 2.0 (Baevski et al. 2020) of any size as a speech encoder.

It is a temporal convolution network (TCN) on the wave, which is frozen, followed by a transformer. FaceFormer resamples
from 50 Hz between the two, so that the transformer runs at the frame rate of the motion.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model
from transformers.utils import logging as transformers_logging

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.linear import by_onednn
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.source import beside, check_links
from learn2talk_core.run.device import device_of, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json
from learn2talk_core.run.weights import check_description, described, read_origin, stored_shapes
from learn2talk_core.untrusted.published import old_name, read_state

transformers_logging.disable_progress_bar()  # they would be shown for tasks of milliseconds
PIECE = 30 * SAMPLE_RATE  # samples per TCN pass when no gradient is needed
OFFICIAL_EPS = 1e-5  # of wave normalisation in transformers 4.6, with which FaceFormer and CodeTalker were trained
LEAST = SAMPLE_RATE // 10  # samples; a shorter window of a stream is padded
LARGEST = 16384  # limit for sizes in a configuration; XLS-R with 2 billion weights has 1920 and 7680
MOST = {
    **dict.fromkeys(("hidden_size", "intermediate_size", "output_hidden_size"), LARGEST),
    **dict.fromkeys(("num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "num_attention_heads"), 1024),
    **dict.fromkeys(("conv_dim", "conv_kernel", "conv_stride"), 4096),
    **dict.fromkeys(("num_hidden_layers", "num_adapter_layers", "adapter_kernel_size", "adapter_stride"), 100),
}


class Wav2Vec2SpeechEncoder(Wav2Vec2Model, SpeechEncoder):
    """transformers' Wav2Vec2Model, run part by part; the state dict is that of published checkpoints.

    Attributes:
        eps: added to the variance when a wave is normalised.
    """

    model_type = "wav2vec2"
    window = 20.0

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.eps = 1e-7
        by_onednn(self)

    @classmethod
    def from_numbers(cls, **numbers: Any) -> "Wav2Vec2SpeechEncoder":
        """An untrained encoder; `numbers` are fields of transformers' Wav2Vec2Config (defaults: the base size)."""
        return cls(Wav2Vec2Config(**numbers))

    @property
    def feature_width(self) -> int:
        return int(self.config.conv_dim[-1])

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    @property
    def frozen_layers(self) -> int:
        """Frozen layers of the transformer, whose parameters then have no gradient; 0 in FaceFormer and the paper."""
        return int(getattr(self.config, "frozen_layers", 0))

    def freeze(self) -> None:
        self.feature_extractor.requires_grad_(False)
        if self.frozen_layers:
            for part in (self.feature_projection, self.encoder.pos_conv_embed):
                part.requires_grad_(False)
            self.encoder.layers[: self.frozen_layers].requires_grad_(False)

    def settings(self) -> dict[str, Any]:
        return {**self.config.to_diff_dict(), "model_type": self.model_type}

    @torch.no_grad()
    def frozen_features(self, wave: np.ndarray) -> Tensor:
        normal = normalise_wave(sent(torch.from_numpy(np.ascontiguousarray(wave)), device_of(self)), self.eps)
        return self.conv_features(normal[None])[0]

    def hearing(self) -> "NormalisedHearing":
        return NormalisedHearing(self)

    @property
    def stride(self) -> int:
        """Samples from one feature frame to the next: 320, which is 20 ms."""
        return math.prod(self.config.conv_stride)

    @property
    def offset(self) -> int:
        """The sample at the centre of the receptive field of feature 0: 200, which is 12.5 ms."""
        return self.receptive_field // 2

    @property
    def receptive_field(self) -> int:
        """Samples in the receptive field of one feature frame: 400, which is 25 ms."""
        field = 1
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True):
            field = (field - 1) * stride + kernel
        return field

    def feature_count(self, samples: int) -> int:
        """Number of feature frames that the TCN makes of `samples`: 50 per second, minus one."""
        return max(0, (samples - self.receptive_field) // self.stride + 1)

    def conv_features(self, wave: Tensor) -> Tensor:
        """TCN: normalised wave (B, samples) -> features (B, n, C) at 50 Hz.

        If the TCN has a group norm over time (wav2vec 2.0 base), the features of a clip depend on its length: pass one
        clip or clips of equal length, never padded ones. Without gradient, long speech is processed in pieces with the
        same result, to save memory: the first layer of the base size makes 6.5 MB per second of 16 kHz speech.
        """
        if torch.is_grad_enabled() or wave.shape[1] <= PIECE:
            return self.feature_extractor(wave).transpose(1, 2)
        first, *rest = self.feature_extractor.conv_layers
        if self.config.feat_extract_norm == "group":
            first = self._with_statistics_of(wave)
        frames, step = self.feature_count(wave.shape[1]), PIECE // self.stride
        pieces = []
        for start in range(0, frames, step):
            end = min(start + step, frames)
            x = first(wave[:, None, start * self.stride : (end - 1) * self.stride + self.receptive_field])
            for layer in rest:
                x = layer(x)
            pieces.append(x.transpose(1, 2))
        return torch.cat(pieces, dim=1)

    def _with_statistics_of(self, wave: Tensor) -> Callable[[Tensor], Tensor]:
        """The first layer for pieces of `wave`; its group norm uses the mean and variance over all of `wave`."""
        first = self.feature_extractor.conv_layers[0]
        kernel, stride = self.config.conv_kernel[0], self.config.conv_stride[0]
        count, step = (wave.shape[1] - kernel) // stride + 1, PIECE // stride
        moments = wave.new_zeros(2, len(wave), self.config.conv_dim[0], 1, dtype=torch.float64)
        for start in range(0, count, step):
            end = min(start + step, count)
            x = first.conv(wave[:, None, start * stride : (end - 1) * stride + kernel]).double()
            moments += torch.stack((x.sum(-1, keepdim=True), x.square().sum(-1, keepdim=True))) / count
        mean, square = moments
        norm = first.layer_norm
        factor = norm.weight[:, None] * (square - mean**2 + norm.eps).rsqrt().to(wave.dtype)
        offset = norm.bias[:, None] - mean.to(wave.dtype) * factor
        return lambda piece: first.activation(first.conv(piece) * factor + offset)

    def encode(self, features: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Transformer: features (B, T, C) -> hidden states (B, T, H).

        Args:
            features: features of the TCN, resampled.
            lengths: frames of each clip if shorter ones are padded to T; padding does not affect the result.
        """
        mask = None
        if lengths is not None and min(lengths) < features.shape[1]:
            ends = sent(torch.as_tensor(lengths), features.device)[:, None]
            mask = torch.arange(features.shape[1], device=features.device)[None] < ends
        hidden, _ = self.feature_projection(features)
        return self.encoder(hidden, attention_mask=mask).last_hidden_state


class NormalisedHearing:
    """wav2vec 2.0's `Hearing`: each window is normalised by mean and variance of all the sound so far."""

    def __init__(self, encoder: Wav2Vec2SpeechEncoder) -> None:
        self._encoder = encoder
        self._heard, self._sum, self._squares = 0, 0.0, 0.0

    @torch.no_grad()
    def features(self, wave: np.ndarray, new: int) -> Tensor:
        latest = wave[len(wave) - new :].astype(np.float64)
        self._heard += new
        self._sum, self._squares = self._sum + latest.sum(), self._squares + np.square(latest).sum()
        mean = self._sum / self._heard
        variance = max(0.0, self._squares / self._heard - mean**2)
        normal = (wave - mean) / math.sqrt(variance + self._encoder.eps)
        padded = np.pad(normal, (0, max(0, LEAST - len(normal)))).astype(np.float32)
        return self._encoder.conv_features(sent(torch.from_numpy(padded), device_of(self._encoder))[None])[0]


def normalise_wave(wave: Tensor, eps: float = 1e-7) -> Tensor:
    """Normalise a clip (..., samples) to mean 0 and variance 1, as wav2vec 2.0 expects.

    FaceFormer used the eps of transformers 4.6, 1e-5.
    """
    centred = wave - wave.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def align_as_faceformer(features: Tensor, dataset: str, frames: int | None = None) -> Tensor:
    """Resample features as for FaceFormer's published checkpoints: (B, n, C) at 50 Hz -> (B, T, C).

    Args:
        features: features of the TCN.
        dataset: "vocaset": stretched to T = `frames`, or to 30 frames per second (rounded down) if `frames` is None,
            the first feature at the first frame and the last at the last. "biwi": kept at 50 Hz, two per motion frame
            at 25 fps.
        frames: number of motion frames, if known.
    """
    if dataset == "vocaset":
        count = int(features.shape[1] / 50 * 30) if frames is None else frames
        return F.interpolate(features.transpose(1, 2), size=count, mode="linear", align_corners=True).transpose(1, 2)
    if dataset == "biwi":
        pairs = features.shape[1] // 2 if frames is None else min(frames, features.shape[1] // 2)
        return features[:, : 2 * pairs]
    raise ValueError(f"dataset: expected vocaset or biwi, found {dataset}")


def wav2vec2_config(numbers: Mapping[str, Any], path: object, *, fix: str) -> Wav2Vec2Config:
    """Build transformers' configuration from `numbers`, the content of a `config.json`.

    Raises:
        BadInput: a size out of range (see `MOST`), sizes that do not divide each other, or any other configuration from
            which transformers cannot build a network; the message names `path`.
    """
    for key, most in MOST.items():
        given = numbers.get(key)
        for number in given if isinstance(given, list | tuple) else () if given is None else (given,):
            if type(number) is not int or not 1 <= number <= most:
                found = f"{number}"[:40] if isinstance(number, int | float | str) else f"a {type(number).__name__}"
                raise BadInput(f"{path}: {key}", expected=f"a whole number 1 … {most}", found=found, fix=fix)
    try:
        config = Wav2Vec2Config.from_dict(dict(numbers))
        described(lambda: Wav2Vec2SpeechEncoder(config), path, expected="the configuration of a wav2vec 2.0", fix=fix)
    except BadInput:
        raise
    except Exception as error:  # transformers raises several kinds of errors
        reason = " ".join(str(error).split())[:200]
        raise BadInput(path, expected="the configuration of a wav2vec 2.0", found=reason, fix=fix) from error
    sizes = {"num_attention_heads": config.num_attention_heads, "groups": config.num_conv_pos_embedding_groups}
    for name, size in sizes.items():
        if config.hidden_size % size:
            found = f"hidden_size {config.hidden_size} and {name} {size}"
            raise BadInput(path, expected="sizes that divide each other", found=found, fix=fix)
    frozen = numbers.get("frozen_layers", 0)
    if type(frozen) is not int or not 0 <= frozen <= config.num_hidden_layers:
        expected = f"a whole number 0 … {config.num_hidden_layers}, the layers of this encoder"
        raise BadInput(f"{path}: frozen_layers", expected=expected, found=f"{frozen}"[:40], fix=fix)
    if math.prod(config.conv_stride) > SAMPLE_RATE or len(config.conv_dim) > 20:
        found = f"{len(config.conv_dim)} convolutions whose strides are {math.prod(config.conv_stride)}"
        raise BadInput(path, expected="about 50 features per second", found=found, fix=fix)
    return config


def load_wav2vec2(source: str | Path) -> Wav2Vec2SpeechEncoder:
    """Load the encoder from a folder written by `save_pretrained`, with or without a CTC head on top.

    `source` may also be the name of a hub model in the local cache; nothing is ever downloaded.

    Raises:
        BadInput: nothing there, not a wav2vec 2.0, or weights missing.
    """
    fix = "Give a folder with config.json and model.safetensors (or pytorch_model.bin) of a wav2vec 2.0."
    if Path(source).is_dir():
        check_links(Path(source))
        read_origin(source, "speech_encoder")
    _check_weights(source, fix)
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)  # additional weights (a CTC head) are expected, no warning
    try:
        loaded: Any = Wav2Vec2SpeechEncoder.from_pretrained(
            str(source), local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # from transformers, torch, safetensors or pickle
        found = str(error).partition("\n")[0]
        raise BadInput(source, expected="a wav2vec 2.0 on this machine", found=found, fix=fix) from error
    finally:
        transformers_logging.set_verbosity(level)
    model, report = loaded
    absent = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if absent:
        found = f"no weight for {absent[0]} and {len(absent) - 1} more"
        raise BadInput(source, expected="weights for the whole encoder", found=found, fix=fix)
    return model


def _check_weights(source: str | Path, fix: str) -> None:
    """Refuse a configuration that does not fit its weights, before transformers builds the network.

    Missing files and files with unusual names are left to transformers' own checks.
    """
    config_file = beside(source, "config.json")
    if config_file is None:
        return
    about = check_description(read_json(config_file, made_by="download the model"), config_file, fix=fix)
    config = wav2vec2_config(about, config_file, fix=fix)
    whole = beside(source, "model.safetensors") or beside(source, "pytorch_model.bin")
    index = beside(source, "model.safetensors.index.json") or beside(source, "pytorch_model.bin.index.json")
    files = [whole] if whole else []
    if index and not whole:
        told = read_json(index, made_by="download the model")
        parts = told.get("weight_map") if isinstance(told, dict) else None
        names = {str(name) for name in parts.values()} if isinstance(parts, dict) else set()
        files = [file for name in names if (file := beside(source, name))]
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            binary = file.suffix != ".safetensors"
            found = {k: v.shape for k, v in read_state(file).items()} if binary else stored_shapes(file)
        except SafetensorError:
            return
        shapes |= {old_name(key.removeprefix("wav2vec2.")): tuple(shape) for key, shape in found.items()}
    what = "the configuration of a wav2vec 2.0"
    skeleton = described(lambda: Wav2Vec2SpeechEncoder(config), config_file, expected=what, fix=fix)
    own = {old_name(key): tuple(value.shape) for key, value in skeleton.state_dict().items()}
    absent = sorted(key for key in own if key not in shapes and key != "masked_spec_embed")
    if files and absent:
        found_text = f"no weight for {absent[0]} and {len(absent) - 1} more"
        raise BadInput(source, expected="weights for the whole encoder", found=found_text, fix=fix)
    wrong = [key for key in own if key in shapes and shapes[key] != own[key]]
    if wrong:
        found_text = f"{wrong[0]} of shape {shapes[wrong[0]]} instead of {own[wrong[0]]}"
        raise BadInput(source, expected="weights that fit its config.json", found=found_text, fix=fix)
