"""Training of `MouthModes`: the modes of the films' mouths, and the code of a mouth's position.

Nothing is drawn here: films are their weights of `MODES` modes, so that thousands of steps take minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from learn2talk_core.models.mouth_modes import (
    COLUMNS,
    DARKEST,
    LOOKS,
    MODES,
    PIXELS,
    ROWS,
    MouthModes,
    layers,
    lower_face_logits,
)
from learn2talk_core.run import processes
from learn2talk_core.run.device import run_device, sent
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import Stateful, train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.speaking_face import SpeakingFace

FRAMES_A_CLIP, FRAMES_IN_ALL = 4, 9600  # of which the modes are found
BATCH = 512  # frames per step
ENCODER_WIDTH = 256
NOISE = 0.05  # added to codes, which have a variance of 1, so that neighbouring codes look alike
OTHER_LOOKS = 0.1  # noise on the look of the face, so that held-out faces are not too far from all others
LOGITS = torch.logit(torch.arange(256) / 255, eps=DARKEST).numpy()  # of the 256 brightnesses


@dataclass(frozen=True)
class CodeTraining:
    """How mouths are coded.

    Attributes:
        codes: numbers in a code.
        steps: updates of the encoder and the decoder of codes.
        learning_rate: AdamW's peak learning rate.
    """

    codes: int
    steps: int
    learning_rate: float


@dataclass(frozen=True)
class CodedMouths:
    """The mouths of some clips.

    Attributes:
        moved: for each clip, the weights of the modes in each frame, (T, MODES).
        looks: the look of each clip's first frame, (clips, LOOKS).
        codes: for each clip, the code of each frame, (T, codes).
    """

    moved: list[torch.Tensor]
    looks: torch.Tensor
    codes: list[torch.Tensor]


class MouthEncoder(nn.Module):
    """True mouths → codes with mean 0 and variance 1. Only training needs it: later, speech decides the code."""

    to_modes: torch.Tensor

    def __init__(self, mouth: MouthModes, codes: int) -> None:
        super().__init__()
        self.mouth = mouth
        self.register_buffer("to_modes", torch.linalg.pinv(mouth.modes))  # (PIXELS, MODES)
        self.encoder = nn.Sequential(
            layers(MODES + LOOKS, ENCODER_WIDTH, ENCODER_WIDTH, codes), nn.BatchNorm1d(codes, affine=False)
        )

    def forward(self, faces: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Faces and their reference faces, (B, 3, 96, 96) in 0..1 → (B, codes)."""
        moved = (lower_face_logits(faces) - lower_face_logits(reference)) @ self.to_modes
        return self.encode(moved, self.mouth.look(reference))

    def encode(self, moved: torch.Tensor, look: torch.Tensor) -> torch.Tensor:
        """Weights of the modes (B, MODES) and looks (B, LOOKS) → (B, codes)."""
        return self.encoder(torch.cat([moved, look], dim=1))


