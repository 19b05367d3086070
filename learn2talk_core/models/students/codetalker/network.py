"""CodeTalker's stage 2 (Xing et al. 2023): speech and a style in, codes of motion out, which the codec makes visible.

    token_0 = s [+ b_in]        token_t = W_in v_{t-1} + b_in + s           (s: style embedding, v: displacement)
    z_t = W_feat Decoder(token_0 + PPE(0), ..., token_t + PPE(t); audio)_t
    q_t = nearest codes of z_t  v_t = the last frame of Codec(q_0 … q_t)

The decoder is causal, so the keys and values of past frames are kept. W_in and the codec's last layer are affine, so
the recursion runs on the codec's states, and vertices are computed once at the end. The codec itself sees the whole
clip, which makes every step cost as much as the clip is long; `feedback.py` keeps most of that.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.models.periodic_attention import PeriodicPositionalEncoding, causal_bias, distance_bias
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import new_speech_encoder
from learn2talk_core.models.speech_encoders.wav2vec2 import OFFICIAL_EPS, Wav2Vec2SpeechEncoder, align_as_faceformer
from learn2talk_core.models.students.codetalker.codec import (
    CodecShape,
    Coded,
    MotionCodec,
    straight_through,
)
from learn2talk_core.models.students.codetalker.feedback import Feedback
from learn2talk_core.models.students.student import AudioAlignment, Student
from learn2talk_core.run.device import sent

GROWTH = 1.1  # see `CodeTalker.growth`


class CodeTalker(Student):
    """The network with its codec and its speech encoder; keys and their meaning are those of published stage-2 files.

    States are those of the codec's decoder, from which displacements are an affine map.

    Args:
        codec: the codec of stage 1, which is frozen.
        style_count: number of training speakers.
        audio_encoder: the speech encoder.
        width: width of the decoder (1024).
        layers: its layers (6 on VOCASET, 12 on BIWI).
        heads: its attention heads (4).
        period: frames per period of the positions; the frame rate.
        dropout: dropout probability in training (0.1).
        alignment: see `FaceFormer`; with "biwi" a frame sees two speech states.

    Attributes:
        growth: the codec's past frames are computed anew in prediction whenever the clip has grown by this factor. 1 is
            at every frame, as in CodeTalker's own code: the choice for published weights, whose codes would differ here
            and there. For our own, trained on true earlier frames, one estimate of them is as good as another.
    """

    network = "codetalker"

    def __init__(
        self,
        codec: MotionCodec,
        style_count: int,
        *,
        audio_encoder: SpeechEncoder,
        width: int = 1024,
        layers: int = 6,
        heads: int = 4,
        period: int = 30,
        dropout: float = 0.1,
        alignment: AudioAlignment = "time",
    ) -> None:
        super().__init__()
        self.alignment, self.heads, self.period, self.dropout = alignment, heads, period, dropout
        self.audio_rate = 2 if alignment == "biwi" else 1
        self.growth = GROWTH if alignment == "time" else 1.0
        if alignment != "time" and isinstance(audio_encoder, Wav2Vec2SpeechEncoder):
            audio_encoder.eps = OFFICIAL_EPS
        shape = codec.shape
        self.audio_encoder = audio_encoder
        self.audio_feature_map = nn.Linear(audio_encoder.width, width)
        self.vertice_map = nn.Linear(3 * shape.vertex_count, width)
        self.PPE = PeriodicPositionalEncoding(width, period)
        layer = nn.TransformerDecoderLayer(width, heads, dim_feedforward=2 * width, dropout=dropout, batch_first=True)
        self.transformer_decoder = nn.TransformerDecoder(layer, num_layers=layers)
        self.feat_map = nn.Linear(width, shape.codes * shape.code_width, bias=False)
        self.learnable_style_emb = nn.Embedding(style_count, width)
        self.autoencoder = codec.requires_grad_(False)
        nn.init.zeros_(self.feat_map.weight)  # as in CodeTalker

    @property
    def vertex_count(self) -> int:
        return self.autoencoder.shape.vertex_count

    @property
    def style_count(self) -> int:
        return self.learnable_style_emb.num_embeddings

    def train(self, mode: bool = True) -> "CodeTalker":
        """The codec stays in evaluation mode."""
        super().train(mode)
        self.autoencoder.eval()
        return self

    def settings(self) -> dict[str, Any]:
        return {
            "codec": self.autoencoder.settings(),
            "width": self.vertice_map.out_features,
            "layers": len(self.transformer_decoder.layers),
            "heads": self.heads,
            "dropout": self.dropout,
            "alignment": self.alignment,
            "speech_encoder": self.audio_encoder.settings(),
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "CodeTalker":
        return cls(
            MotionCodec(CodecShape(**settings["codec"])), settings["style_count"],
            audio_encoder=new_speech_encoder(settings["speech_encoder"], "the student's model.json"),
            width=settings["width"], layers=settings["layers"], heads=settings["heads"], dropout=settings["dropout"],
            alignment=settings["alignment"], period=round(settings["fps"]),
        )  # fmt: skip

    def affine_map(self) -> tuple[Tensor, Tensor]:
        """The codec's last layer."""
        return self.autoencoder.affine_map()

    @torch.no_grad()
    def scale_motion(self, unit: float) -> None:
        """Convert displacements from `unit`s to the unit of the corpus; states and codes stay the same."""
        self.autoencoder.scale_motion(unit)
        self.vertice_map.weight.div_(unit)

    @torch.no_grad()
    def predict_states(
        self, wave: np.ndarray, fps: float, styles: Tensor, frames: int, template: np.ndarray | None = None
    ) -> Tensor:
        """See `Student.predict_states`. With an official alignment there are one or two frames less, as in CodeTalker's
        own code, which derives the number of frames from the features."""
        encoder = self.audio_encoder
        if self.alignment == "time":
            hidden = encoder.listen(wave, frames, fps)[None]
        else:
            features = align_as_faceformer(encoder.frozen_features(wave)[None], self.alignment)
            hidden = encoder.encode_long(features, fps * self.audio_rate)
        hidden = hidden[:, : frames * self.audio_rate]
        return self.decode_codes(self.codes(hidden.expand(len(styles), -1, -1), sent(styles, hidden.device)))

    def decode_codes(self, index: Tensor) -> Tensor:
        """Numbers of codes (B, T, codes) -> states (B, T, d)."""
        return self.autoencoder.decode(self.autoencoder.quantize.embedding(index))

    def teacher_forced(self, audio: Tensor, style: Tensor, truth: Tensor) -> Coded:
        """Codes of all frames at once, each from the true earlier frames, as in training. A padded batch needs no
        lengths, because no frame depends on later ones.

        Args:
            audio: the speech encoder's hidden states (B, audio_rate * T, H).
            style: one-hot, or any mixture, of the training speakers (B, style_count).
            truth: true displacements (B, T, 3V).
        """
        frames = truth.shape[1]
        before = F.pad(truth[:, : frames - 1], (0, 0, 1, 0))  # the face at rest precedes the first frame
        phase = torch.arange(frames, device=audio.device) % self.period
        token = self.vertice_map(before) + (style @ self.learnable_style_emb.weight)[:, None] + self.PPE.pe[0, phase]
        bias = causal_bias(frames, self.period, self.heads).to(audio.dtype)
        bias = sent(bias, audio.device).repeat(len(audio), 1, 1)
        own = torch.arange(frames * self.audio_rate, device=audio.device) // self.audio_rate
        others = own[None] != torch.arange(frames, device=audio.device)[:, None]  # True: not attended
        decoded = self.transformer_decoder(
            F.dropout(token, self.dropout, self.training),
            self.audio_feature_map(audio),
            tgt_mask=bias,
            memory_mask=torch.zeros_like(others, dtype=audio.dtype).masked_fill(others, -torch.inf),
        )
        return self.autoencoder.quantised(self.feat_map(decoded))

    def visible(self, coded: Coded, lengths: Sequence[int] | None = None) -> Tensor:
        """States (B, T, d) of codes, with the gradient of the features before quantisation (straight-through)."""
        return self.autoencoder.decode(straight_through(coded), lengths)

    @torch.no_grad()
    def codes(self, audio: Tensor, style: Tensor) -> Tensor:
        """Predict the numbers of the codes (B, T, codes), each frame from the network's own earlier frames.

        Args:
            audio, style: as `teacher_forced`.
        """
        frames, codec = audio.shape[1] // self.audio_rate, self.autoencoder
        layers = [CachedLayer(layer, self.audio_feature_map(audio), self.heads, self.audio_rate, frames)
                  for layer in self.transformer_decoder.layers]  # fmt: skip
        bias = sent(distance_bias(frames, self.period, self.heads).flip(1).to(audio.dtype), audio.device)
        style = style @ self.learnable_style_emb.weight
        weight, offset = self._transition()
        positions = self.PPE.pe[0, : self.period]
        # CodeTalker's code begins with the style alone in prediction, with the bias in training; ours always with it
        token = style if self.alignment != "time" else style + self.vertice_map.bias
        feedback = Feedback(codec.decoder, len(audio), frames, self.growth)
        found = []
        for t in range(frames):
            x = token + positions[t % self.period]
            for layer in layers:
                x = layer.step(x, t, bias[:, frames - 1 - t :])
            coded = codec.quantised(self.feat_map(x)[:, None])
            found.append(coded.numbers)
            if t + 1 < frames:
                token = F.linear(feedback.extend(coded.quantised.flatten(2)), weight, offset) + style
        return torch.cat(found, dim=1)

    def _transition(self) -> tuple[Tensor, Tensor]:
        """The affine map (d, codec width), (d,) from a state of the codec to the next token, without the style."""
        weight, bias = self.affine_map()
        return self.vertice_map.weight @ weight, self.vertice_map.weight @ bias + self.vertice_map.bias


