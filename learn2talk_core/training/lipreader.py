"""Training of a lip reader on short windows of mouth crops with known phonemes.

A window's tokens are the phonemes whose middle lies in it, for the CTC/attention loss of Ma et al. 2022. Because the
times are known, a linear head also learns the phoneme at each frame: a far denser signal for a small corpus.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.corpus.phonemes import PHONEMES, SILENCE, Phoneme, frame_labels, visemes_of
from learn2talk_core.models.lipreader import CROP, FPS, LipReader, ctc_attention_loss, with_head
from learn2talk_core.run import processes
from learn2talk_core.run.device import run_device, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import made_ahead, train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.video.talking_video import MOUTH_SIZE, TalkingVideo, crop, grey

SPEEDS = (0.9, 1.1)
LONGEST_MASK = 8  # frames
CLASSES = 1 + len(PHONEMES)  # of the frame-wise head: silence first
VOCABULARY = 2 + len(PHONEMES)  # of the reader: blank first, start-and-end last
VISEMES = visemes_of(np.arange(CLASSES))  # of each class
ONE_HOT_VISEMES = torch.eye(int(VISEMES.max()) + 1)[torch.from_numpy(VISEMES)]  # (CLASSES, number of visemes)
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
    films = progress(video.films(clips), "mouths", total=len(clips), unit="clip")
    return [MouthClip(crop(grey(frames), clip.mouth_box, MOUTH_SIZE), clip.phonemes) for clip, frames, _ in films]


@dataclass(frozen=True)
class LipReaderBatch:
    """Windows of mouth crops.

    grey: (B, T, 88, 88) in 0..1; lengths: (B,) number of frames of each window; labels: (B, T) phoneme at each frame,
    -1 in the padding; sentences: tokens of each window. All but `grey` stay on the CPU.
    """

    grey: Tensor
    lengths: Tensor
    labels: Tensor
    sentences: list[list[int]]


def random_lipreader_batch(
    clips: Sequence[MouthClip], rng: np.random.Generator, size: int, frames: int
) -> LipReaderBatch:
    """`size` augmented random windows of at most `frames` frames, played up to 10 % faster or slower."""
    grey = torch.zeros(size, frames, CROP, CROP)
    lengths = torch.zeros(size, dtype=torch.long)
    labels = torch.full((size, frames), -1)
    sentences = []
    for row, clip in enumerate([clips[i] for i in rng.integers(len(clips), size=size)]):
        speed = rng.uniform(*SPEEDS)
        length = min(frames, max(1, int(len(clip.frames) / speed)))
        shown = (np.arange(length) * speed).astype(int)
        shown += rng.integers(len(clip.frames) - shown[-1])
        lengths[row] = length
        grey[row, :length] = torch.from_numpy(augmented(clip.frames[shown], rng))
        labels[row, :length] = torch.from_numpy(clip.labels[shown])
        sentences.append(clip.tokens(shown[0], shown[-1] + 1))
    return LipReaderBatch(grey, lengths, labels, sentences)


def augmented(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, 96, 96) uint8 crops → (T, 88, 88) float32 in 0..1, changed as by another face, camera, lighting and codec.

    One random transform for all frames: mirror, shift by up to 4 pixels, rotation by up to 8°, zoom by up to 10 % and
    as much again in width alone; gamma and a light from one side; blur, because teachers' faces are blurred. In a
    quarter of the windows a rectangle is covered, and in half of them a run of frames is replaced by the mean frame
    (time masking, as in Ma et al. 2022).
    """
    side = frames.shape[-1]
    zoom, stretch, angle = rng.uniform(0.9, 1.1), 1 + rng.uniform(-0.1, 0.1), rng.uniform(-8, 8)
    into = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), angle, zoom)
    into[0] = into[0] * stretch + [0, 0, (1 - stretch) * (side / 2 - 0.5)]
    into[:, 2] += rng.uniform(-4, 4, size=2) - (side - CROP) / 2
    if rng.random() < 0.5:
        into = np.array([[-1.0, 0.0, CROP - 1.0], [0.0, 1.0, 0.0]]) @ np.vstack([into, [0.0, 0.0, 1.0]])
    gamma = np.exp(rng.uniform(-0.4, 0.4))
    curve = ((np.arange(256) / 255.0) ** gamma * 255).astype(np.float32)
    ramp = np.linspace(-1, 1, CROP, dtype=np.float32)
    slope = rng.uniform(-0.3, 0.3, size=2).astype(np.float32)
    light = (1 + slope[0] * ramp[:, None]) * (1 + slope[1] * ramp) / 255
    blur = rng.uniform(0.3, 2.0) if rng.random() < 0.5 else 0.0
    out = np.empty((len(frames), CROP, CROP), np.float32)
    for target, frame in zip(out, frames, strict=True):
        view = cv2.warpAffine(frame, into, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        view = cv2.LUT(view, curve)
        np.multiply(cv2.GaussianBlur(view, (0, 0), blur) if blur else view, light, out=target)
    if rng.random() < 0.25:
        height, width = rng.integers(10, 30, size=2)
        top, left = rng.integers(CROP - height), rng.integers(CROP - width)
        out[:, top : top + height, left : left + width] = rng.uniform(0, 1)
    if rng.random() < 0.5:
        first = int(rng.integers(len(out)))
        longest = max(1, min(LONGEST_MASK, len(out) // 4))
        out[first : first + int(rng.integers(longest) + 1)] = out.mean(axis=0)
    return out


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
    alignment_weight: float  # weight of `alignment_loss`


def alignment_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the phoneme and of the viseme at each frame, their mean; frames with the label -1 do not count.

    The probability of a viseme is the sum of those of its phonemes, as when the reader is judged: which of them it is
    the lips do not show, and a phoneme's cross-entropy alone would have the reader learn it from the sentences.

    Args:
        logits: (B, T, CLASSES).
        labels: (B, T), 0 is silence; on the CPU, so that nothing waits to learn how many count.
    """
    places, truth, device = known_frames(labels), labels[labels >= 0], logits.device
    phonemes = logits.flatten(0, 1)[sent(places, device)].log_softmax(-1)
    visemes = (phonemes.exp() @ sent(ONE_HOT_VISEMES, device)).clamp(min=1e-9).log()
    true_visemes = sent(torch.from_numpy(VISEMES)[truth], device)
    return (nn.functional.nll_loss(phonemes, sent(truth, device)) + nn.functional.nll_loss(visemes, true_visemes)) / 2


def known_frames(labels: Tensor) -> Tensor:
    """Labels (B, T) → the places (n,) in the flattened batch of those that are not −1."""
    return (labels.flatten() >= 0).nonzero()[:, 0]


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

    The loss is the CTC/attention loss of Ma et al. 2022, a mean over tokens, plus `alignment_weight` times
    `alignment_loss`.

    Returns:
        `with_head(reader, CLASSES)`, on the CPU and in evaluation mode, and one row of loss values per step.
    """
    seed_torch(seed, "head")
    model = with_head(reader, CLASSES)
    model.to(device := run_device())
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    frames = max(1, round(recipe.window * FPS))

    def batch_of(index: int) -> LipReaderBatch:
        rng = generator(seed, "batch", index, *processes.mark())
        batch = random_lipreader_batch(clips, rng, recipe.batch, frames)
        return replace(batch, grey=sent(batch.grey, device))

    batches = made_ahead(batch_of)

    def step(index: int) -> dict[str, Tensor]:
        batch = batches(index)
        encoded = reader.features(batch.grey, "encoder", batch.lengths)
        hybrid = ctc_attention_loss(
            reader, encoded, batch.sentences,
            lengths=batch.lengths, ctc_weight=recipe.ctc_weight, smoothing=recipe.smoothing,
        )  # fmt: skip
        logits = model["head"](encoded)
        alignment = alignment_loss(logits, batch.labels)
        loss = hybrid + recipe.alignment_weight * alignment
        update(loss, optimizer, learning_rate=warmup_cosine(index, recipe.steps, recipe.learning_rate))
        right = (logits.argmax(-1) == sent(batch.labels, device)).flatten()[sent(known_frames(batch.labels), device)]
        values = {"loss": loss, "ctc_attention": hybrid, "alignment": alignment, "frame_accuracy": right.float().mean()}
        return {name: value.detach() for name, value in values.items()}

    model.train()
    history = train(
        step, {"model": model, "optimizer": optimizer},
        steps=recipe.steps, seed=seed, scratch=scratch, description=description,
    )  # fmt: skip
    return model.cpu().eval(), history
