"""The lip reader: Conv3D + ResNet-18, conformer encoder, CTC head and attention decoder (Ma et al. 2022).

It provides E_lipread of Learn2Talk's Eq. 6; a second lip reader measures speech perception. Attribute names give the
keys of the official LRS3 checkpoints, which `LipReader` loads with strict matching at their width and depth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.models.conformer import (
    EPS,
    ConformerBlock,
    FeedForward,
    MultiHeadAttention,
    relative_positions,
    sinusoids,
)
from learn2talk_core.models.resnet_frontend import ResNetFrontend
from learn2talk_core.run.device import device_of, sent
from learn2talk_core.run.weights import load_config, load_network

FPS = 25.0  # frames per second that lip readers are trained with
CROP = 88  # pixels; the crop that the network sees, cut from the centre of larger mouth pictures
OFFICIAL_MEAN, OFFICIAL_STD = 0.421, 0.165  # of grey values in 0..1, over LRS3
BLANK = 0  # of CTC; token V-1 both starts and ends a sentence for the decoder

Features = Literal["frontend", "encoder"]


class LipReaderEncoder(nn.Module):
    """Visual front-end, a linear map to `dim`, and conformer blocks."""

    def __init__(
        self,
        width: int,
        dim: int,
        heads: int,
        hidden: int,
        layers: int,
        kernel: int,
        dropout: float,
        legacy_positions: bool,
    ) -> None:
        super().__init__()
        self.frontend = ResNetFrontend(width)
        self.embed = nn.Sequential(nn.Linear(8 * width, dim))
        self.encoders = nn.ModuleList(ConformerBlock(dim, heads, hidden, kernel, dropout) for _ in range(layers))
        self.after_norm = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(dropout)
        self.legacy_positions = legacy_positions

    def forward(self, features: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, 8 · width) → (B, T, dim)."""
        x = self.embed(features)
        dim = x.shape[-1]
        positions = sinusoids(relative_positions(x.shape[1], x.device, legacy=self.legacy_positions), dim)
        x, positions = self.dropout(x * dim**0.5), self.dropout(positions)
        for block in self.encoders:
            x = block(x, positions, valid)
        return self.after_norm(x)


