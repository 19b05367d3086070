"""SyncNet3D (Learn2Talk, Sect. III-D): are mouth motion and speech in sync?

Two streams encode the same 0.2 s. The mesh stream encodes W frames of mouth vertices by a transformer and a three-layer
MLP, the audio stream the mel spectrogram by five convolutions and a two-layer MLP. The two embeddings are close for
genuine pairs and far apart for false ones.

Frame t of a clip shows time t / fps. Window k consists of frames k … k + W − 1 and the 16 mel columns that start at
time k / fps.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learn2talk_core.audio.mel import BANDS, COLUMNS_PER_SECOND, HOP, WINDOW_COLUMNS, mel_spectrogram
from learn2talk_core.run.recipe import refuse_other_recipe
from learn2talk_core.run.resample import interpolated, resampled_count
from learn2talk_core.run.weights import load_network

WINDOW_SECONDS = WINDOW_COLUMNS / COLUMNS_PER_SECOND
MADE_BY = "dvc repro syncnet3d"


@dataclass(frozen=True)
class Shape:
    """Settings needed to rebuild a SyncNet3D.

    Attributes:
        vertices: number of mouth vertices.
        window: W, frames in a window.
        modes: number of linear modes of mouth motion in the input of the mesh stream.
        width: of the transformer's tokens; the hidden layers of the MLPs have twice this width.
        layers: number of transformer layers.
        heads: number of attention heads.
        channels: channels of the first convolution; the later ones have 2, 2, 4 and 4 times as many.
        embedding: E, dimension of the embeddings.
        non_negative: end the streams in BatchNorm and ReLU, so that the cosine lies in [0, 1] (for Eq. 5).
    """

    vertices: int
    window: int
    modes: int
    width: int
    layers: int
    heads: int
    channels: int
    embedding: int
    non_negative: bool


def window_frames(fps: float) -> int:
    """W: frames of motion in 0.2 s, 5 at 25 fps and 6 at 30."""
    return round(WINDOW_SECONDS * fps)


def audio_windows(wave: np.ndarray, fps: float) -> np.ndarray:
    """Mel windows of a clip, one for every frame k after whose time k / fps at least 0.2 s of audio remain.

    A frame lasts 8/3 mel columns at 30 fps. The nearest column would be up to 6 ms from the time of the motion, so the
    mel is interpolated linearly at the exact times.

    Args:
        wave: (samples,) 16 kHz mono in [-1, 1].
        fps: frames per second of the motion.

    Returns:
        (M, 80, 16) float32; M may be 0.
    """
    if len(wave) < (WINDOW_COLUMNS - 1) * HOP:
        return np.empty((0, BANDS, WINDOW_COLUMNS), np.float32)
    mel = mel_spectrogram(wave)
    count = resampled_count(mel.shape[1] - WINDOW_COLUMNS + 1, COLUMNS_PER_SECOND, fps)
    position = np.arange(count)[:, None] * (COLUMNS_PER_SECOND / fps) + np.arange(WINDOW_COLUMNS)
    return np.ascontiguousarray(interpolated(mel.T, position).transpose(0, 2, 1))


class SyncNet3D(nn.Module):
    """Mesh stream and audio stream; both output embeddings of length 1."""

    modes: Tensor
    mel_mean: Tensor
    mel_scale: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, channels, hidden = shape.width, shape.channels, 2 * shape.width
        # Mouth displacement → weights of the modes of motion; fixed, computed from the training motion.
        self.register_buffer("modes", torch.zeros(3 * shape.vertices, shape.modes))
        self.token = nn.Linear(shape.modes, width)
        self.position = nn.Parameter(0.02 * torch.randn(shape.window, width))
        layer = nn.TransformerEncoderLayer(
            width, shape.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.mesh_mlp = nn.Sequential(
            nn.Linear(shape.window * width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, shape.embedding),
            *_end(shape),
        )  # fmt: skip
        self.register_buffer("mel_mean", torch.zeros(BANDS, 1))
        self.register_buffer("mel_scale", torch.ones(BANDS, 1))
        self.convolutions = nn.Sequential(
            *_convolution(1, channels, stride=(2, 1)),
            *_convolution(channels, 2 * channels, stride=(2, 2)),
            *_convolution(2 * channels, 2 * channels, stride=(2, 1)),
            *_convolution(2 * channels, 4 * channels, stride=(2, 2)),
            *_convolution(4 * channels, 4 * channels, stride=(1, 1)),
        )
        # A training step takes a third less time in this memory format.
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.audio_mlp = nn.Sequential(
            nn.Linear(4 * channels * (BANDS // 16) * (WINDOW_COLUMNS // 4), hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Linear(hidden, shape.embedding),
            *_end(shape),
        )  # fmt: skip

    def mode_weights(self, displacement: Tensor) -> Tensor:
        """Mouth displacement from the speaker's template (..., n, 3) → weights of its modes (..., modes)."""
        return displacement.flatten(-2) @ self.modes

    def embed_mesh_windows(self, weights: Tensor) -> Tensor:
        """Mode weights of windows (N, W, modes) → (N, E)."""
        tokens = self.token(weights) + self.position
        for layer in self.transformer.layers:
            tokens = encoder_layer(layer, tokens)
        return F.normalize(self.mesh_mlp(tokens.flatten(1)), dim=-1)

    def embed_mesh(self, displacement: Tensor) -> Tensor:
        """Embed every window of whole clips, differentiable.

        Args:
            displacement: (B, T, n, 3) mouth vertices minus the speaker's template, in the corpus's unit, T ≥ W.

        Returns:
            (B, T − W + 1, E).
        """
        return self.embed_mesh_weights(self.mode_weights(displacement))

    def embed_mesh_weights(self, weights: Tensor) -> Tensor:
        """`embed_mesh` from the mode weights of clips (B, T, modes)."""
        windows = weights.unfold(1, self.shape.window, 1).transpose(2, 3)
        return self.embed_mesh_windows(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])

    def embed_audio(self, mel: Tensor) -> Tensor:
        """Mel windows (..., 80, 16), see `audio_windows`, → (..., E)."""
        standard = ((mel - self.mel_mean) / self.mel_scale).flatten(0, -3)[:, None]
        return F.normalize(self.audio_mlp(self.convolutions(standard).flatten(1)), dim=-1).unflatten(0, mel.shape[:-2])


