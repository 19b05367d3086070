"""The lip reader: Conv3D + ResNet-18, conformer encoder, CTC head and attention decoder (Ma et al. 2022).

Learn2Talk takes E_lipread of Eq. 6 from it, and judges speech perception by what a second one reads. Attribute names
give the keys of the official LRS3 checkpoints, which fit `LipReader` strictly at their width and depth.
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
from learn2talk_core.run.weights import load_config, load_network

FPS = 25.0  # the frame rate that lip readers are trained at
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
    """Causal self-attention, attention to the encoder, feed-forward, each with a pre-norm and a shortcut."""

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
    """Transformer decoder: what token comes next, given those before it and the encoded video."""

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
        kernel: frames that the conformer's depthwise convolution sees, odd. Official: 31.
        dropout: official 0.1.
        legacy_positions: the relative positions of official weights whose configuration names no `rel_pos_type`.
        normalise: "official" uses the grey mean and deviation of LRS3; "clip" those of each clip, which takes out
            light and skin.
        size: side of the picture that the network computes on, in pixels; the 88-pixel crop is averaged down to it.
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

        Frames from `lengths` (B,) on are padding and become zero, which is what the network pads with by itself: a
        padded clip gives the same numbers as a clip alone.
        """
        top, left = (grey.shape[-2] - CROP) // 2, (grey.shape[-1] - CROP) // 2
        x = grey[..., top : top + CROP, left : left + CROP]
        if self.size != CROP:
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
        """ResNet features (B, T, 8 · width) → conformer features (B, T, dim), which know what comes before and after.

        With `legacy_positions` the numbers depend on the padded length, as they do officially.
        """
        return self.encoder(features, valid_frames(lengths, features.shape[1], features.device))

    def features(self, grey: Tensor, kind: Features, lengths: Tensor | None = None) -> Tensor:
        """Grey mouth pictures (B, T, H, W) in 0..1 → features (B, T, C) of the front-end or of the encoder."""
        features = self.frontend(self.preprocess(grey, lengths))
        return features if kind == "frontend" else self.encode(features, lengths)

    def ctc_log_probs(self, encoded: Tensor) -> Tensor:
        """Conformer features (B, T, dim) → log-probabilities of each token, or none (blank), at each frame."""
        return self.ctc["ctc_lo"](encoded).log_softmax(-1)

    def decode(self, tokens: Tensor, encoded: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens so far (B, L), the first of them `vocabulary - 1`, → logits of each next one (B, L, vocabulary)."""
        return self.decoder(tokens, encoded, valid_frames(lengths, encoded.shape[1], encoded.device))


def valid_frames(lengths: Tensor | None, frames: int, device: torch.device) -> Tensor | None:
    """True (B, frames) where a frame is not padding; None when nothing is padded."""
    if lengths is None:
        return None
    return torch.arange(frames, device=device) < lengths.to(device)[:, None]


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
        lengths: frames of each clip (B,); all of them when None.
        ctc_weight: α; 0.1 officially.
        smoothing: share of the probability that the decoder is to spread over wrong tokens; 0.1 officially.
    """
    device, edge = encoded.device, reader.vocabulary - 1
    longest = max(map(len, sentences)) + 1
    tokens = torch.full((len(sentences), longest), edge, device=device)  # start, sentence
    targets = torch.full((len(sentences), longest), -1, device=device)  # sentence, end; -1 is padding
    for row, sentence in enumerate(sentences):
        n, given = len(sentence), torch.tensor(list(sentence), dtype=torch.long, device=device)
        tokens[row, 1 : n + 1] = given
        targets[row, :n], targets[row, n] = given, edge
    logits = reader.decode(tokens, encoded, lengths)
    # torch smooths over all V tokens, the official loss over the V-1 wrong ones.
    attention = nn.functional.cross_entropy(
        logits.transpose(1, 2),
        targets,
        ignore_index=-1,
        label_smoothing=smoothing * reader.vocabulary / (reader.vocabulary - 1),
    )
    counts = torch.tensor([len(sentence) for sentence in sentences])
    frames = lengths if lengths is not None else torch.full_like(counts, encoded.shape[1])
    ctc = nn.functional.ctc_loss(
        reader.ctc_log_probs(encoded).transpose(0, 1),
        torch.tensor([token for sentence in sentences for token in sentence], dtype=torch.long, device=device),
        frames,
        counts,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,  # a window too short for its tokens
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
    """The frozen lip reader that `stages.lipreader` made, and its linear head (dim → 40): which phoneme, or silence
    (class 0), is spoken at each frame. Official readers have no such head."""
    made_by = "dvc repro lipreader"
    model, config = load_network(
        folder, lambda config: with_head(LipReader(**config["reader"]), config["classes"]), made_by=made_by
    )
    return model["reader"], model["head"] if config["classes"] else None  # type: ignore[return-value]


def load_units(folder: str | Path) -> tuple[str, ...] | None:
    """What the numbers of an official reader's CTC head stand for; None where they are our phonemes."""
    units = load_config(folder, made_by="dvc repro lipreader").get("units")
    return None if units is None else tuple(units)


def with_head(reader: LipReader, classes: int) -> nn.ModuleDict:
    """The lip reader together with a linear head on its conformer features, to train and to save as one; no head where
    there are no classes."""
    if not classes:
        return nn.ModuleDict({"reader": reader})
    return nn.ModuleDict({"reader": reader, "head": nn.Linear(reader.encoder.after_norm.normalized_shape[0], classes)})


@dataclass(frozen=True)
class Reading:
    """What a lip reader makes of one clip.

    features: (T, dim) conformer features; log_probs: (T, vocabulary) of its CTC head; frame_logits: (T, 40) of its
    frame-wise head, None where it has none.
    """

    features: np.ndarray
    log_probs: np.ndarray
    frame_logits: np.ndarray | None


@torch.no_grad()
def read_lips(reader: LipReader, head: nn.Module | None, grey: np.ndarray) -> Reading:
    """Read one clip of mouth pictures (T, H, W) at 25 fps, H = W ≥ 88: uint8, or float in 0..1."""
    x = torch.from_numpy(np.ascontiguousarray(grey))[None]
    encoded = reader.features(x.float() / 255 if grey.dtype == np.uint8 else x.float(), "encoder")
    frame_logits = None if head is None else head(encoded)[0].numpy()
    return Reading(encoded[0].numpy(), reader.ctc_log_probs(encoded)[0].numpy(), frame_logits)