def find_modes(clips: Sequence[SpeakingFace], codes: int, *, seed: int) -> MouthModes:
    """`MouthModes` with the principal components of frames of many clips; codes are not trained yet.

    Modes are in units of the standard deviation of the first one's weights, and looks have a variance of 1.
    """
    rng, mouth = generator(seed, "mouth modes"), MouthModes(codes)
    chosen = rng.permutation(len(clips))[: FRAMES_IN_ALL // FRAMES_A_CLIP]
    first = np.concatenate([logits_of(clips[k].faces[:1]) for k in chosen])
    at = [rng.integers(len(clips[k].faces), size=FRAMES_A_CLIP) for k in chosen]
    moved = np.concatenate([logits_of(clips[k].faces[t]) for k, t in zip(chosen, at, strict=True)])
    moved -= first.repeat(FRAMES_A_CLIP, axis=0)
    deviations, modes = leading_components(torch.from_numpy(moved), MODES)
    mouth.modes[: len(modes)] = modes * deviations[0]
    mouth.neutral[:] = torch.from_numpy(first).mean(dim=0)
    deviations, looks = leading_components(torch.from_numpy(first) - mouth.neutral, LOOKS)
    mouth.looks[: len(looks)] = looks / deviations[:, None].clamp(min=1e-3 * deviations[0] + 1e-9)
    return mouth


def leading_components(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, P) → root mean square along each of the components, (n,), and the components, (n, P), n ≤ `count`.

    By random projections: the exact components of ten thousand pictures take minutes."""
    _, values, vectors = torch.svd_lowrank(rows, min(count + 32, *rows.shape), niter=4)  # the last ones are inaccurate
    return values[:count] / len(rows) ** 0.5, vectors.T[:count]


def logits_of(faces: np.ndarray) -> np.ndarray:
    """(T, 96, 96, 3) uint8 → (T, PIXELS) float32, as `lower_face_logits`."""
    inner = LOGITS[faces[:, ROWS, COLUMNS]]
    return np.moveaxis(inner, -1, 1).reshape(len(faces), PIXELS)


def modes_of(clips: Sequence[SpeakingFace], encoder: MouthEncoder) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The weights of the modes of each clip, (T, MODES), and the looks of all first frames, (clips, LOOKS)."""
    to_modes, looks, neutral = (x.numpy() for x in (encoder.to_modes, encoder.mouth.looks, encoder.mouth.neutral))
    moved, seen = [], []
    for clip in progress(clips, "mouth modes", unit="clip"):
        first = logits_of(clip.faces[:1])
        moved.append(torch.from_numpy((logits_of(clip.faces) - first) @ to_modes))
        seen.append((first - neutral) @ looks.T)
    return moved, torch.from_numpy(np.concatenate(seen))


def train_mouth_codes(
    clips: Sequence[SpeakingFace], recipe: CodeTraining, *, seed: int, scratch: Scratch
) -> tuple[MouthEncoder, CodedMouths, list[dict[str, float]]]:
    """Find the modes, and train the codes as an autoencoder of their weights.

    Returns:
        The encoder with the modes, on the CPU and in evaluation mode; the mouths of `clips`; the training curve, with
        the share of the motion's variance that the codes explain.
    """
    seed_torch(seed, "mouth codes")
    mouth = find_modes(clips, recipe.codes, seed=seed)
    encoder = MouthEncoder(mouth, recipe.codes)
    each, looks = modes_of(clips, encoder)
    moved, of_clip = torch.cat(each), torch.arange(len(clips)).repeat_interleave(torch.tensor([len(x) for x in each]))
    encoder.to(device := run_device())
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=recipe.learning_rate, weight_decay=0.01)

    def step(index: int) -> dict[str, torch.Tensor]:
        rng = generator(seed, "mouth codes", index, *processes.mark())
        at = torch.from_numpy(rng.integers(len(moved), size=BATCH))
        noise = [torch.from_numpy(rng.normal(size=(BATCH, n)).astype(np.float32)) for n in (LOOKS, recipe.codes)]
        target, look = sent(moved[at], device), sent(looks[of_clip[at]] + OTHER_LOOKS * noise[0], device)
        code = encoder.encode(target, look)
        made = mouth.decoder(torch.cat([code + NOISE * sent(noise[1], device), look], dim=1))
        missed = (made - target).square().sum(dim=1).mean()
        update(missed, optimizer, learning_rate=warmup_cosine(index, recipe.steps, recipe.learning_rate))
        return {"loss": missed.detach(), "explained": 1 - missed.detach() / target.square().sum(dim=1).mean()}

    state: dict[str, Stateful] = {"model": encoder, "optimizer": optimizer}
    history = train(step, state, steps=recipe.steps, seed=seed, scratch=scratch, description="mouth codes")
    encoder.cpu().eval()
    with torch.inference_mode():
        codes = encoder.encode(moved, looks[of_clip])
    return encoder, CodedMouths(each, looks, list(codes.clone().split([len(x) for x in each]))), history
