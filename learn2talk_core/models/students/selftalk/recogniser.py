"""SelfTalk's speech recogniser: a frozen wav2vec 2.0 with a CTC head, which says what the lips should say (Eq. 8, 9).

It is always in evaluation mode. SelfTalk's own code leaves it in training mode, where dropout and time masking disturb
the targets.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.speech_encoder import SpeechEncoder, normalise_wave

# The units of wav2vec2-large-xlsr-53-english, blank first.
CHARACTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", "'", "-", *"abcdefghijklmnopqrstuvwxyz")


class Heard(NamedTuple):
    """What a recogniser hears in a clip.

    Attributes:
        hidden: (n, H) its hidden states.
        logits: (n, units) of CTC; unit 0 is blank.
        times: (n,) seconds from the beginning of the clip.
    """

    hidden: Tensor
    logits: Tensor
    times: Tensor


class Recogniser(Protocol):
    """Any frozen recogniser.

    Attributes:
        units: its units of text, blank first.
        width: H, width of its hidden states.
    """

    units: tuple[str, ...]

    @property
    def width(self) -> int: ...

    def hear(self, wave: np.ndarray) -> Heard:
        """What is said in a clip (samples,) at 16 kHz, without gradient."""
        ...


class SpeechRecogniser(nn.Module):
    """A wav2vec 2.0 with a linear CTC head; keys are those of transformers' Wav2Vec2ForCTC."""

    def __init__(self, encoder: SpeechEncoder, units: Sequence[str]) -> None:
        super().__init__()
        self.units = tuple(units)
        self.wav2vec2 = encoder
        self.lm_head = nn.Linear(encoder.config.hidden_size, len(self.units))
        self.eval()

    @property
    def width(self) -> int:
        return self.wav2vec2.config.hidden_size

    def train(self, mode: bool = True) -> "SpeechRecogniser":
        """Stay in evaluation mode, also inside a network that is being trained."""
        return super().train(False)

    @torch.no_grad()
    def hear(self, wave: np.ndarray) -> Heard:
        encoder = self.wav2vec2
        features = encoder.conv_features(normalise_wave(torch.from_numpy(np.ascontiguousarray(wave)))[None])
        hidden = encoder.encode_long(features, SAMPLE_RATE / encoder.stride)[0]
        centres = torch.arange(len(hidden), dtype=torch.float64) * encoder.stride + encoder.receptive_field // 2
        return Heard(hidden, self.lm_head(hidden), centres / SAMPLE_RATE)
