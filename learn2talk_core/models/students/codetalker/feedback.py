"""The codec's last frame while codes are predicted one by one.

CodeTalker decodes all codes so far at every frame, only to see the last one: T² / 2 frames in all for a clip of T. They
all change when a frame is added, because channels are normalised over time and attention goes both ways. But they
change little when many frames are there already. So the keys and values of past frames are kept, and computed anew when
the clip has grown by a given factor. Between, only the newest three frames are computed: those that the convolution
over 5 frames changes. With factor 1 nothing is kept, and the result is that of CodeTalker's own code.

Only the next token depends on this; the motion that is shown is decoded from all codes at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.models.linear import linear
from learn2talk_core.models.students.codetalker.codec import (
    NORM_EPS,
    SLOPE,
    CodecTransformer,
    MotionDecoder,
    only_convolution,
)

REACH = 2  # frames on each side that the convolution sees
TAPS = 2 * REACH + 1


class Feedback:
    """The decoding of clips whose codes arrive frame by frame, without gradient.

    Args:
        decoder: the codec's decoder.
        batch: B, number of clips.
        frames: T, number of frames to come.
        growth: factor by which a clip grows until its past frames are computed anew; 1: at every frame.
    """

    def __init__(self, decoder: MotionDecoder, batch: int, frames: int, growth: float) -> None:
        self._decoder, self._growth = decoder, growth
        self._conv = only_convolution(decoder.expander)
        width = self._conv.out_channels
        # the convolution is a sum of linear maps, one per tap: each frame passes through all of them once
        self._taps = self._conv.weight.permute(2, 0, 1).flatten(0, 1).contiguous()
        self._tapped = self._taps.new_zeros(batch, frames, TAPS, width)
        self._filtered = self._taps.new_zeros(batch, frames, width)
        self._sums = self._taps.new_zeros(2, batch, width, dtype=torch.float64)
        self._count, self._renewed = 0, 0
        self._cache = LayerCache(decoder.decoder_transformer, batch, frames)

    @torch.no_grad()
    def extend(self, quantised: Tensor) -> Tensor:
        """Add a frame of codes (B, 1, codes · code_width); returns the decoder's state (B, width) of that frame."""
        decoder, t = self._decoder, self._count
        pre = getattr(decoder, "decoder_linear_embedding_pre", None)
        frame = quantised if pre is None else pre(quantised)
        self._tapped[:, t] = linear(frame[:, 0], self._taps).unflatten(-1, (TAPS, -1))
        self._count = count = t + 1
        # the newest frame changes what the convolution gives at the two before it; beyond its ends the clip is repeated
        first = max(0, t - REACH)
        old = self._filtered[:, first:t].double()
        tap = torch.arange(TAPS, device=frame.device)
        seen = (torch.arange(first, count, device=frame.device)[:, None] + tap - REACH).clamp(0, t)
        new = self._tapped[:, seen, tap].sum(2)
        new = F.leaky_relu(new if self._conv.bias is None else new + self._conv.bias, SLOPE)
        self._filtered[:, first:count] = new
        self._sums[0] += new.double().sum(1) - old.sum(1)
        self._sums[1] += new.double().square().sum(1) - old.square().sum(1)
        if count >= self._renewed * self._growth:
            first, self._renewed = 0, count
        mean = self._sums[0] / count
        deviation = ((self._sums[1] / count - mean.square()).clamp(min=0) + NORM_EPS).sqrt()
        normal = (self._filtered[:, first:count] - mean[:, None].float()) / deviation[:, None].float()
        x = decoder.decoder_pos_embedding(decoder.decoder_linear_embedding(normal))
        return self._cache.extend(x, first)


class LayerCache:
    """Keys and values of the frames of a `CodecTransformer`, per block."""

    def __init__(self, transformer: CodecTransformer, batch: int, frames: int) -> None:
        self._blocks = transformer.blocks()
        weight, heads = self._blocks[0].attention.to_qkv.weight, self._blocks[0].attention.heads
        self._kept = [weight.new_empty(2, batch, heads, frames, weight.shape[1] // heads) for _ in self._blocks]

    def extend(self, x: Tensor, first: int) -> Tensor:
        """Compute the frames from `first` on, x (B, n, C), which attend to each other and to what is kept of the frames
        before; returns the last one (B, C)."""
        for number, block in enumerate(self._blocks):
            kept, end, attention = self._kept[number], first + x.shape[1], block.attention
            query, key, value = attention.split(block.attention_norm(x))
            kept[0, :, :, first:end], kept[1, :, :, first:end] = key, value
            if number == len(self._blocks) - 1:  # the others' outputs are not needed
                x, query = x[:, -1:], query[:, :, -1:]
            heard = F.scaled_dot_product_attention(
                query, kept[0, :, :, :end], kept[1, :, :, :end], scale=attention.scale
            )
            x = x + attention.to_out(heard.transpose(1, 2).flatten(2))
            x = x + block.forward(block.forward_norm(x))
        return x[:, -1]
