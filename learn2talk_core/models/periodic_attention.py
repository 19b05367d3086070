"""Periodic positions and biased causal attention (Fan et al. 2022, Eq. 4 and 6), of FaceFormer and CodeTalker."""

import math

import torch
from torch import Tensor, nn

OFFICIAL_FRAMES = 600  # length of the tables in published checkpoints; ours are computed and have no limit


def periodic_positions(period: int, width: int) -> Tensor:
    """One period of the periodic positional encoding (FaceFormer Eq. 4): (period, width)."""
    phase = torch.arange(period, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    return torch.stack((torch.sin(phase * frequency), torch.cos(phase * frequency)), dim=-1).reshape(period, width)


def head_slopes(heads: int) -> Tensor:
    """Slope of each head's bias towards recent periods (Press et al. 2022): 2^-2, 2^-4, ... 2^-8 for four heads."""
    if heads & (heads - 1):
        raise ValueError(f"heads: expected a power of two, found {heads}")
    return 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1, dtype=torch.float32))


def distance_bias(frames: int, period: int, heads: int) -> Tensor:
    """Bias (heads, frames) on the attention scores before softmax (FaceFormer Eq. 6), by distance i - j >= 0:
    -slope * floor((i - j) / period)."""
    return -head_slopes(heads)[:, None] * torch.arange(frames).div(period, rounding_mode="floor")


def causal_bias(frames: int, period: int, heads: int) -> Tensor:
    """The same bias for all pairs of frames i, j, -inf where j > i: (heads, frames, frames)."""
    distance = torch.arange(frames)[:, None] - torch.arange(frames)[None]
    bias = distance_bias(frames, period, heads)[:, distance.clamp(min=0)]
    return bias.masked_fill(distance < 0, -math.inf)


class PeriodicPositionalEncoding(nn.Module):
    """The table with the name and shape that it has in published checkpoints."""

    pe: Tensor

    def __init__(self, width: int, period: int) -> None:
        super().__init__()
        repeats = OFFICIAL_FRAMES // period + 1
        self.register_buffer("pe", periodic_positions(period, width).repeat(repeats, 1)[None])
