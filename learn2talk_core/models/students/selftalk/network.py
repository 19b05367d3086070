"""SelfTalk (Peng et al. 2023): a facial animator, and an interpreter that reads the lips that it moved.

    x = Encoder(speech)                    h = Decoder(x, x)          v = W_out h + b        (Eq. 4 and 7)
    l = Transformer(W_lip v[lips])         e = W_text l               text = CTC(e)          (Eq. 10, 11 and 16)

Attention goes over the whole clip without any mask and without positions, so one pass animates all frames at once, no
stream is possible, and the order of the frames is known from the speech encoder alone. The network has no style input.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.loading import new_speech_encoder
from learn2talk_core.models.speech_encoders.wav2vec2 import align_as_faceformer
from learn2talk_core.models.students.student import AudioAlignment, Student
from learn2talk_core.run.device import sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.resample import interpolated_tensor

READING_RATE = 50  # frames per second at which the lips are read: that of the recogniser, wav2vec 2.0
BLANK = 0  # of CTC
WORD_END = "|"  # the unit between words, in vocabularies of characters


class SelfTalk(Student):
    """Animator and interpreter; keys and their meaning are those of SelfTalk's published checkpoints, which also hold
    the recogniser (`recogniser.py`).

    Args:
        vertex_count: V.
        style_count: number of training speakers; they do not change the output.
        lip_count: number of lip vertices L that the interpreter reads.
        units: the units of the text, blank first: characters or phonemes.
        audio_encoder: the speech encoder.
        width: width d of the decoder (512 on VOCASET, 1024 on BIWI).
        dropout: dropout probability in training (0.1 in SelfTalk).
        lip_width: width of the interpreter, that of the recogniser's hidden states (1024).
        lip_heads, lip_layers, lip_hidden: its attention heads, layers in encoder and decoder, feed-forward width.
        alignment: see `FaceFormer`; with "biwi" the decoder gets two speech states per motion frame.
    """

    network = "selftalk"
    has_styles = False
    lips: Tensor  # (L,) ids of the lip vertices; -1 where an imported file did not tell them

    def __init__(
        self,
        vertex_count: int,
        style_count: int,
        *,
        lip_count: int,
        units: Sequence[str],
        audio_encoder: SpeechEncoder,
        width: int = 512,
        dropout: float = 0.1,
        lip_width: int = 1024,
        lip_heads: int = 8,
        lip_layers: int = 6,
        lip_hidden: int = 2048,
        alignment: AudioAlignment = "time",
    ) -> None:
        super().__init__()
        self.alignment, self.units, self.dropout = alignment, tuple(units), dropout
        self.audio_rate = 2 if alignment == "biwi" else 1
        self._style_count = style_count
        self._lip_sizes = {"lip_heads": lip_heads, "lip_layers": lip_layers, "lip_hidden": lip_hidden}
        self.audio_encoder = audio_encoder
        self.audio_feature_map = nn.Linear(self.audio_rate * audio_encoder.width, width)
        layer = nn.TransformerDecoderLayer(width, 4, dim_feedforward=2 * width, dropout=dropout, batch_first=True)
        self.transformer_decoder = nn.TransformerDecoder(layer, num_layers=1)
        self.vertice_map_r = nn.Linear(width, 3 * vertex_count)
        self.lip_map = nn.Linear(3 * lip_count, lip_width)
        self.transformer = nn.Transformer(
            lip_width, lip_heads, lip_layers, lip_layers, lip_hidden, dropout=dropout, batch_first=True
        )
        self.transformer.encoder.use_nested_tensor = False  # a prototype in torch, which warns
        self.lm_head = nn.Linear(lip_width, len(self.units))
        self.register_buffer("lips", torch.full((lip_count,), -1))
        nn.init.zeros_(self.vertice_map_r.weight)  # an untrained network predicts the face at rest
        nn.init.zeros_(self.vertice_map_r.bias)

    @property
    def vertex_count(self) -> int:
        return self.vertice_map_r.out_features // 3

    @property
    def style_count(self) -> int:
        return self._style_count

    @property
    def width(self) -> int:
        """d, width of the decoder and its states."""
        return self.vertice_map_r.in_features

    @property
    def lip_width(self) -> int:
        """Width of the interpreter's features."""
        return self.lip_map.out_features

    def settings(self) -> dict[str, Any]:
        return {
            "vertex_count": self.vertex_count,
            "width": self.width,
            "dropout": self.dropout,
            "alignment": self.alignment,
            "lip_count": len(self.lips),
            "lip_width": self.lip_width,
            **self._lip_sizes,
            "units": list(self.units),
            "speech_encoder": self.audio_encoder.settings(),
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> "SelfTalk":
        names = ("width", "dropout", "alignment", "lip_count", "lip_width", "lip_heads", "lip_layers", "lip_hidden")
        return cls(
            settings["vertex_count"],
            settings["style_count"],
            units=settings["units"],
            audio_encoder=new_speech_encoder(settings["speech_encoder"], "the student's model.json"),
            **{name: settings[name] for name in names},
        )

    def affine_map(self) -> tuple[Tensor, Tensor]:
        """v = W_out h."""
        return self.vertice_map_r.weight, self.vertice_map_r.bias

    @torch.no_grad()
    def predict_states(
        self, wave: np.ndarray, fps: float, styles: Tensor, frames: int, template: np.ndarray | None = None
    ) -> Tensor:
        """See `Student.predict_states`; the same for every style. With an official alignment there are one or two
        frames less, as in SelfTalk's own code, which derives the number of frames from the features."""
        encoder = self.audio_encoder
        if self.alignment == "time":
            hidden = encoder.listen(wave, frames, fps)[None]
        else:
            features = align_as_faceformer(encoder.frozen_features(wave)[None], self.alignment)
            hidden = encoder.encode_long(features, fps * self.audio_rate)
        states = self.states(hidden)[:, :frames]
        return states.expand(len(styles), -1, -1)

    def states(self, audio: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """The decoder's states (B, T, d), all frames in one pass.

        Args:
            audio: the speech encoder's hidden states (B, audio_rate * T, H).
            lengths: frames of each clip if shorter ones are padded to T; padding does not affect the result.
        """
        x = self.audio_feature_map(audio.unflatten(1, (-1, self.audio_rate)).flatten(2))
        padding = _padding(lengths, x)
        return self.transformer_decoder(x, x, tgt_key_padding_mask=padding, memory_key_padding_mask=padding)

    def read_lips(self, lips: Sequence[Tensor], positions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Interpret the lips of several clips.

        Args:
            lips: for each clip, displacements (T, L, 3) of the lip vertices from the face at rest.
            positions: for each clip (n,), the motion frames, with fractions, at which they are read.

        Returns:
            Lip features (B, N, lip_width) and logits (B, N, units), padded to the longest clip.
        """
        mapped = [
            interpolated_tensor(self.lip_map(moved.flatten(1))[None], sent(at, moved.device))[0]
            for moved, at in zip(lips, positions, strict=True)
        ]
        x = nn.utils.rnn.pad_sequence(mapped, batch_first=True)
        padding = _padding([len(one) for one in mapped], x)
        features = self.transformer(
            x, x, src_key_padding_mask=padding, tgt_key_padding_mask=padding, memory_key_padding_mask=padding
        )
        return features, self.lm_head(features)

    @torch.no_grad()
    def interpret(self, displacement: np.ndarray, fps: float) -> tuple[Tensor, Tensor]:
        """Read one clip's lips: displacements (T, V, 3) in the unit of the training data at `fps` frames per second.

        Returns:
            Lip features (n, lip_width) and logits (n, units) at 50 Hz.

        Raises:
            BadInput: the ids of the lip vertices are not known.
        """
        if bool((self.lips < 0).any()):
            raise BadInput(
                "this SelfTalk",
                expected="the lip vertices that its interpreter reads",
                found="none; the published file does not contain them",
                fix="Import it again together with FLAME_masks.pkl (VOCASET) or BIWI_lip.pkl (BIWI).",
            )
        lips = np.ascontiguousarray(displacement[:, self.lips.cpu().numpy()])
        moved = sent(torch.from_numpy(lips), self.lips.device)
        features, logits = self.read_lips([moved], [reading_positions(len(moved), fps, self.alignment)])
        return features[0], logits[0]

    @torch.no_grad()
    def start_from(self, components: Tensor, mean: Tensor) -> None:
        """Set W_out so that states are weights of `components` (d, 3V), added to `mean` (3V,)."""
        self.vertice_map_r.weight.copy_(components.T)
        self.vertice_map_r.bias.copy_(mean)

    @torch.no_grad()
    def scale_motion(self, unit: float) -> None:
        """Convert displacements from `unit`s to the unit of the corpus; states and lip features stay the same."""
        self.vertice_map_r.weight.mul_(unit)
        self.vertice_map_r.bias.mul_(unit)
        self.lip_map.weight.div_(unit)


def reading_positions(frames: int, fps: float, alignment: AudioAlignment = "time", count: int | None = None) -> Tensor:
    """The motion frames (n,), with fractions, at which lips are read: 50 per second.

    By time, they are the centres of the recogniser's windows of 25 ms. With published weights, the first is the first
    frame and the last the last, as in SelfTalk's own code.

    Args:
        frames: number of motion frames.
        fps: frame rate of the motion.
        alignment: see `SelfTalk`.
        count: n, if the recogniser's number of frames is known.
    """
    count = max(1, int(frames / fps * READING_RATE)) if count is None else count
    if alignment == "time":
        return (torch.arange(count, dtype=torch.float64) / READING_RATE + 0.0125) * fps
    return torch.linspace(0, frames - 1, count, dtype=torch.float64)


def text_of(tokens: Sequence[int], units: Sequence[str]) -> str:
    """The text of CTC's tokens: words, or phonemes with spaces between them; special units are dropped."""
    named = [units[token] for token in tokens if not units[token].startswith("<")]
    if WORD_END in units:
        return " ".join("".join(named).replace(WORD_END, " ").split())
    return " ".join(named)


def _padding(lengths: Sequence[int] | None, x: Tensor) -> Tensor | None:
    """True in the padding of x (B, T, C); None if there is none."""
    if lengths is None or min(lengths) == x.shape[1]:
        return None
    ends = sent(torch.as_tensor(lengths), x.device)[:, None]
    return torch.arange(x.shape[1], device=x.device)[None] >= ends
