"""Conformer encoder (Gulati et al. 2020) with relative positions (Dai et al. 2019), as in the official lip reader.

Attribute names give the keys of the official checkpoints (`encoder.encoders.*`), including the spelling "cov".
"""

import math

import torch
from torch import Tensor, nn

from learn2talk_core.models.linear import Linear

LEGACY_TABLE = 5000  # the official legacy variant takes its positions from the end of a table of this length
EPS = 1e-12  # eps of every LayerNorm


def sinusoids(positions: Tensor, dim: int) -> Tensor:
    """Sine and cosine encodings (n, dim) of `positions` (n,), interleaved (Vaswani et al. 2017, §3.5)."""
    rates = torch.exp(torch.arange(0, dim, 2, device=positions.device) * (-math.log(10000.0) / dim))
    angles = positions[:, None].float() * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def relative_positions(frames: int, device: torch.device, *, legacy: bool) -> Tensor:
    """The positions that attention over `frames` frames encodes: T-1 … -(T-1).

    The legacy variant of older official weights has only T entries and counts down from the end of its table instead
    of from T-1: it encodes the position i - j as 5000 - T + i - j.
    """
    if legacy:
        return max(LEGACY_TABLE, frames) - 1 - torch.arange(frames, device=device)
    return frames - 1 - torch.arange(2 * frames - 1, device=device)


def relative_shift(scores: Tensor) -> Tensor:
    """Align scores (..., T, P), whose column p stands for position T-1-p, with keys: out[i, j] = scores[i, T-1-i+j].

    This is the pad-and-reshape of Dai et al. 2019, appendix B. Columns beyond the last position contain values of the
    next row; the legacy variant attends to them (keys in the future), so they are kept.
    """
    frames, positions = scores.shape[-2:]
    padded = nn.functional.pad(scores, (1, 0)).unflatten(-1, (positions + 1,))
    shifted = padded.flatten(-2).unflatten(-1, (positions + 1, frames))[..., 1:, :]
    return shifted.flatten(-2).unflatten(-1, (frames, positions))[..., :frames]


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017, §3.2)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = Linear(dim, dim)
        self.linear_k = Linear(dim, dim)
        self.linear_v = Linear(dim, dim)
        self.linear_out = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from `query` (B, L, D) to `memory` (B, T, D) where `mask` (B or 1, L or 1, T) is True."""
        q, k = self.split(self.linear_q(query)), self.split(self.linear_k(memory))
        return self.attend(q @ k.transpose(-2, -1), memory, mask)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, heads, T, D / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, scores: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Softmax of `scores` (B, heads, L, T), divided by √(D / heads), over the values of `memory`."""
        v = self.split(self.linear_v(memory))
        scores = scores / math.sqrt(v.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(1), torch.finfo(scores.dtype).min)
        mixed = self.dropout(scores.softmax(-1)) @ v
        return self.linear_out(mixed.transpose(1, 2).flatten(2))


class RelativeAttention(MultiHeadAttention):
    """Self-attention whose scores also depend on the distance between frames (Dai et al. 2019, §3.3)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout)
        self.linear_pos = Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, dim // heads))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within `x` (B, T, D); `positions` (P, D) are the encoded `relative_positions`."""
        q, k = self.split(self.linear_q(x)), self.split(self.linear_k(x))
        p = self.split(self.linear_pos(positions)[None])
        content = (q + self.pos_bias_u[:, None]) @ k.transpose(-2, -1)
        position = (q + self.pos_bias_v[:, None]) @ p.transpose(-2, -1)
        return self.attend(content + relative_shift(position), x, mask)


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between them."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = Linear(dim, hidden)
        self.w_2 = Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.dropout(self.w_1(x).relu()))


class ConvolutionModule(nn.Module):
    """Pointwise convolution with a gate, depthwise convolution over time, Swish, pointwise convolution."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_cov1 = nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise_conv = nn.Conv1d(dim, dim, kernel, padding=(kernel - 1) // 2, groups=dim)
        self.norm = nn.BatchNorm1d(dim)
        self.pointwise_cov2 = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, T, D) → (B, T, D). Frames where `valid` (B, T) is False are set to zero."""
        x = nn.functional.glu(self.pointwise_cov1(x.transpose(1, 2)), dim=1)
        if valid is not None:
            x = x * valid[:, None]
        x = nn.functional.silu(self.norm(self.depthwise_conv(x)))
        return self.pointwise_cov2(x).transpose(1, 2)


class ConformerBlock(nn.Module):
    """Half a feed-forward, self-attention, convolution, half a feed-forward, each with a pre-norm and a residual."""

    def __init__(self, dim: int, heads: int, hidden: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(dim, heads, dropout)
        self.feed_forward = FeedForward(dim, hidden, dropout)
        self.feed_forward_macaron = FeedForward(dim, hidden, dropout)
        self.conv_module = ConvolutionModule(dim, kernel)
        self.norm_ff_macaron = nn.LayerNorm(dim, EPS)
        self.norm_mha = nn.LayerNorm(dim, EPS)
        self.norm_conv = nn.LayerNorm(dim, EPS)
        self.norm_ff = nn.LayerNorm(dim, EPS)
        self.norm_final = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor, valid: Tensor | None) -> Tensor:
        mask = None if valid is None else valid[:, None]
        x = x + 0.5 * self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(x)))
        x = x + self.dropout(self.self_attn(self.norm_mha(x), positions, mask))
        x = x + self.dropout(self.conv_module(self.norm_conv(x), valid))
        x = x + 0.5 * self.dropout(self.feed_forward(self.norm_ff(x)))
        return self.norm_final(x)
