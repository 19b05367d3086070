"""FaceFormer (Fan et al. 2022): the student. Speech features and a speaking style in, vertex displacements out.

A transformer decoder predicts the motion frame by frame from the frames before:

    token_0 = s            token_t = W_in v_{t-1} + s            (s: style embedding, v: vertex displacement)
    h_t = Decoder(token_0 + PPE(0), ..., token_t + PPE(t); audio)
    v_t = W_out h_t

In this form each step computes all vertices. But W_in W_out is a small affine map: with A = W_in W_out the recursion
runs on the d-dimensional states, token_t = A h_{t-1} + a + s, and vertices are computed once at the end, and only those
that are needed. The states of past frames never change (the attention is causal), so their keys and values are cached.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.models.periodic_attention import PeriodicPositionalEncoding, causal_bias, distance_bias
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import new_speech_encoder
from learn2talk_core.models.speech_encoders.wav2vec2 import OFFICIAL_EPS, Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.faceformer.compiled import Affine, DecoderLayer, decode
from learn2talk_core.models.students.faceformer.compiled_training import trained_states
from learn2talk_core.models.students.faceformer.graphed import graphed_states
from learn2talk_core.models.students.faceformer.graphed_training import graphed_training_states
from learn2talk_core.models.students.hearing import audio_rate_of, heard_states
from learn2talk_core.models.students.student import AudioAlignment, Student, StudentStream
from learn2talk_core.run.device import sent
from learn2talk_core.run.precision import full_precision
from learn2talk_core.run.threads import one_thread


class FaceFormer(Student):
    """The decoder, which contains the speech encoder, so that one state dict has the whole student. Keys and their
    meaning are those of FaceFormer's published checkpoints.

    Args:
        vertex_count: V.
        style_count: number of training speakers, the length of the style one-hot.
        audio_width: H, the width of the speech encoder's hidden states.
        width: d, width of the decoder (64 on VOCASET, 128 on BIWI).
        period: frames per period; FaceFormer uses the frame rate.
        audio_rate: hidden states of the speech encoder per motion frame (1; 2 in BIWI's checkpoint).
        heads: number of attention heads.
        dropout: dropout probability in training (0.1 in FaceFormer).
        audio_encoder: the sub-module of that name, for checkpoints that contain it.
        alignment: how `predict_states` aligns speech features with motion frames for these weights: "time", by their
            time stamps; "vocaset" or "biwi", as in FaceFormer's own code for that dataset.
    """

    network = "faceformer"

    def __init__(
        self,
        vertex_count: int,
        style_count: int,
        *,
        audio_width: int = 768,
        width: int = 64,
        period: int = 30,
        audio_rate: int = 1,
        heads: int = 4,
        dropout: float = 0.1,
        audio_encoder: nn.Module | None = None,
        alignment: AudioAlignment = "time",
    ) -> None:
        super().__init__()
        self.alignment = alignment
        self.heads, self.period, self.audio_rate, self.dropout = heads, period, audio_rate, dropout
        if audio_encoder is not None:
            self.audio_encoder = audio_encoder
        self.audio_feature_map = nn.Linear(audio_width, width)
        self.vertice_map = nn.Linear(3 * vertex_count, width)
        self.PPE = PeriodicPositionalEncoding(width, period)
        layer = nn.TransformerDecoderLayer(width, heads, dim_feedforward=2 * width, dropout=dropout, batch_first=True)
        self.transformer_decoder = nn.TransformerDecoder(layer, num_layers=1)
        self.vertice_map_r = nn.Linear(width, 3 * vertex_count)
        self.obj_vector = nn.Linear(style_count, width, bias=False)
        self._kept: tuple[Any, tuple[Tensor, Tensor]] | None = None
        nn.init.zeros_(self.vertice_map_r.weight)  # an untrained network predicts the face at rest
        nn.init.zeros_(self.vertice_map_r.bias)

    @property
    def vertex_count(self) -> int:
        return self.vertice_map_r.out_features // 3

    @property
    def style_count(self) -> int:
        return self.obj_vector.in_features

    @property
    def width(self) -> int:
        """d, width of the decoder and its states."""
        return self.vertice_map_r.in_features

    @property
    def speech_encoder(self) -> SpeechEncoder:
        """The speech encoder of this student."""
        encoder = self.audio_encoder
        assert isinstance(encoder, SpeechEncoder)
        return encoder

    def settings(self) -> dict[str, Any]:
        return {
            "vertex_count": self.vertex_count,
            "width": self.width,
            "dropout": self.dropout,
            "alignment": self.alignment,
            "speech_encoder": self.speech_encoder.settings(),
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "FaceFormer":
        return new_faceformer(
            new_speech_encoder(settings["speech_encoder"], "the student's model.json"),
            settings["vertex_count"], settings["style_count"], settings["fps"],
            width=settings["width"], dropout=settings["dropout"], alignment=settings["alignment"],
        )  # fmt: skip

    def affine_map(self) -> tuple[Tensor, Tensor]:
        """v = W_out h."""
        return self.vertice_map_r.weight, self.vertice_map_r.bias

    @torch.no_grad()
    def predict_states(
        self, wave: np.ndarray, fps: float, styles: Tensor, frames: int, template: np.ndarray | None = None
    ) -> Tensor:
        """See `Student.predict_states`. With an official alignment there are one or two frames less, as in FaceFormer's
        own code, which derives the number of frames from the features: 119 for 4 s at 30 fps."""
        hidden = heard_states(self.speech_encoder, wave, frames, fps, self.alignment)
        return self.states(hidden.expand(len(styles), -1, -1), sent(styles, hidden.device))[:, :frames]

    def open_stream(self, style: Tensor, fps: float, memory: int) -> StudentStream:
        from learn2talk_core.models.students.faceformer.streaming import FaceFormerStream

        return FaceFormerStream(self, style, fps, memory)

    @torch.no_grad()
    def start_from(self, components: Tensor, mean: Tensor) -> None:
        """Set W_out so that states are weights of `components` (d, 3V), added to `mean` (3V,)."""
        self.vertice_map_r.weight.copy_(components.T)
        self.vertice_map_r.bias.copy_(mean)

    @torch.no_grad()
    def scale_motion(self, unit: float) -> None:
        """Convert the output from `unit`s to the unit of the corpus; the states stay the same."""
        self.vertice_map_r.weight.mul_(unit)
        self.vertice_map_r.bias.mul_(unit)
        self.vertice_map.weight.div_(unit)

    def input_map(self) -> nn.Linear:
        """W_in: maps the vertices of the previous frame to a token."""
        return self.vertice_map

    def roll_out(self, audio: Tensor, style: Tensor, region: Tensor | None = None) -> Tensor:
        """Predict vertex displacements from the template, each frame from the model's own earlier predictions.

        Has a gradient if autograd is on. A padded batch needs no lengths, because no frame depends on later ones.

        Args:
            audio: the speech encoder's hidden states (B, audio_rate * T, H).
            style: one-hot, or any mixture, of the training speakers (B, style_count).
            region: ids (n,) of the vertices to compute; all if None.

        Returns:
            (B, T, n, 3) in the unit of the training data.
        """
        return self.displacement(self.states(audio, style), region)

    def states(self, audio: Tensor, style: Tensor) -> Tensor:
        """The decoder's states (B, T, d) of the roll-out; arguments as `roll_out`.

        On the CPU it runs compiled code, on CUDA graphs of kernels. On the CPU with dropout or several audio states per
        frame in training, and on other devices, torch, on one thread.
        """
        memory = self.audio_feature_map(audio)
        style = self.obj_vector(style)
        plain = memory.device.type == "cpu" and memory.dtype == torch.float32
        compiled = plain and not self.training and not torch.is_grad_enabled()
        # token_t + PPE(t) = A h_{t-1} + (a + s + PPE(t))
        transition, offset = self._kept_transition() if compiled else self.transition()
        positions = self.PPE.pe[0, : self.period]
        constant = (offset + style)[:, None] + positions  # (B, period, d)
        first = style + positions[0]
        if memory.device.type == "cuda" and torch.is_grad_enabled():
            with torch.cuda.device(memory.device), full_precision():
                return graphed_training_states(self, memory, transition, first, constant)
        bias = self.bias(memory.shape[1] // self.audio_rate, memory)
        if compiled:
            return self._compiled_states(memory, transition, first, constant, bias)
        if memory.device.type == "cuda" and not self.training:
            with torch.cuda.device(memory.device):
                return graphed_states(self, Alignment(self, memory), transition, first, constant, bias)
        with one_thread(), full_precision():
            if plain and self.audio_rate == 1 and not (self.training and self.dropout):
                return self._trained_states(memory, transition, first, constant, bias)
            return self._states(memory, transition, first, constant, bias)

    def bias(self, frames: int, like: Tensor) -> Tensor:
        """Attention bias (heads, frames) at the distances frames - 1 … 0, of which frame t uses the last t + 1, on the
        device and in the type of `like`."""
        return sent(distance_bias(frames, self.period, self.heads).flip(1).to(like.dtype), like.device)

    def transition(self) -> tuple[Tensor, Tensor]:
        """A = W_in W_out (d, d) and a (d,): the token that follows state h is A h + a, plus the style."""
        weight = self.vertice_map.weight
        return weight @ self.vertice_map_r.weight, weight @ self.vertice_map_r.bias + self.vertice_map.bias

    def _kept_transition(self) -> tuple[Tensor, Tensor]:
        """The same, cached until one of its four tensors changes: computing it takes as long as a roll-out of 10 s."""
        made_of = (*self.vertice_map.parameters(), *self.vertice_map_r.parameters())
        if any(p.is_inference() for p in made_of):  # inference tensors have no version counter
            return self.transition()
        version = tuple((p.data_ptr(), p._version) for p in made_of)
        if self._kept is None or self._kept[0] != version:
            self._kept = version, self.transition()
        return self._kept[1]

    def _states(self, memory: Tensor, transition: Tensor, first: Tensor, constant: Tensor, bias: Tensor) -> Tensor:
        alignment = Alignment(self, memory)
        batch, frames = len(memory), bias.shape[1]
        bias = bias.repeat(batch, 1)[:, None]  # (B * heads, 1, T)
        keys = values = memory.new_empty(batch * self.heads, 0, first.shape[1] // self.heads)
        token = first
        states: list[Tensor] = []
        for t in range(frames):
            token = self._drop(token)
            query, key, value = self._in_projection(token)
            keys, values = torch.cat((keys, key), dim=1), torch.cat((values, value), dim=1)
            attended = self._attend(query, keys, values, bias[:, :, frames - 1 - t :])
            states.append(self._after_attention(token, attended, alignment, t))
            token = torch.addmm(constant[:, (t + 1) % self.period], states[-1], transition.T)
        return torch.stack(states, dim=1)

    def _trained_states(
        self, memory: Tensor, transition: Tensor, first: Tensor, constant: Tensor, bias: Tensor
    ) -> Tensor:
        layer = self.transformer_decoder.layers[0]
        own = layer.self_attn
        maps = (layer.norm1, layer.norm2, layer.linear1, layer.linear2, layer.norm3)
        weights = (own.in_proj_weight, own.in_proj_bias, own.out_proj.weight, own.out_proj.bias)
        weights += tuple(x for map_ in maps for x in (map_.weight, map_.bias))
        return trained_states(first, constant, transition, Alignment(self, memory).attended, bias, *weights)

    def _compiled_states(
        self, memory: Tensor, transition: Tensor, first: Tensor, constant: Tensor, bias: Tensor
    ) -> Tensor:
        def affine(weight: Tensor, offset: Tensor) -> Affine:
            return Affine(weight.detach().contiguous().numpy(), offset.detach().contiguous().numpy())

        layer = self.transformer_decoder.layers[0]
        own, alignment, width = layer.self_attn, layer.multihead_attn, first.shape[1]
        weights = DecoderLayer(
            affine(own.in_proj_weight, own.in_proj_bias),
            affine(own.out_proj.weight, own.out_proj.bias),
            affine(layer.norm1.weight, layer.norm1.bias),
            affine(alignment.in_proj_weight[:width], alignment.in_proj_bias[:width]),
            affine(alignment.out_proj.weight, alignment.out_proj.bias),
            affine(layer.norm2.weight, layer.norm2.bias),
            affine(layer.linear1.weight, layer.linear1.bias),
            affine(layer.linear2.weight, layer.linear2.bias),
            affine(layer.norm3.weight, layer.norm3.bias),
        )
        frames = bias.shape[1]
        heard = F.linear(memory, alignment.in_proj_weight[width:], alignment.in_proj_bias[width:])
        heard = heard[:, : frames * self.audio_rate].unflatten(1, (frames, self.audio_rate))
        key, value = (part.contiguous().numpy() for part in heard.split(width, dim=-1))
        bias_rows = bias.contiguous().numpy()
        states = [
            decode(weights, transition.numpy(), first[i].numpy(), constant[i].numpy(), bias_rows, key[i], value[i])
            for i in range(len(memory))
        ]
        return torch.from_numpy(np.stack(states))

    def teacher_forced(self, audio: Tensor, style: Tensor, truth: Tensor) -> Tensor:
        """The decoder's states (B, T, d) if each frame is predicted from the true earlier frames, all at once.

        Args:
            audio, style: as `roll_out`.
            truth: true vertex displacements from the template (B, T, V, 3).
        """
        alignment = Alignment(self, self.audio_feature_map(audio))
        batch, frames = len(audio), alignment.frames
        before = F.pad(truth.flatten(2)[:, : frames - 1], (0, 0, 1, 0))  # the template precedes the first frame
        phase = torch.arange(frames, device=audio.device) % self.period
        token = self._drop(self.vertice_map(before) + self.obj_vector(style)[:, None] + self.PPE.pe[0, phase])
        query, key, value = self._in_projection(token)
        bias = sent(causal_bias(frames, self.period, self.heads).to(audio.dtype), audio.device).repeat(batch, 1, 1)
        attended = self._attend(query, key, value, bias)
        return self._after_attention(token, attended, alignment, None)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def _in_projection(self, token: Tensor) -> tuple[Tensor, ...]:
        """Tokens (B, d) or (B, T, d) -> query, key, value, each (B * heads, 1 or T, d / heads)."""
        attention = self.transformer_decoder.layers[0].self_attn
        projected = F.linear(token, attention.in_proj_weight, attention.in_proj_bias)
        if token.dim() == 2:
            projected = projected.view(len(token), 3, self.heads, 1, -1)
        else:
            projected = projected.view(*token.shape[:2], 3, self.heads, -1).permute(0, 2, 3, 1, 4)
        return tuple(part.flatten(0, 1) for part in projected.unbind(1))

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Biased causal attention, softmax(q kᵀ / sqrt(d_head) + bias) v (FaceFormer Eq. 5)."""
        score = torch.baddbmm(bias, query, keys.transpose(1, 2), alpha=query.shape[-1] ** -0.5)
        return torch.bmm(self._drop(score.softmax(-1)), values)

    def _after_attention(
        self, token: Tensor, attended: Tensor, alignment: "Alignment", t: int | Tensor | None
    ) -> Tensor:
        """The rest of the decoder layer (normalisation after each residual), for frame t or for all frames."""
        layer = self.transformer_decoder.layers[0]
        if t is None:
            attended = attended.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)
        else:
            attended = attended.view(token.shape)
        x = layer.norm1(token + self._drop(layer.self_attn.out_proj(attended)))
        x = layer.norm2(x + self._drop(alignment(x, t)))
        feed_forward = layer.linear2(self._drop(F.relu(layer.linear1(x))))
        return layer.norm3(x + self._drop(feed_forward))