class CachedLayer:
    """One layer of the decoder, frame by frame: keys and values of past frames are kept, and those of the speech are
    computed once. A frame attends to its own `rate` states of the speech only; with one, attention is a linear map.

    Args:
        layer: the layer.
        memory: mapped speech (B, rate * T, d).
        heads, rate, frames: see `CodeTalker`.
    """

    def __init__(self, layer: nn.TransformerDecoderLayer, memory: Tensor, heads: int, rate: int, frames: int) -> None:
        self.layer, self.heads, self.rate = layer, heads, rate
        batch, width = len(memory), memory.shape[-1]
        self.keys = memory.new_empty(batch, heads, frames, width // heads)
        self.values = torch.empty_like(self.keys)
        other = layer.multihead_attn
        speech = F.linear(memory[:, : rate * frames], other.in_proj_weight[width:], other.in_proj_bias[width:])
        key, value = speech.unflatten(1, (frames, rate)).chunk(2, dim=-1)  # (B, T, rate, d)
        if rate == 1:
            self.heard = other.out_proj(value[:, :, 0])
        else:
            self.heard_keys = key.unflatten(-1, (heads, -1)).transpose(2, 3)  # (B, T, heads, rate, d / heads)
            self.heard_values = value.unflatten(-1, (heads, -1)).transpose(2, 3)

    def step(self, x: Tensor, t: int, bias: Tensor) -> Tensor:
        """Frame t, x (B, d); `bias` (heads, t + 1) is that of the frames up to t."""
        layer, own = self.layer, self.layer.self_attn
        projected = F.linear(x, own.in_proj_weight, own.in_proj_bias).unflatten(-1, (3, self.heads, -1))
        query, self.keys[:, :, t], self.values[:, :, t] = projected.unbind(1)
        score = (self.keys[:, :, : t + 1] @ query[..., None])[..., 0] * query.shape[-1] ** -0.5 + bias
        attended = (score.softmax(-1)[:, :, None] @ self.values[:, :, : t + 1]).flatten(1)
        x = layer.norm1(x + own.out_proj(attended))
        x = layer.norm2(x + self._hear(x, t))
        return layer.norm3(x + layer.linear2(F.relu(layer.linear1(x))))

    def _hear(self, x: Tensor, t: int) -> Tensor:
        if self.rate == 1:
            return self.heard[:, t]
        other, width = self.layer.multihead_attn, x.shape[-1]
        query = F.linear(x, other.in_proj_weight[:width], other.in_proj_bias[:width]).unflatten(-1, (self.heads, -1))
        score = (self.heard_keys[:, t] @ query[..., None])[..., 0] * query.shape[-1] ** -0.5  # (B, heads, rate)
        return other.out_proj((score.softmax(-1)[..., None] * self.heard_values[:, t]).sum(2).flatten(1))
