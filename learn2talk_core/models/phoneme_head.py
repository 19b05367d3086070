"""A phoneme recogniser: a small head on the frozen features of a speech encoder, and what it is used for.

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
from learn2talk_core.corpus.phonemes import PHONEMES, SILENCE, Phoneme
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import load_network, save_weights
from learn2talk_core.statistics.alignment import forced_alignment

CLASSES = (SILENCE, *PHONEMES)  # CTC: 0 is blank
SPAN = 5  # features that the convolution covers: 0.1 s
BLOCK = 1500  # features aligned at once, since the time of an alignment grows with the square of the length
ENGLISH = "English"  # the only language of the data, and of the phonemes


class PhonemeHead(nn.Module):
    """Hidden states (B, n, H) of a speech encoder, at its own rate -> logits for CTC and frame by frame.

    Args:
        feature_width: H.
        width: of its two layers.
        dropout: probability, in training.
    """

    def __init__(self, feature_width: int, width: int = 192, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(feature_width, width)
        self.mix = nn.Conv1d(width, width, SPAN, padding=SPAN // 2)
        self.ctc = nn.Linear(width, len(CLASSES))
        self.frame = nn.Linear(width, len(CLASSES))
        self.dropout = dropout

    @property
    def feature_width(self) -> int:
        """H, the width of the features that it reads."""
        return self.project.in_features

    def forward(self, hidden: Tensor, lengths: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """CTC logits and frame-wise logits, both (B, n, 40). With `lengths`, padding does not affect the result."""
        x = F.gelu(self.project(F.dropout(hidden, self.dropout, self.training)))
        if lengths is not None:
            ends = torch.as_tensor(lengths, device=x.device)[:, None]
            x = x * (torch.arange(x.shape[1], device=x.device)[None] < ends)[..., None]
        x = F.gelu(self.mix(x.transpose(1, 2))).transpose(1, 2)
        x = F.dropout(x, self.dropout, self.training)
        return self.ctc(x), self.frame(x)

    def settings(self) -> dict[str, Any]:
        """What `load_phoneme_head` needs to rebuild it, as JSON values."""
        return {
            "network": "phoneme_head",
            "feature_width": self.feature_width,
            "width": self.project.out_features,
            "phonemes": list(PHONEMES),
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
        """Waves (B, samples), as recorded -> CTC logits and frame-wise logits, both (B, frames, 40)."""
        return self.head(torch.stack([self.features(wave.numpy(), frames, fps) for wave in waves]))

    @torch.no_grad()
    def posteriors(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of CTC and of the phoneme at the times k / rate, both (n, 40), for a wave of any length."""
        frames = max(1, round(len(wave) / SAMPLE_RATE * self.rate))
        ctc, frame = self.head(self.features(wave, frames, self.rate)[None])
        return ctc[0].log_softmax(-1).numpy(), frame[0].log_softmax(-1).numpy()

    def recognise(self, wave: np.ndarray) -> list[Phoneme]:
        """The phonemes that CTC finds in a wave (samples,) of any length (greedy), with the times of their alignment."""
        ctc, frame = self.posteriors(wave)
        best = ctc.argmax(1)
        spikes = np.flatnonzero((best != 0) & (np.diff(best, prepend=0) != 0))
        found: list[Phoneme] = []
        start = 0
        while len(spikes):
            ours, spikes = spikes[spikes < start + BLOCK], spikes[spikes >= start + BLOCK]
            # cut half-way between the last token of this block and the first of the next
            end = len(best) if not len(spikes) else (max(start, *ours[-1:]) + int(spikes[0]) + 1) // 2
            found += self._timed(frame[start:end], [int(best[k]) for k in ours], start, len(wave))
            start = end
        return found

    def align(self, wave: np.ndarray, names: Sequence[str]) -> list[Phoneme]:
        """The times of the known phonemes `names` (ARPAbet without stress) in a wave (samples,).

        Raises:
            BadInput: an unknown phoneme, or more of them than features.
        """
        unknown = [name for name in names if name not in PHONEMES]
        if unknown:
            fix = f"Use {', '.join(PHONEMES)}, without stress."
            raise BadInput("align", expected="ARPAbet phonemes", found=f"{unknown[0]!r}", fix=fix)
        _, frame = self.posteriors(wave)
        if len(names) > len(frame):
            seconds = len(wave) / SAMPLE_RATE
            expected, found = f"at most {len(frame)} phonemes in {seconds:.2f} s", f"{len(names)}"
            raise BadInput("align", expected=expected, found=found, fix="Give the sound of this text.")
        return self._timed(frame, [CLASSES.index(name) for name in names], 0, len(wave))

    def _timed(self, frame: np.ndarray, tokens: list[int], first: int, samples: int) -> list[Phoneme]:
        """`tokens` with their times; feature k lasts from half a feature before its time to half a feature after."""
        edges = (first + forced_alignment(frame, tokens) - 0.5) / self.rate
        edges = edges.clip(0, samples / SAMPLE_RATE)
        return [
            Phoneme(float(a), float(b), CLASSES[token]) for token, (a, b) in zip(tokens, edges.tolist(), strict=True)
        ]


def save_phoneme_head(folder: str | Path, head: PhonemeHead, encoder: SpeechEncoder, **notes: Any) -> None:
    """Write the head, and on which encoder it was trained; `notes` document its origin."""
    save_weights(folder, head, {**head.settings(), "encoder": encoder.model_type, "notes": notes})


def load_phoneme_head(folder: str | Path, encoder: SpeechEncoder, *, made_by: str) -> PhonemeHead:
    """The frozen head in `folder`, for the features of `encoder`.

    Raises:
        BadInput: no head, a damaged one, one with other phonemes, or one for another encoder.
    """
    fix = f"Use the speech encoder it was trained on, or train a head for this one: {made_by}."

    def build(config: dict[str, Any]) -> PhonemeHead:
        if config.get("network") != "phoneme_head":
            found = f"a {config.get('network', 'network')}"[:80]
            raise BadInput(folder, expected="a phoneme head", found=found, fix=f"Name one; {made_by} makes it.")
        if config["phonemes"] != list(PHONEMES):
            raise BadInput(folder, expected=f"a head for {len(PHONEMES)} phonemes", found="other phonemes", fix=fix)
        width, kind = config["feature_width"], config.get("encoder")
        if width != encoder.width or kind != encoder.model_type:
            expected = f"a phoneme head for features of width {encoder.width} ({encoder.model_type})"
            raise BadInput(folder, expected=expected, found=f"one for features of width {width} ({kind})", fix=fix)
        return PhonemeHead(width, config["width"])

    head, _ = load_network(folder, build, made_by=made_by)
    return head


def load_recogniser(encoder: SpeechEncoder, head: str | Path, *, made_by: str) -> SpeechRecogniser:
    """The recogniser of a speech encoder as published and the head in the folder `head`."""
    encoder.eval()
    return SpeechRecogniser(encoder, load_phoneme_head(head, encoder, made_by=made_by))
