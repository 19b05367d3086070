"""Training of SyncNet3D (Learn2Talk, Sect. III-D), once with Eq. 4 and once with Eq. 5.

All pairs of the windows of a step are compared. A window of motion with its own audio is a genuine pair. With the audio
of the same clip shifted by up to 2 s it is a false pair (as in the paper), and also with the audio of another clip.
Embedding a window is the expensive part, and each embedding is thus used in many pairs. Most false pairs are soon easy
to tell apart and teach nothing more, so false pairs are weighted higher the closer their embeddings are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.audio.mel import COLUMNS_PER_SECOND, WINDOW_COLUMNS, mel_spectrogram
from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.corpus.phonemes import frame_labels
from learn2talk_core.losses.contrastive import cosine_bce_loss, margin_loss
from learn2talk_core.models.syncnet3d import Shape, SyncNet3D, audio_windows, window_frames
from learn2talk_core.run import processes
from learn2talk_core.run.collectives import gathered
from learn2talk_core.run.device import run_device, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.resample import interpolated_tensor
from learn2talk_core.run.seed import generator, mix, seed_torch
from learn2talk_core.training.loop import beside_the_step, train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch

MAX_FALSE_SHIFT = 2.0  # seconds; the paper's "up to 2 seconds"
CHANCE = float(np.log(2))  # Eq. 5 of a network that cannot tell genuine from false pairs
COLLAPSE_STEPS = 100  # shorter trainings are trials and are not checked

NetworkRole = Literal["metric", "loss"]


@dataclass(frozen=True)
class SyncNet3DNetwork:
    """Size of SyncNet3D; see `models.syncnet3d.Shape`."""

    modes: int
    width: int
    layers: int
    heads: int
    channels: int
    embedding: int


@dataclass(frozen=True)
class SyncNet3DTraining:
    """How SyncNet3D is trained.

    Attributes:
        steps: optimiser steps.
        clips: clips per step, in each process.
        windows: windows of each clip per step.
        learning_rate: AdamW's peak learning rate.
        weight_decay: AdamW's weight decay.
        margin: p of Eq. 4.
        other_clips: share of the false pairs' weight that goes to the audio of other clips, before `hardness`.
        hardness: a false pair's weight is multiplied by exp(hardness · cosine of its embeddings).
        style: spread of the random factor that scales each mode of motion of a clip (log-normal).
        noise: standard deviation of the noise added to the motion, as a fraction of the strongest mode's.
        pitch: spread of the random factor that stretches the frequencies of a clip's mel (log-normal).
        masked_bands: at most this many neighbouring mel bands of a window are masked.
        tempo: spread of the random factor of a clip's speaking rate (log-normal), in sound and motion alike. If it is
            not 0, windows also begin between frames.
        epochs: instead of `steps`, as many as it takes to draw the number of all windows so often.
    """

    steps: int
    clips: int
    windows: int
    learning_rate: float
    weight_decay: float
    margin: float
    other_clips: float
    hardness: float
    style: float
    noise: float
    pitch: float
    masked_bands: int
    tempo: float
    epochs: int | None = None


@dataclass(frozen=True)
class WindowBatch:
    """The windows of a step. P windows of all processes, of which this one embeds those from number `before` on.

    Attributes:
        motion, mel: mode weights (N, W, modes) and mel windows (N, 80, 16) of each of this process's clips.
        owner, position: (P,) index of each window's clip, and its first frame.
        before: number of windows of the processes before this one.
    """

    motion: list[Tensor]
    mel: list[Tensor]
    owner: Tensor
    position: Tensor
    before: int


@dataclass(frozen=True)
class Windows:
    """The windows of one clip, one per frame. Their motion is not kept here, see `mouth_displacement`.

    Attributes:
        clip: the clip.
        mel: (N, 80, 16) mel windows, N ≤ T − W + 1.
        speech: (N,) whether at least half of a window's frames lie in speech.
    """

    clip: Clip
    mel: Tensor
    speech: np.ndarray


def cut_windows(corpus: Corpus, clip: Clip) -> Windows:
    """The windows of `clip`."""
    window = window_frames(corpus.fps)
    mel = audio_windows(corpus.audio(clip), corpus.fps)
    count = max(0, min(len(mel), clip.frames - window + 1))
    speaking = frame_labels(clip.phonemes, clip.frames, corpus.fps) > 0
    if not clip.phonemes:  # a corpus without phoneme times: nothing is known to be silence
        speaking[:] = True
    share = np.convolve(speaking, np.ones(window) / window, mode="valid")[:count] if count else np.zeros(0)
    return Windows(clip, torch.from_numpy(mel[:count]), share > 0.499)


def mouth_displacement(corpus: Corpus, clip: Clip) -> Tensor:
    """Mouth vertices of a clip minus the speaker's template, (T, n, 3), from which W-frame windows are cut.

    Read from the corpus on demand: for all training clips of BIWI it would take 1.3 GB.
    """
    return torch.from_numpy(np.ascontiguousarray(corpus.displacement(clip, corpus.topology.regions["mouth"])))


def read_windows(corpus: Corpus, *splits: str) -> list[Windows]:
    """The windows of all clips of `splits` that are long enough to have any."""
    clips = progress(corpus.split(*splits), f"windows of {', '.join(splits)}", unit="clip")
    return [windows for windows in (cut_windows(corpus, clip) for clip in clips) if len(windows.mel)]


def sample_motion(corpus: Corpus, clips: Sequence[Clip], numbers: int = 1 << 25) -> Tensor:
    """Mouth motion of the clips, (N, 3n): all frames, or evenly sampled ones, about `numbers` numbers in total."""
    size = 3 * len(corpus.topology.regions["mouth"])
    every = math.ceil(sum(clip.frames for clip in clips) * size / numbers)
    chosen = (mouth_displacement(corpus, clip)[i % every :: every].flatten(1) for i, clip in enumerate(clips))
    return torch.cat([frames.clone() for frames in chosen])  # a view would keep its whole clip


def motion_modes(motion: Tensor, count: int) -> Tensor:
    """Principal modes (3n, count) of mouth motion (N, 3n), each divided by the square root of its relative deviation.

    Projecting a displacement on them gives weights whose standard deviations start at 1 and fall like the square roots
    of the modes' deviations: strong modes dominate, but weak ones (a closing lip) still count. Beyond the modes there
    is scan noise; a frozen SyncNet3D neither sees it nor has a gradient there.
    """
    motion = motion.double()
    frames, size = motion.shape
    # the smaller of two matrices with the same non-zero eigenvalues: BIWI's 3n is 14000
    gram = motion.T @ motion if size <= frames else motion @ motion.T
    variance, modes = torch.linalg.eigh(gram / frames)
    deviation = variance.clamp(min=1e-30).sqrt().flip(0)[:count]
    modes = modes.flip(1)[:, :count]
    if size > frames:
        modes = torch.nn.functional.normalize(motion.T @ modes, dim=0)
    modes = modes * modes.gather(0, modes.abs().argmax(0, keepdim=True)).sign()  # an eigenvector's sign is arbitrary
    scale = (deviation * deviation[0]).sqrt().clamp(min=1e-2 * deviation[0])
    padding = count - modes.shape[1]
    return torch.nn.functional.pad((modes / scale).float(), (0, padding))


def new_model(
    corpus: Corpus, clips: Sequence[Windows], network: SyncNet3DNetwork, role: NetworkRole, seed: int
) -> SyncNet3D:
    """An untrained SyncNet3D with the modes and the mel statistics of the training clips."""
    vertices = len(corpus.topology.regions["mouth"])
    shape = Shape(
        vertices=vertices, window=window_frames(corpus.fps), modes=network.modes, width=network.width,
        layers=network.layers, heads=network.heads, channels=network.channels, embedding=network.embedding,
        non_negative=role == "loss",
    )  # fmt: skip
    seed_torch(seed, "syncnet3d", role)
    model = SyncNet3D(shape)
    model.modes.copy_(motion_modes(sample_motion(corpus, [w.clip for w in clips]), network.modes))
    mel = torch.cat([clip.mel[..., 0] for clip in clips])
    model.mel_mean.copy_(mel.mean(0)[:, None])
    model.mel_scale.copy_(mel.std(0, correction=0).clamp(min=0.1)[:, None])
    return model


def train_syncnet3d(
    corpus: Corpus,
    clips: Sequence[Windows],
    network: SyncNet3DNetwork,
    recipe: SyncNet3DTraining,
    role: NetworkRole,
    *,
    seed: int,
    scratch: Scratch,
) -> tuple[SyncNet3D, list[dict[str, float]]]:
    """Train on `clips`: with Eq. 4 for the role "metric", with Eq. 5 for "loss".

    The two roles have different initial weights and different batches. With several processes, the windows of all
    processes are compared, as in one process with the total number of clips. But each process draws its own
    augmentation (except the speaking rate), and batch normalisation uses the windows of one process only, so the curve
    is close to that of one process but not equal to it.

    Returns:
        The network on the CPU, in evaluation mode, and the training curve.
    """
    if not clips:
        raise BadInput(
            corpus.folder, expected="clips longer than 0.2 s to train on", found="none", fix="Check the split train."
        )
    seed = mix(seed, "syncnet3d", role)
    model = new_model(corpus, clips, network, role, seed)
    with torch.no_grad():
        motions = [model.mode_weights(mouth_displacement(corpus, windows.clip)) for windows in clips]
    sounds = [torch.from_numpy(mel_spectrogram(corpus.audio(windows.clip)).T) for windows in clips]
    model.to(device := run_device())
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    farthest = round(MAX_FALSE_SHIFT * corpus.fps)
    steps = recipe.steps
    if recipe.epochs is not None:
        drawn = recipe.clips * recipe.windows * processes.count()
        steps = math.ceil(recipe.epochs * sum(len(windows.mel) for windows in clips) / drawn)

    def batch_of(index: int) -> WindowBatch:
        rng = generator(seed, "batch", index)
        chosen = rng.choice(len(clips), min(recipe.clips * processes.count(), len(clips)), replace=False)
        position = []
        for clip in chosen:
            count = len(clips[clip].mel)
            position.append(torch.from_numpy(rng.choice(count, min(recipe.windows, count), replace=False)))
        owner = torch.repeat_interleave(torch.arange(len(chosen)), torch.tensor([len(p) for p in position]))
        tempo = np.exp(recipe.tempo * rng.standard_normal(len(chosen)))
        between = rng.random(len(chosen)) if recipe.tempo else np.zeros(len(chosen))  # of a clip: shifts stay whole
        motion, mel = [], []
        mine = processes.own_part(len(chosen))
        for clip, first, rate, more in zip(chosen[mine], position[mine], tempo[mine], between[mine], strict=True):
            start = first + more
            motion.append(sent(windows_at(motions[clip], start, model.shape.window, rate), device))
            columns = windows_at(sounds[clip], start * (COLUMNS_PER_SECOND / corpus.fps), WINDOW_COLUMNS, rate)
            mel.append(sent(columns.transpose(1, 2), device))
        before = sum(len(first) for first in position[: mine.start])
        return WindowBatch(motion, mel, sent(owner, device), sent(torch.cat(position), device), before)

    batches = beside_the_step(batch_of)

    def step(index: int) -> dict[str, Tensor]:
        batch = batches(index)
        changed = [
            (restyle(motion, recipe), revoice(mel, model.mel_mean, recipe))
            for motion, mel in zip(batch.motion, batch.mel, strict=True)
        ]
        motion, mel = (torch.cat(parts) for parts in zip(*changed, strict=True))
        mesh = gathered(model.embed_mesh_windows(motion), batch.before, len(batch.owner))
        audio = gathered(model.embed_audio(mel), batch.before, len(batch.owner))
        genuine, weight = pairs(batch.owner, batch.position, farthest, recipe.other_clips)
        cosine = mesh @ audio.T
        weight = harder(weight, genuine, cosine.detach(), recipe.hardness)
        loss = pair_loss(cosine, genuine, weight, role, recipe.margin)
        update(loss, optimizer, learning_rate=warmup_cosine(index, steps, recipe.learning_rate))
        return {"loss": loss.detach()}

    history = train(
        step, {"model": model, "optimizer": optimizer}, steps=steps, seed=seed, scratch=scratch,
        description=f"syncnet3d {role}", lower="clips or windows of syncnet3d.training",
    )  # fmt: skip
    model.cpu().eval()
    refuse_collapse(corpus, model, clips, history, role)
    return model, history


def windows_at(values: Tensor, start: Tensor, count: int, tempo: float) -> Tensor:
    """Windows of `count` values of (T, C), interpolated between them: (N, count, C).

    Args:
        start: (N,), where the windows begin at tempo 1.
        tempo: distance of the values of a window; its middle stays where it is.
    """
    middle = (count - 1) / 2
    place = start[:, None] + middle + tempo * (torch.arange(count, dtype=torch.float64) - middle)
    return interpolated_tensor(values, place.flatten()).unflatten(0, place.shape)


def pairs(owner: Tensor, position: Tensor, farthest: int, other_clips: float) -> tuple[Tensor, Tensor]:
    """Which pairs of windows are genuine, and the weight of each pair.

    Genuine and false pairs have the same total weight. `other_clips` is the share of the false pairs' weight that goes
    to pairs between clips; the rest goes to shifts of 1 … `farthest` frames within a clip. Pairs farther apart have
    weight 0.

    Args:
        owner: (P,) index of each window's clip.
        position: (P,) first frame of each window.

    Returns:
        genuine (P, P) of 0 and 1, weight (P, P), which sums to 2 if there are pairs of all kinds.
    """
    same_clip = owner[:, None] == owner
    shift = (position[:, None] - position).abs()
    genuine = (same_clip & (shift == 0)).float()
    shifted = (same_clip & (shift > 0) & (shift <= farthest)).float()
    other = (~same_clip).float()
    weight = genuine / genuine.sum()
    weight = weight + (1 - other_clips) * shifted / shifted.sum().clamp(min=1)
    return genuine, weight + other_clips * other / other.sum().clamp(min=1)


def harder(weight: Tensor, genuine: Tensor, cosine: Tensor, hardness: float) -> Tensor:
    """Weights of the pairs, with those of false pairs multiplied by exp(hardness · cosine) and rescaled to sum to 1.

    The gradient is the limit of that with close false pairs sampled more often. With hardness 0, the AUC on unseen
    speakers is several points lower after the same number of steps.
    """
    false = (1 - genuine) * weight * torch.exp(hardness * cosine)
    return genuine * weight + false / false.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def pair_loss(cosine: Tensor, genuine: Tensor, weight: Tensor, role: NetworkRole, margin: float) -> Tensor:
    """Eq. 4 or Eq. 5 over all pairs of mesh and audio embeddings (unit vectors), given their cosines."""
    if role == "loss":
        return cosine_bce_loss(cosine, genuine, weight=weight)
    distance = (
        (2 - 2 * cosine).clamp(min=1e-8).sqrt()
    )  # between unit vectors; the clamp keeps the gradient of the square root finite
    return margin_loss(distance, genuine, margin=margin, weight=weight)


def restyle(motion: Tensor, recipe: SyncNet3DTraining) -> Tensor:
    """Augment mode weights (N, W, modes) of a clip as if another speaker moved: scale each mode and add noise."""
    stretch = torch.exp(recipe.style * torch.randn(motion.shape[-1], device=motion.device))
    return motion * stretch + recipe.noise * torch.randn_like(motion)


def revoice(mel: Tensor, mean: Tensor, recipe: SyncNet3DTraining) -> Tensor:
    """Augment mel windows (N, 80, 16) of a clip as if another voice spoke: stretch frequencies and mask some bands."""
    bands, device = mel.shape[1], mel.device
    band = torch.arange(bands, device=device)
    source = (band * torch.exp(recipe.pitch * torch.randn((), device=device))).clamp(max=bands - 1)
    low = source.long()
    share = (source - low)[:, None]
    mel = mel.index_select(1, low).lerp(mel.index_select(1, (low + 1).clamp(max=bands - 1)), share)
    first = torch.randint(0, bands, (len(mel), 1), device=device)
    last = first + torch.randint(0, recipe.masked_bands + 1, (len(mel), 1), device=device)
    return torch.where(((band >= first) & (band < last))[..., None], mean, mel)


@torch.no_grad()
def refuse_collapse(
    corpus: Corpus, model: SyncNet3D, clips: Sequence[Windows], history: Sequence[dict[str, float]], role: NetworkRole
) -> None:
    """Refuse a network that has collapsed: all windows have the same embedding, or the loss is at chance level."""
    if len(history) < COLLAPSE_STEPS:
        return
    last = float(np.mean([row["loss"] for row in history[-len(history) // 10 :]]))
    fix = "Train longer, with a lower learning rate or more windows per step (params.yaml: syncnet3d)."
    if role == "loss" and abs(last - CHANCE) < 0.005:
        raise BadInput(
            f"syncnet3d {role}",
            expected="a loss below chance level, 0.693",
            found=f"{last:.4f}: it collapsed",
            fix=fix,
        )
    longest = max(clips, key=lambda windows: len(windows.mel))
    spread = min(
        float(model.embed_mesh(mouth_displacement(corpus, longest.clip)[None])[0].std(0).norm()),
        float(model.embed_audio(longest.mel).std(0).norm()),
    )
    if spread < 0.02:
        raise BadInput(
            f"syncnet3d {role}",
            expected="embeddings that differ between windows",
            found=f"a spread of {spread:.4f} on unit vectors: it collapsed",
            fix=fix,
        )
