"""Training of a small speech encoder on phonemes, and how well it recognises them.

wav2vec 2.0 is pre-trained on thousands of hours without labels and then fine-tuned with CTC. Here, half an hour of
embedded speech has labels with times. The loss is CTC on phonemes plus the cross-entropy of the phoneme at each frame,
from which a network learns within minutes. Everything runs at the frame rate of the motion, as in the student.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.phonemes import PHONEMES, SILENCE, Phoneme
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder, normalise_wave
from learn2talk_core.run.device import sent
from learn2talk_core.run.progress import progress
from learn2talk_core.statistics.recognition import ctc_greedy, error_rate

CLASSES = 1 + len(PHONEMES)  # CTC: 0 is blank; frame by frame: 0 is silence
TOKENS = {name: number for number, name in enumerate((SILENCE, *PHONEMES))}


@dataclass(frozen=True)
class SpokenText:
    """A wave (samples,) float32 at 16 kHz and the phonemes in it."""

    wave: np.ndarray
    phonemes: tuple[Phoneme, ...]

    @property
    def tokens(self) -> list[int]:
        """The phonemes as numbers from 1."""
        return [TOKENS[p.name] for p in self.phonemes]


@dataclass(frozen=True)
class SpeechBatch:
    """Windows of speech.

    waves: (B, samples); labels: (B, T) the phoneme at time t / fps of the window, 0 is silence; sentences:
    the phonemes of each window.
    """

    waves: Tensor
    labels: Tensor
    sentences: list[list[int]]


def labels_at(phonemes: Sequence[Phoneme], times: np.ndarray) -> np.ndarray:
    """The phoneme at each of `times` (T,) in seconds: (T,) int64, 0 is silence."""
    labels = np.zeros(len(times), np.int64)
    for p in phonemes:
        labels[(times >= p.start) & (times < p.end)] = TOKENS[p.name]
    return labels


def random_speech_batch(
    clips: Sequence[SpokenText], rng: np.random.Generator, size: int, seconds: float, fps: float, noise: float = 0.1
) -> SpeechBatch:
    """`size` augmented random windows of `seconds`.

    Each is resampled to be up to 12 % faster or slower, which shifts pitch and formants as in another voice, and noise
    is added, at least 20 dB below the speech for `noise` = 0.1.
    """
    samples, frames = round(seconds * SAMPLE_RATE), round(seconds * fps)
    waves = np.zeros((size, samples), np.float32)
    labels = np.zeros((size, frames), np.int64)
    sentences = []
    for row, clip in enumerate([clips[i] for i in rng.integers(len(clips), size=size)]):
        speed = np.exp(rng.uniform(-0.12, 0.12))
        start = rng.uniform(0, max(0.0, len(clip.wave) / SAMPLE_RATE - speed * seconds))
        position = start * SAMPLE_RATE + speed * np.arange(samples)
        waves[row] = np.interp(position, np.arange(len(clip.wave)), clip.wave, right=0.0)
        level = np.sqrt(np.mean(waves[row] ** 2)) + 1e-4
        waves[row] += level * noise * rng.uniform() ** 2 * rng.standard_normal(samples, dtype=np.float32)
        labels[row] = labels_at(clip.phonemes, start + speed * np.arange(frames) / fps)
        end = start + speed * seconds
        sentences.append([TOKENS[p.name] for p in clip.phonemes if start <= (p.start + p.end) / 2 < end])
    return SpeechBatch(torch.from_numpy(waves), torch.from_numpy(labels), sentences)


class PhonemeRecogniser(nn.Module):
    """The encoder with linear heads for CTC and for the phoneme at each frame, which only its training needs."""

    def __init__(self, encoder: Wav2Vec2SpeechEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.ctc = nn.Linear(encoder.config.hidden_size, CLASSES)
        self.frame = nn.Linear(encoder.config.hidden_size, CLASSES)

    def forward(self, waves: Tensor, frames: int, fps: float) -> tuple[Tensor, Tensor]:
        """Waves (B, samples) -> CTC logits and frame-wise logits, both (B, frames, CLASSES)."""
        features = self.encoder.conv_features(normalise_wave(waves))
        hidden = self.encoder.encode(self.encoder.resample(features, frames, fps))
        return self.ctc(hidden), self.frame(hidden)


class Recogniser(Protocol):
    """Waves (B, samples) -> CTC logits and frame-wise logits, both (B, frames, CLASSES), at `fps`."""

    def __call__(self, waves: Tensor, frames: int, fps: float) -> tuple[Tensor, Tensor]: ...


def recognition_loss(
    model: Recogniser, batch: SpeechBatch, fps: float, alignment_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """CTC plus `alignment_weight` times the cross-entropy of the phoneme at each frame; also the values to log."""
    frames = batch.labels.shape[1]
    ctc_logits, logits = model(batch.waves, frames, fps)
    labels = sent(batch.labels, logits.device)
    lengths = torch.tensor([len(sentence) for sentence in batch.sentences])
    targets = torch.tensor([token for sentence in batch.sentences for token in sentence], dtype=torch.long)
    log_probs = ctc_logits.log_softmax(-1).transpose(0, 1)
    targets = sent(targets, log_probs.device)
    given = torch.full_like(lengths, frames)  # stays on the CPU, as `lengths`: torch reads them
    ctc = F.ctc_loss(log_probs, targets, given, lengths, reduction="none", zero_infinity=True)
    ctc = (ctc / sent(lengths.clamp(min=1).to(ctc.dtype), ctc.device)).mean()
    alignment = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    right = (logits.argmax(-1) == labels).float().mean()
    loss = ctc + alignment_weight * alignment
    values = {"loss": loss, "ctc": ctc, "alignment": alignment, "frame_accuracy": right}
    return loss, {name: value.detach() for name, value in values.items()}


@torch.no_grad()
def recognition_scores(model: Recogniser, clips: Sequence[SpokenText], fps: float) -> dict[str, float]:
    """Phoneme error rate (greedy CTC) and the share of frames with the correct phoneme, over all `clips`."""
    read, right, total = [], 0, 0
    for clip in progress(clips, "recognising", unit="clip"):
        frames = int(len(clip.wave) / SAMPLE_RATE * fps)
        ctc_logits, logits = model(torch.from_numpy(clip.wave)[None], frames, fps)
        read.append(ctc_greedy(ctc_logits[0].numpy()))
        said = labels_at(clip.phonemes, np.arange(frames) / fps)
        right += int((logits[0].argmax(-1).numpy() == said).sum())
        total += frames
    return {"phoneme_error": error_rate([c.tokens for c in clips], read), "frame_accuracy": right / total}


def blind_scores(clips: Sequence[SpokenText], held_out: Sequence[SpokenText], fps: float) -> dict[str, float]:
    """The same scores on `held_out` for a baseline that knows `clips` but ignores the sound: it outputs their most
    frequent phoneme once per clip, and their most frequent label, which is silence or a vowel, for every frame."""
    tokens = np.bincount([token for clip in clips for token in clip.tokens], minlength=CLASSES)
    read = [[int(tokens.argmax())]] * len(held_out)
    every = [labels_at(c.phonemes, np.arange(int(len(c.wave) / SAMPLE_RATE * fps)) / fps) for c in (*clips, *held_out)]
    label = np.bincount(np.concatenate(every[: len(clips)])).argmax()
    right = float((np.concatenate(every[len(clips) :]) == label).mean())
    return {"phoneme_error": error_rate([c.tokens for c in held_out], read), "frame_accuracy": right}