class DecoderBlock(nn.Module):
    """Causal self-attention, attention to the encoder, feed-forward, each with a pre-norm and a residual."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(dim, heads, dropout)
        self.src_attn = MultiHeadAttention(dim, heads, dropout)
        self.feed_forward = FeedForward(dim, hidden, dropout)
        self.norm1 = nn.LayerNorm(dim, EPS)
        self.norm2 = nn.LayerNorm(dim, EPS)
        self.norm3 = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, causal: Tensor, encoded: Tensor, mask: Tensor | None) -> Tensor:
        normed = self.norm1(x)
        x = x + self.dropout(self.self_attn(normed, normed, causal))
        x = x + self.dropout(self.src_attn(self.norm2(x), encoded, mask))
        return x + self.dropout(self.feed_forward(self.norm3(x)))


class LipReaderDecoder(nn.Module):
    """Transformer decoder: predicts the next token from the previous ones and the encoded video."""

    def __init__(self, vocabulary: int, dim: int, heads: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Embedding(vocabulary, dim))
        self.decoders = nn.ModuleList(DecoderBlock(dim, heads, hidden, dropout) for _ in range(layers))
        self.after_norm = nn.LayerNorm(dim, EPS)
        self.output_layer = nn.Linear(dim, vocabulary)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, encoded: Tensor, valid: Tensor | None) -> Tensor:
        """Tokens (B, L) and encoded video (B, T, dim) → logits of the next token (B, L, vocabulary)."""
        length = tokens.shape[1]
        x = self.embed(tokens)
        dim = x.shape[-1]
        x = self.dropout(x * dim**0.5 + sinusoids(torch.arange(length, device=x.device), dim))
        causal = torch.ones(1, length, length, dtype=torch.bool, device=x.device).tril()
        mask = None if valid is None else valid[:, None]
        for block in self.decoders:
            x = block(x, causal, encoded, mask)
        return self.output_layer(self.after_norm(x))


class LipReader(nn.Module):
    """The whole lip reader. Its parts are called one after another: `preprocess`, `frontend`, `encode`, then
    `ctc_log_probs` or `decode`.

    Args:
        vocabulary: number of tokens with the CTC blank (first) and the start-and-end token (last).
        width: channels of the ResNet's stem; features have 8 · width. Official: 64.
        dim, heads, hidden: of conformer and decoder. Official: 256, 4, 2048 or 768, 12, 3072.
        encoder_layers, decoder_layers: official 12 and 6.
        kernel: frames in the conformer's depthwise convolution, odd. Official: 31.
        dropout: official 0.1.
        legacy_positions: use the relative positions of official weights whose configuration has no `rel_pos_type`.
        normalise: "official" uses the mean and standard deviation of grey in LRS3; "clip" those of each clip, which
            removes differences of light and skin.
        size: height and width of the network's input in pixels; the 88-pixel crop is downsampled to it by averaging.
            Official: 88.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 64,
        dim: int = 256,
        heads: int = 4,
        hidden: int = 2048,
        encoder_layers: int = 12,
        decoder_layers: int = 6,
        kernel: int = 31,
        dropout: float = 0.1,
        legacy_positions: bool = False,
        normalise: Literal["official", "clip"] = "official",
        size: int = CROP,
    ) -> None:
        super().__init__()
        self.vocabulary, self.normalise, self.size = vocabulary, normalise, size
        self.encoder = LipReaderEncoder(width, dim, heads, hidden, encoder_layers, kernel, dropout, legacy_positions)
        self.decoder = LipReaderDecoder(vocabulary, dim, heads, hidden, decoder_layers, dropout)
        self.ctc = nn.ModuleDict({"ctc_lo": nn.Linear(dim, vocabulary)})

    def preprocess(self, grey: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Grey mouth pictures (B, T, H, W) in 0..1, H = W ≥ 88 → the network's input (B, 1, T, size, size).

        Frames from `lengths` (B,) on are padding and become zero, like the network's own padding, so a clip gives the
        same result with and without padding.
        """
        top, left = (grey.shape[-2] - CROP) // 2, (grey.shape[-1] - CROP) // 2
        x = grey[..., top : top + CROP, left : left + CROP]
        if self.size != CROP and CROP % self.size == 0:
            x = nn.functional.avg_pool2d(x, CROP // self.size)  # the same as below, in half the time
        elif self.size != CROP:
            x = nn.functional.interpolate(x, size=(self.size, self.size), mode="area")
        frames = valid_frames(lengths, x.shape[1], x.device)
        if self.normalise == "official":
            x = (x - OFFICIAL_MEAN) / OFFICIAL_STD
        else:
            weight = torch.ones_like(x) if frames is None else frames[:, :, None, None].expand_as(x).to(x.dtype)
            count = weight.sum((1, 2, 3), keepdim=True)
            x = x - (weight * x).sum((1, 2, 3), keepdim=True) / count
            variance = (weight * x**2).sum((1, 2, 3), keepdim=True) / count
            x = x / (variance + 1e-6).sqrt()
        if frames is not None:
            x = x * frames[:, :, None, None]
        return x.unsqueeze(1)

    def frontend(self, x: Tensor) -> Tensor:
        """Pictures (B, 1, T, H, W) → ResNet features (B, T, 8 · width): E_lipread of Eq. 6 as the paper uses it."""
        return self.encoder.frontend(x)

    def encode(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """ResNet features (B, T, 8 · width) → conformer features (B, T, dim), with context from before and after.

        With `legacy_positions` the result depends on the padded length, as in the official code.
        """
        return self.encoder(features, valid_frames(lengths, features.shape[1], features.device))

    def features(self, grey: Tensor, kind: Features, lengths: Tensor | None = None) -> Tensor:
        """Grey mouth pictures (B, T, H, W) in 0..1 → features (B, T, C) of the front-end or of the encoder."""
        features = self.frontend(self.preprocess(grey, lengths))
        return features if kind == "frontend" else self.encode(features, lengths)

    def ctc_log_probs(self, encoded: Tensor) -> Tensor:
        """Conformer features (B, T, dim) → log-probabilities of each token and the blank at each frame."""
        return self.ctc["ctc_lo"](encoded).log_softmax(-1)

    def decode(self, tokens: Tensor, encoded: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens so far (B, L), starting with `vocabulary - 1` → logits of each next token (B, L, vocabulary)."""
        return self.decoder(tokens, encoded, valid_frames(lengths, encoded.shape[1], encoded.device))


def valid_frames(lengths: Tensor | None, frames: int, device: torch.device) -> Tensor | None:
    """(B, frames) bool, False at padding; None if nothing is padded."""
    if lengths is None:
        return None
    return torch.arange(frames, device=device) < sent(lengths, device)[:, None]


def ctc_attention_loss(
    reader: LipReader,
    encoded: Tensor,
    sentences: Sequence[Sequence[int]],
    *,
    lengths: Tensor | None = None,
    ctc_weight: float = 0.1,
    smoothing: float = 0.1,
) -> Tensor:
    """The hybrid loss α · CTC + (1 - α) · attention (Ma et al. 2022, after Watanabe et al. 2017), mean over tokens.

    Args:
        reader: the lip reader.
        encoded: its conformer features (B, T, dim).
        sentences: the tokens of each clip, without blank, start and end.
        lengths: frames of each clip (B,), on the CPU; no padding if None.
        ctc_weight: α; 0.1 officially.
        smoothing: label smoothing, the probability that targets give to wrong tokens; 0.1 officially.
    """
    device, edge = encoded.device, reader.vocabulary - 1
    longest = max(map(len, sentences)) + 1
    tokens = torch.full((len(sentences), longest), edge)  # start, sentence
    targets = torch.full((len(sentences), longest), -1)  # sentence, end; -1 is padding
    for row, sentence in enumerate(sentences):
        n, given = len(sentence), torch.tensor(list(sentence), dtype=torch.long)
        tokens[row, 1 : n + 1] = given
        targets[row, :n], targets[row, n] = given, edge
    logits = reader.decode(sent(tokens, device), encoded, lengths)
    # Torch smooths over all V tokens, the official loss over the V-1 wrong ones.
    attention = nn.functional.cross_entropy(
        logits.transpose(1, 2),
        sent(targets, device),
        ignore_index=-1,
        label_smoothing=smoothing * reader.vocabulary / (reader.vocabulary - 1),
    )
    counts = torch.tensor([len(sentence) for sentence in sentences])
    frames = lengths if lengths is not None else torch.full_like(counts, encoded.shape[1])
    ctc = nn.functional.ctc_loss(
        reader.ctc_log_probs(encoded).transpose(0, 1),
        sent(torch.tensor([token for sentence in sentences for token in sentence], dtype=torch.long), device),
        frames,
        counts,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,  # a clip too short for its tokens has an infinite loss
    ) / max(1, int(counts.sum()))
    return ctc_weight * ctc + (1 - ctc_weight) * attention


def official_shape(options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `LipReader` from the options in an official `model.json`."""
    return {
        "dim": options["adim"],
        "heads": options["aheads"],
        "hidden": options["eunits"],
        "encoder_layers": options["elayers"],
        "decoder_layers": options["dlayers"],
        "kernel": options["cnn_module_kernel"],
        "dropout": options["dropout_rate"],
        "legacy_positions": options.get("rel_pos_type") is None,
    }


def load_lipreader(folder: str | Path) -> tuple[LipReader, nn.Linear | None]:
    """The frozen lip reader that `stages.lipreader` made, and its linear head (dim → 40), which classifies each frame
    as silence (class 0) or a phoneme. Official readers have no such head."""
    made_by = "dvc repro lipreader"
    model, config = load_network(
        folder, lambda config: with_head(LipReader(**config["reader"]), config["classes"]), made_by=made_by
    )
    return model["reader"], model["head"] if config["classes"] else None  # type: ignore[return-value]


def load_units(folder: str | Path) -> tuple[str, ...] | None:
    """Text of each output of an official reader's CTC head; None if the outputs are our phonemes."""
    units = load_config(folder, made_by="dvc repro lipreader").get("units")
    return None if units is None else tuple(units)


def with_head(reader: LipReader, classes: int) -> nn.ModuleDict:
    """The lip reader and a linear head on its conformer features, to train and save together; no head if `classes` is
    0."""
    if not classes:
        return nn.ModuleDict({"reader": reader})
    return nn.ModuleDict({"reader": reader, "head": nn.Linear(reader.encoder.after_norm.normalized_shape[0], classes)})


@dataclass(frozen=True)
class Reading:
    """Output of a lip reader for one clip.

    features: (T, dim) conformer features; log_probs: (T, vocabulary) of its CTC head; frame_logits: (T, 40) of its
    frame-wise head, None if it has none.
    """

    features: np.ndarray
    log_probs: np.ndarray
    frame_logits: np.ndarray | None


@torch.no_grad()
def read_lips(reader: LipReader, head: nn.Module | None, grey: np.ndarray | Tensor) -> Reading:
    """Lip-read one clip of mouth pictures (T, H, W) at 25 fps, H = W ≥ 88: uint8, or float in 0..1."""
    pictures = grey if isinstance(grey, Tensor) else torch.from_numpy(np.ascontiguousarray(grey))
    x = sent(pictures, device_of(reader))[None]
    encoded = reader.features(x.float() / 255 if x.dtype == torch.uint8 else x.float(), "encoder")
    frame_logits = None if head is None else head(encoded)[0].cpu().numpy()
    return Reading(encoded[0].cpu().numpy(), reader.ctc_log_probs(encoded)[0].cpu().numpy(), frame_logits)
