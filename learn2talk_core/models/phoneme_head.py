"""A phoneme recogniser: a small head on the frozen features of a speech encoder.

The head has two outputs per feature: CTC (Graves et al. 2006; class 0 is blank), which says what was spoken, and the
phoneme at that instant (class 0 is silence), which says when. It is trained on the encoder as published, so the encoder
of a student, whose last layers were trained on, does not fit it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.run.device import sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import load_network, save_weights

NETWORK = "phoneme_head"
SPAN = 5  # features that the convolution covers: 0.1 s
ENGLISH = "English"  # the only language of the data, and of the phonemes


class PhonemeHead(nn.Module):
    """Hidden states (B, n, H) of a speech encoder, at its own rate -> logits for CTC and frame by frame.

    Args:
        feature_width: H.
        phonemes: names of the classes 1, 2, …; class 0 is blank, or silence.
        width: of its two layers.
        dropout: probability, in training.
    """

    def __init__(self, feature_width: int, phonemes: Sequence[str], width: int = 192, dropout: float = 0.0) -> None:
        super().__init__()
        self.phonemes = tuple(phonemes)
        self.project = nn.Linear(feature_width, width)
        self.mix = nn.Conv1d(width, width, SPAN, padding=SPAN // 2)
        self.ctc = nn.Linear(width, 1 + len(self.phonemes))
        self.frame = nn.Linear(width, 1 + len(self.phonemes))
        self.dropout = dropout

    @property
    def feature_width(self) -> int:
        """H, the width of the features that it reads."""
        return self.project.in_features

    def forward(self, hidden: Tensor, lengths: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """CTC logits and frame-wise logits, both (B, n, C). With `lengths`, padding does not affect the result."""
        x = F.gelu(self.project(F.dropout(hidden, self.dropout, self.training)))
        if lengths is not None:
            ends = sent(torch.as_tensor(lengths), x.device)[:, None]
            x = x * (torch.arange(x.shape[1], device=x.device)[None] < ends)[..., None]
        x = F.gelu(self.mix(x.transpose(1, 2))).transpose(1, 2)
        x = F.dropout(x, self.dropout, self.training)
        return self.ctc(x), self.frame(x)

    def settings(self) -> dict[str, Any]:
        """What `read_phoneme_head` needs to rebuild it, as JSON values."""
        return {
            "network": NETWORK,
            "feature_width": self.feature_width,
            "width": self.project.out_features,
            "phonemes": list(self.phonemes),
            "language": ENGLISH,
        }


class SpeechRecogniser(nn.Module):
    """A speech encoder, which stays frozen, with a phoneme head. It has learnt from English only: speech in another
    language is written with the nearest English phonemes."""

    def __init__(self, encoder: SpeechEncoder, head: PhonemeHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @property
    def rate(self) -> float:
        """Features per second."""
        return SAMPLE_RATE / self.encoder.stride

    def features(self, wave: np.ndarray, frames: int, fps: float) -> Tensor:
        """The encoder's hidden states (frames, H), computed at its own rate, at the times t / fps."""
        return self.encoder.resample(self.encoder.hidden_states(wave)[None], frames, fps)[0]

    def forward(self, waves: Tensor, frames: int, fps: float) -> tuple[Tensor, Tensor]:
        """Waves (B, samples) on the CPU, as recorded -> CTC logits and frame-wise logits, both (B, frames, C)."""
        return self.head(torch.stack([self.features(wave.numpy(), frames, fps) for wave in waves]))

    @torch.no_grad()
    def posteriors(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of CTC and of the phoneme at the times k / rate, both (n, C), for a wave of any length."""
        frames = max(1, round(len(wave) / SAMPLE_RATE * self.rate))
        ctc, frame = self.head(self.features(wave, frames, self.rate)[None])
        return ctc[0].log_softmax(-1).numpy(), frame[0].log_softmax(-1).numpy()


def save_phoneme_head(folder: str | Path, head: PhonemeHead, encoder: SpeechEncoder, **notes: Any) -> None:
    """Write the head, and on which encoder it was trained; `notes` document its origin."""
    save_weights(folder, head, {**head.settings(), "encoder": encoder.model_type, "notes": notes})


def read_phoneme_head(folder: str | Path, *, made_by: str) -> tuple[PhonemeHead, dict[str, Any]]:
    """The frozen head in `folder`, and its description."""

    def build(config: dict[str, Any]) -> PhonemeHead:
        if config.get("network") != NETWORK:
            found, fix = f"a {config.get('network', 'network')}"[:80], f"Name one; {made_by} makes it."
            raise BadInput(folder, expected="a phoneme head", found=found, fix=fix)
        return PhonemeHead(config["feature_width"], config["phonemes"], config["width"])

    return load_network(folder, build, made_by=made_by)


def load_recogniser(encoder: SpeechEncoder, folder: str | Path, *, made_by: str) -> SpeechRecogniser:
    """The recogniser of a speech encoder, as published, and the head in `folder`.

    Raises:
        BadInput: no head, a damaged one, or one for another encoder.
    """
    head, config = read_phoneme_head(folder, made_by=made_by)
    width, kind = head.feature_width, config.get("encoder")
    if width != encoder.width or kind != encoder.model_type:
        expected = f"a phoneme head for features of width {encoder.width} ({encoder.model_type})"
        found = f"one for features of width {width} ({kind})"
        fix = f"Use the speech encoder it was trained on, or train a head for this one: {made_by}."
        raise BadInput(folder, expected=expected, found=found, fix=fix)
    return SpeechRecogniser(encoder.eval(), head)
