"""CodeTalker's stage 1 (Xing et al. 2023): motion of a face as sequences of codes, and back (VQ-VAE).

    z = Encoder(v) (T, codes per frame · code width)      q = nearest entries of the codebook      v = Decoder(q)

Encoder and decoder have a convolution over 5 frames, a normalisation of each channel over time, and a transformer that
sees the whole clip. Clips of different lengths share a batch: padding is masked wherever frames meet.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.models.linear import by_onednn
from learn2talk_core.models.padding import frame_mask
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.recipe import refuse_other_recipe
from learn2talk_core.run.weights import load_network, save_weights

KIND = "codetalker_codec"  # of network, in its folder
NORM_EPS = 1e-5  # of the normalisation over time
SLOPE = 0.2  # of the leaky ReLUs
OFFICIAL_POSITIONS = 5000  # length of the position table in published files, of which only the first row is used


class CodecShape(NamedTuple):
    """Sizes of a codec.

    Attributes:
        vertex_count: V.
        width: of encoder and decoder; 1024 in the paper.
        layers, heads, hidden: of each of the two transformers, and their feed-forward width; 6, 8, 1536.
        codes: codes per frame; 8 on BIWI, 16 on VOCASET.
        code_width: width of a code; 128 and 64.
        entries: size of the codebook; 256.
        projected: BIWI's form, with linear maps between codes and transformers, and no bias in the last layer. Without
            it, width = codes · code_width.
    """

    vertex_count: int
    width: int
    layers: int
    heads: int
    hidden: int
    codes: int
    code_width: int
    entries: int
    projected: bool


class Coded(NamedTuple):
    """A motion in codes.

    Attributes:
        features: (B, T, codes, code_width) before quantisation.
        quantised: the same, replaced by the nearest entries of the codebook.
        numbers: (B, T, codes) their numbers in the codebook.
    """

    features: Tensor
    quantised: Tensor
    numbers: Tensor


class CodecAttention(nn.Module):
    """Self-attention with the keys of published files. Scores are divided by √width, not by √(width of a head)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, width**-0.5
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of x (B, T, C), each (B, heads, T, C / heads)."""
        return self.to_qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """x (B, T, C), keep (B, 1, 1, T) False in the padding."""
        query, key, value = self.split(x)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=keep, scale=self.scale)
        return self.to_out(attended.transpose(1, 2).flatten(2))


class CodecFeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.l1 = nn.Linear(width, hidden)
        self.l2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.l2(F.gelu(self.l1(x), approximate="tanh"))


class CodecNormed(nn.Module):
    """A layer norm, then `fn`."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn


class CodecResidual(nn.Module):
    def __init__(self, fn: CodecNormed) -> None:
        super().__init__()
        self.fn = fn


class CodecBlock(NamedTuple):
    """The parts of a block of `CodecTransformer`."""

    attention_norm: nn.LayerNorm
    attention: CodecAttention
    forward_norm: nn.LayerNorm
    forward: CodecFeedForward