def encoder_layer(layer: Any, x: Tensor) -> Tensor:
    """`layer(x)` of a `nn.TransformerEncoderLayer` that is built as above, (N, W, width) → the same.

    Torch's own attention is made for long sequences: with gradient the layer takes 1.4 times as long on windows.
    """
    attention = layer.self_attn
    heads = attention.num_heads
    projected = F.linear(layer.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
    # (3, N · heads, W, width / heads)
    q, k, v = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)
    shares = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
    x = x + attention.out_proj((shares @ v).unflatten(0, (-1, heads)).transpose(1, 2).flatten(2))
    return x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x))))


def load_syncnet3d(folder: str | Path, recipe: str | None = None) -> SyncNet3D:
    """Load the trained network in `folder`, frozen; refuse it if its corpus had another recipe than `recipe`."""

    def build(numbers: dict[str, Any]) -> SyncNet3D:
        if recipe is not None:
            refuse_other_recipe(folder, numbers.get("recipe"), recipe)
        return SyncNet3D(Shape(**{key: value for key, value in numbers.items() if key != "recipe"}))

    return load_network(folder, build, made_by=MADE_BY)[0]


def config(model: SyncNet3D, recipe: str | None = None) -> dict[str, int | str | None]:
    """Settings that `save_weights` stores with the weights; `recipe` is that of the training corpus."""
    return {**asdict(model.shape), "recipe": recipe}


def _convolution(inputs: int, outputs: int, stride: tuple[int, int]) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def _end(shape: Shape) -> list[nn.Module]:
    return [nn.BatchNorm1d(shape.embedding), nn.ReLU()] if shape.non_negative else []
