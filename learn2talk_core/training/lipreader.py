"""Training of a lip reader on short windows of mouth crops with known phonemes.

A window's tokens are the phonemes whose middle lies in it, for the CTC/attention loss of Ma et al. 2022. Because the
times are known, a linear head also learns the phoneme at each frame: a far denser signal for a small corpus.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.corpus.phonemes import PHONEMES, SILENCE, Phoneme, frame_labels
from learn2talk_core.models.lipreader import CROP, FPS, LipReader, ctc_attention_loss, with_head
from learn2talk_core.run import processes
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.video.talking_video import TalkingVideo

CLASSES = 1 + len(PHONEMES)  # of the frame-wise head: silence first
VOCABULARY = 2 + len(PHONEMES)  # of the reader: blank first, start-and-end last
TOKENS = {name: number for number, name in enumerate((SILENCE, *PHONEMES))}


@dataclass(frozen=True)
class MouthClip:
    """Mouth crops (T, 96, 96) uint8 at 25 fps and the phonemes spoken."""

    frames: np.ndarray
    phonemes: tuple[Phoneme, ...]

    @property
    def labels(self) -> np.ndarray:
        """(T,) the phoneme at each frame, 0 is silence."""
        return frame_labels(self.phonemes, len(self.frames), FPS)

    def tokens(self, start: int = 0, stop: int | None = None) -> list[int]:
        """The phonemes, numbered from 1, whose middle lies in frames `start` to `stop`."""
        stop = len(self.frames) if stop is None else stop
        return [TOKENS[p.name] for p in self.phonemes if start <= (p.start + p.end) / 2 * FPS < stop]


def mouth_clips(video: TalkingVideo, split: str) -> list[MouthClip]:
    """Decode the mouth crops of a split into memory (9 kB per frame)."""
    clips = video.split(split)
    if not clips:
        raise BadInput(
            video.folder, expected=f"clips of the split {split!r}", found="none", fix="Add videos of more speakers."
        )
    for clip in clips:
        if not clip.phonemes:
            raise BadInput(
                f"{video.folder}, clip {clip.id}",
                expected="phonemes with times",
                found="none",
                fix="Align the text of the videos with their sound.",
            )
    return [MouthClip(video.mouths(clip), clip.phonemes) for clip in progress(clips, "mouths", unit="clip")]


@dataclass(frozen=True)
class LipReaderBatch:
    """Windows of mouth crops.

    grey: (B, T, 88, 88) in 0..1; lengths: (B,) number of frames of each window; labels: (B, T) phoneme at each frame,
    -1 in the padding; sentences: tokens of each window.
    """

    grey: Tensor
    lengths: Tensor
    labels: Tensor
    sentences: list[list[int]]


def random_lipreader_batch(
    clips: Sequence[MouthClip], rng: np.random.Generator, size: int, frames: int
) -> LipReaderBatch:
    """`size` augmented random windows of at most `frames` frames."""
    grey = torch.zeros(size, frames, CROP, CROP)
    lengths = torch.zeros(size, dtype=torch.long)
    labels = torch.full((size, frames), -1)
    sentences = []
    for row, clip in enumerate([clips[i] for i in rng.integers(len(clips), size=size)]):
        length = min(frames, len(clip.frames))
        start = int(rng.integers(len(clip.frames) - length + 1))
        window = slice(start, start + length)
        lengths[row] = length
        grey[row, :length] = torch.from_numpy(augmented(clip.frames[window], rng))
        labels[row, :length] = torch.from_numpy(clip.labels[window])
        sentences.append(clip.tokens(window.start, window.stop))
    return LipReaderBatch(grey, lengths, labels, sentences)


def augmented(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, 96, 96) uint8 crops → (T, 88, 88) float32 in 0..1, changed as by another camera, lighting and codec.

    One random transform for all frames: mirror, shift by up to 4 pixels, rotation by up to 5°, zoom by up to 10 %;
    gamma; and blur, because teachers' faces are blurred.
    """
    side = frames.shape[-1]
    zoom, angle = rng.uniform(0.9, 1.1), rng.uniform(-5, 5)
    into = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), angle, zoom)
    into[:, 2] += rng.uniform(-4, 4, size=2) - (side - CROP) / 2
    if rng.random() < 0.5:
        into = np.array([[-1.0, 0.0, CROP - 1.0], [0.0, 1.0, 0.0]]) @ np.vstack([into, [0.0, 0.0, 1.0]])
    gamma = np.exp(rng.uniform(-0.4, 0.4))
    curve = ((np.arange(256) / 255.0) ** gamma * 255).astype(np.float32)
    blur = rng.uniform(0.3, 2.0) if rng.random() < 0.5 else 0.0
    out = np.empty((len(frames), CROP, CROP), np.float32)
    for target, frame in zip(out, frames, strict=True):
        view = cv2.warpAffine(frame, into, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        view = cv2.LUT(view, curve)
        target[:] = cv2.GaussianBlur(view, (0, 0), blur) if blur else view
    return out / 255


@dataclass(frozen=True)
class LipReaderTraining:
    """How a lip reader is trained: group `lipreader.training` of params.yaml."""

    steps: int
    batch: int  # windows, in each process
    window: float  # seconds
    learning_rate: float  # at its peak
    weight_decay: float
    ctc_weight: float  # α of the CTC/attention loss
    smoothing: float  # label smoothing of the decoder's targets
    alignment_weight: float  # weight of the cross-entropy of the phoneme at each frame


def train_lipreader(
    reader: LipReader,
    clips: Sequence[MouthClip],
    recipe: LipReaderTraining,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
) -> tuple[nn.ModuleDict, list[dict[str, float]]]:
    """Train `reader` and a frame-wise head on `clips`.

    The loss is the CTC/attention loss of Ma et al. 2022 plus `alignment_weight` times the cross-entropy of the phoneme
    at each frame; both are means, over tokens and over frames.

    Returns:
        `with_head(reader, CLASSES)`, in evaluation mode, and one row of loss values per step.
    """
    seed_torch(seed, "head")
    model = with_head(reader, CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    frames = max(1, round(recipe.window * FPS))

    def step(index: int) -> dict[str, float]:
        batch = random_lipreader_batch(clips, generator(seed, "batch", index, *processes.mark()), recipe.batch, frames)
        encoded = reader.features(batch.grey, "encoder", batch.lengths)
        hybrid = ctc_attention_loss(
            reader, encoded, batch.sentences,
            lengths=batch.lengths, ctc_weight=recipe.ctc_weight, smoothing=recipe.smoothing,
        )  # fmt: skip
        logits = model["head"](encoded)
        alignment = nn.functional.cross_entropy(logits.transpose(1, 2), batch.labels, ignore_index=-1)
        loss = hybrid + recipe.alignment_weight * alignment
        update(loss, optimizer, learning_rate=warmup_cosine(index, recipe.steps, recipe.learning_rate))
        right = (logits.argmax(-1) == batch.labels)[batch.labels >= 0].float().mean()
        values = {"loss": loss, "ctc_attention": hybrid, "alignment": alignment, "frame_accuracy": right}
        return {name: float(value.detach()) for name, value in values.items()}

    model.train()
    history = train(
        step, {"model": model, "optimizer": optimizer},
        steps=recipe.steps, seed=seed, scratch=scratch, description=description,
    )  # fmt: skip
    return model.eval(), history