class CodecTransformer(nn.Module):
    """Blocks that normalise first; the names of the modules are those of published files."""

    def __init__(self, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for _ in range(layers):
            blocks += [CodecResidual(CodecNormed(width, CodecAttention(width, heads)))]
            blocks += [CodecResidual(CodecNormed(width, CodecFeedForward(width, hidden)))]
        self.net = nn.Sequential(*blocks)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """x (B, T, C) -> (B, T, C)."""
        for block in self.blocks():
            x = x + block.attention(block.attention_norm(x), keep)
            x = x + block.forward(block.forward_norm(x))
        return x

    def blocks(self) -> list[CodecBlock]:
        """The blocks, each of which is two modules of `net`."""
        net: list[Any] = [module.fn for module in self.net]
        return [
            CodecBlock(one.norm, one.fn, other.norm, other.fn) for one, other in zip(net[::2], net[1::2], strict=True)
        ]


class CodecEmbedding(nn.Module):
    """A linear map under the name that it has in published files."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class CodecPosition(nn.Module):
    """The published position table. CodeTalker's code indexes it by the clip's place in the batch, always 0 in its
    training, so all frames get the first row; here too, for every clip of a batch."""

    pe: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        phase = torch.arange(OFFICIAL_POSITIONS, dtype=torch.float32)[:, None]
        frequency = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
        table = torch.stack((torch.sin(phase * frequency), torch.cos(phase * frequency)), dim=-1)
        self.register_buffer("pe", table.reshape(OFFICIAL_POSITIONS, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[0, 0]


def convolution(width: int) -> nn.Sequential:
    """The convolution over 5 frames, nested as in published files."""
    return nn.Sequential(nn.Conv1d(width, width, 5))


def only_convolution(nested: Any) -> nn.Conv1d:
    """The convolution in a list or sequence of one `convolution`."""
    return nested[0][0]


class MotionEncoder(nn.Module):
    """Displacements to features."""

    def __init__(self, shape: CodecShape) -> None:
        super().__init__()
        width = shape.width
        self.vertice_mapping = nn.Sequential(nn.Linear(3 * shape.vertex_count, width))
        self.squasher = nn.Sequential(convolution(width))
        self.encoder_transformer = CodecTransformer(width, shape.layers, shape.heads, shape.hidden)
        self.encoder_pos_embedding = CodecPosition(width)
        self.encoder_linear_embedding = CodecEmbedding(width, width)
        if shape.projected:
            self.encoder_linear_embedding_post = CodecEmbedding(width, shape.codes * shape.code_width)

    def forward(self, displacement: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, 3V), mask (B, T) False in the padding -> (B, T, codes · code_width)."""
        x = F.leaky_relu(self.vertice_mapping(displacement), SLOPE)
        x = self.encoder_linear_embedding(over_time(only_convolution(self.squasher), x, mask))
        x = self.encoder_transformer(self.encoder_pos_embedding(x), attended(mask))
        return self.encoder_linear_embedding_post(x) if hasattr(self, "encoder_linear_embedding_post") else x


class MotionDecoder(nn.Module):
    """Quantised features to displacements."""

    def __init__(self, shape: CodecShape) -> None:
        super().__init__()
        width = shape.width
        if shape.projected:
            self.decoder_linear_embedding_pre = CodecEmbedding(shape.codes * shape.code_width, width)
        self.expander = nn.ModuleList([convolution(width)])
        self.decoder_transformer = CodecTransformer(width, shape.layers, shape.heads, shape.hidden)
        self.decoder_pos_embedding = CodecPosition(width)
        self.decoder_linear_embedding = CodecEmbedding(width, width)
        self.vertice_map_reverse = nn.Linear(width, 3 * shape.vertex_count, bias=not shape.projected)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, codes · code_width) -> (B, T, width), of which displacements are an affine map."""
        if hasattr(self, "decoder_linear_embedding_pre"):
            x = self.decoder_linear_embedding_pre(x)
        x = self.decoder_linear_embedding(over_time(only_convolution(self.expander), x, mask))
        return self.decoder_transformer(self.decoder_pos_embedding(x), attended(mask))


class Quantiser(nn.Module):
    """The codebook."""

    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, width)
        nn.init.uniform_(self.embedding.weight, -1.0 / entries, 1.0 / entries)

    def nearest(self, features: Tensor) -> Tensor:
        """Number of the nearest entry of each feature (…, width) -> (…)."""
        book = self.embedding.weight
        distance = book.square().sum(1) - 2 * features @ book.T  # the square of the feature is the same for all entries
        return distance.argmin(-1)


class MotionCodec(nn.Module):
    """CodeTalker's VQ-VAE; keys and their meaning are those of published stage-1 files.

    Args:
        shape: its sizes.
    """

    def __init__(self, shape: CodecShape) -> None:
        super().__init__()
        if not shape.projected and shape.width != shape.codes * shape.code_width:
            raise ValueError(f"width {shape.width}: expected codes · code_width, or projected")
        self.shape = shape
        self.encoder = MotionEncoder(shape)
        self.decoder = MotionDecoder(shape)
        self.quantize = Quantiser(shape.entries, shape.code_width)
        by_onednn(self)

    def settings(self) -> dict[str, Any]:
        return self.shape._asdict()

    def encode(self, displacement: Tensor, lengths: Sequence[int] | None = None) -> Coded:
        """Displacements (B, T, 3V) to codes; `lengths` are the frames of each clip if shorter ones are padded."""
        features = self.encoder(displacement, frame_mask(lengths, displacement))
        return self.quantised(features)

    def quantised(self, features: Tensor) -> Coded:
        """Features (B, T, codes · code_width) and their nearest codes."""
        features = features.unflatten(-1, (self.shape.codes, self.shape.code_width))
        numbers = self.quantize.nearest(features)
        return Coded(features, self.quantize.embedding(numbers), numbers)

    def decode(self, quantised: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Codes (B, T, codes, code_width) -> the decoder's states (B, T, width)."""
        flat = quantised.flatten(2)
        return self.decoder(flat, frame_mask(lengths, flat))

    def affine_map(self) -> tuple[Tensor, Tensor]:
        """Weight (3V, width) and bias (3V,) from the decoder's states to displacements."""
        last = self.decoder.vertice_map_reverse
        return last.weight, last.weight.new_zeros(last.out_features) if last.bias is None else last.bias

    @torch.no_grad()
    def scale_motion(self, unit: float) -> None:
        """Convert displacements from `unit`s to the unit of the corpus; codes stay the same."""
        first = self.encoder.vertice_mapping[0]
        assert isinstance(first, nn.Linear)
        first.weight.div_(unit)
        for parameter in self.decoder.vertice_map_reverse.parameters():
            parameter.mul_(unit)