class Alignment:
    """Cross-attention of frame t to its own `audio_rate` audio states only (FaceFormer's alignment bias).

    With one state per frame the softmax is 1 and the attention is a linear map of the audio.

    Args:
        model: the model whose weights and dropout are used.
        memory: audio features (B, audio_rate * T, d).
    """

    def __init__(self, model: FaceFormer, memory: Tensor) -> None:
        attention = model.transformer_decoder.layers[0].multihead_attn
        self.model, self.out_projection = model, attention.out_proj
        self.frames = memory.shape[1] // model.audio_rate
        memory = memory[:, : self.frames * model.audio_rate]
        width = memory.shape[-1]
        query_weight, key_weight, value_weight = attention.in_proj_weight.split(width)
        query_bias, key_bias, value_bias = attention.in_proj_bias.split(width)
        self.query = query_weight, query_bias
        # (B, T, heads, audio_rate, d / heads)
        split = (self.frames, model.audio_rate), (model.heads, width // model.heads)
        value = F.linear(memory, value_weight, value_bias).unflatten(2, split[1]).unflatten(1, split[0]).transpose(2, 3)
        if model.audio_rate == 1:
            weight = model._drop(torch.ones_like(value[..., :1]))
            self.attended = self.out_projection((weight * value).flatten(2))
        else:
            key = F.linear(memory, key_weight, key_bias)
            self.key = key.unflatten(2, split[1]).unflatten(1, split[0]).transpose(2, 3)
            self.value = value

    def __call__(self, x: Tensor, t: int | Tensor | None) -> Tensor:
        """Attend from frame t, x (B, d), or from all frames, x (B, T, d), if t is None. As a tensor, t is (1,)."""
        if self.model.audio_rate == 1:
            return _at(self.attended, t)
        key, value = _at(self.key, t), _at(self.value, t)
        query = F.linear(x, *self.query).unflatten(-1, (self.model.heads, -1))
        score = (key @ query[..., None]).squeeze(-1) * query.shape[-1] ** -0.5  # (..., heads, audio_rate)
        weight = self.model._drop(score.softmax(-1))
        return self.out_projection((weight[..., None] * value).sum(-2).flatten(-2))


def _at(x: Tensor, t: int | Tensor | None) -> Tensor:
    """x (B, T, …) at frame t (B, …), or all of it."""
    if t is None:
        return x
    return x[:, t] if isinstance(t, int) else x.index_select(1, t).squeeze(1)


def new_faceformer(
    encoder: SpeechEncoder,
    vertex_count: int,
    style_count: int,
    fps: float,
    *,
    width: int,
    dropout: float,
    alignment: AudioAlignment = "time",
) -> FaceFormer:
    """A new FaceFormer that contains `encoder`.

    Args:
        encoder: the speech encoder.
        vertex_count: V.
        style_count: number of training speakers.
        fps: frame rate of the motion; rounded, it is the period of the positional encoding, as in FaceFormer.
        width: d, width of the decoder.
        dropout: dropout probability in the decoder.
        alignment: alignment of speech features with motion frames; see `FaceFormer`.
    """
    if alignment != "time" and isinstance(encoder, Wav2Vec2SpeechEncoder):
        encoder.eps = OFFICIAL_EPS
    return FaceFormer(
        vertex_count,
        style_count,
        audio_width=encoder.width,
        width=width,
        period=round(fps),
        audio_rate=audio_rate_of(alignment),
        dropout=dropout,
        audio_encoder=encoder,
        alignment=alignment,
    )


def state_sizes(state: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Number of vertices, number of styles and width of the FaceFormer with this state dict.

    Raises:
        KeyError: not the state dict of a FaceFormer; the message is the missing key.
    """
    for key in ("vertice_map_r.weight", "obj_vector.weight", "audio_feature_map.weight"):
        if key not in state or state[key].ndim != 2:
            raise KeyError(key)
    width, styles = state["obj_vector.weight"].shape
    return len(state["vertice_map_r.weight"]) // 3, styles, width