def straight_through(coded: Coded) -> Tensor:
    """The quantised features, whose gradient goes to the features as if they had not been quantised."""
    return coded.features + (coded.quantised - coded.features).detach()


def attended(mask: Tensor | None) -> Tensor | None:
    """The mask (B, T) in the form of attention, (B, 1, 1, T)."""
    return None if mask is None else mask[:, None, None]


def over_time(conv: nn.Conv1d, x: Tensor, mask: Tensor | None) -> Tensor:
    """Convolution, leaky ReLU, and normalisation of each channel over the frames of the clip: (B, T, C) -> (B, T, C).

    The first and the last frame of each clip are repeated beyond its ends.
    """
    frames = x.shape[1]
    place = torch.arange(-2, frames + 2, device=x.device)
    if mask is None:
        around = x[:, place.clamp(0, frames - 1)]
    else:
        place = place.clamp(min=0).minimum(mask.sum(1, keepdim=True) - 1)
        around = x.gather(1, place[..., None].expand(-1, -1, x.shape[-1]))
    y = F.leaky_relu(conv(around.transpose(1, 2)).transpose(1, 2), SLOPE)
    if mask is None:
        mean = y.mean(1, keepdim=True)
        variance = (y - mean).square().mean(1, keepdim=True)
    else:
        count, kept = mask.sum(1)[:, None, None], mask[..., None]
        mean = (y * kept).sum(1, keepdim=True) / count
        variance = ((y - mean).square() * kept).sum(1, keepdim=True) / count
    return (y - mean) * (variance + NORM_EPS).rsqrt()


def save_codec(folder: str | Path, codec: MotionCodec, **notes: Any) -> None:
    """Write a codec; `notes` document its origin, and `recipe` among them is that of its corpus."""
    save_weights(folder, codec, {"network": KIND, "codec": codec.settings(), "notes": notes})


def load_codec(folder: str | Path, recipe: str, vertices: int) -> MotionCodec:
    """The frozen codec in `folder`. Another network, and one for another recipe of the corpus or for a face of another
    number of `vertices`, are refused."""

    def build(config: dict[str, Any]) -> MotionCodec:
        if (found := config.get("network")) != KIND:
            fix = "Name a folder that the stage motion_prior wrote for CodeTalker."
            raise BadInput(folder, expected="CodeTalker's codec", found=f"a {found or 'network'}"[:80], fix=fix)
        refuse_other_recipe(folder, config["notes"].get("recipe"), recipe)
        shape = CodecShape(**config["codec"])
        if shape.vertex_count != vertices:
            found, fix = f"one of {shape.vertex_count}", "Use it on the corpus that it was trained on."
            raise BadInput(folder, expected=f"a face of {vertices} vertices", found=found, fix=fix)
        return MotionCodec(shape)

    return load_network(folder, build, made_by="make repro")[0]
