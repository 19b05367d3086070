"""Training of the 2D teacher, Wav2Lip (Prajwal et al. 2020, "A Lip Sync Expert Is All You Need"): batches and losses.

Equation numbers are those of that paper. Faces are RGB in 0..1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from learn2talk_core.losses.lipread import lipread_loss
from learn2talk_core.models.lipreader import CROP, LipReader
from learn2talk_core.models.quality_discriminator import QualityDiscriminator
from learn2talk_core.models.sync_expert2d import FRAMES, SyncExpert2D, lower_halves
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, heard_at, masked, scaled, to_tensor
from learn2talk_core.run import processes
from learn2talk_core.run.device import run_device, sent
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.run.weights import frozen
from learn2talk_core.training.loop import Stateful, made_ahead, train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.speaking_face import SpeakingFace
from learn2talk_core.video.talking_video import MOUTH_SIZE

LISTEN_AT = (-1, 0, 1)  # frames (of 40 ms) relative to a window's own, whose lip motion is predicted from the window
LISTEN_CLIPS, LISTEN_WINDOWS = 32, 8  # clips per step, and windows of each
GAINS = tuple(round(1 + 0.1 * step, 1) for step in range(7))  # to 1.6: more distorts the lips
MOTIONS = 32  # principal components of the lips' motion that the audio encoder learns to predict
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as `talking_video.grey` weights them
LIPS_SIDE = 20  # side in pixels to which the lips' box is scaled for that


@dataclass(frozen=True)
class ExpertTraining:
    """How the sync expert is trained.

    Attributes:
        width: factor on the official numbers of channels.
        steps: number of updates.
        clips: clips per update.
        windows: windows of each clip, at least two.
        learning_rate: Adam's peak learning rate.
    """

    width: float
    steps: int
    clips: int
    windows: int
    learning_rate: float


@dataclass(frozen=True)
class GeneratorTraining:
    """How the generator is trained.

    Attributes:
        width, steps, learning_rate: see `ExpertTraining`.
        audio_width: see `Wav2Lip`.
        audio_steps, audio_learning_rate: updates in which the audio encoder learns to predict the lips' motion before
            the generator is trained, and Adam's learning rate for them.
        batch: windows of five frames per update; before the sync loss begins, five times as many single frames.
        residual: see `Wav2Lip`.
        lead: see `Inputs`.
        amplitude: how far the lips move in one-shot videos of held-out films, as a share of those films; the smallest
            of `GAINS` that reaches it is taken.
        still_share: see `generator_batch`.
        lip_weight: see `generator_loss`.
        sync_weight: s_w of Eq. 6 after the fraction `sync_start` of the steps; 0 before.
        sync_start: in 0..1.
        adversarial_weight: s_g of Eq. 6; 0 trains without a discriminator.
        reading_steps, reading_learning_rate: updates of `train_reading`, and Adam's peak learning rate for them.
        reading_weight: weight of `reading_loss` in them.
        reading_frames: length of the windows that are generated in them, in frames.
    """

    width: float
    audio_width: float
    audio_steps: int
    audio_learning_rate: float
    steps: int
    batch: int
    learning_rate: float
    residual: bool
    lead: int
    amplitude: float
    still_share: float
    lip_weight: float
    sync_weight: float
    sync_start: float
    adversarial_weight: float
    reading_steps: int
    reading_learning_rate: float
    reading_weight: float
    reading_frames: int


def expert_batch(
    clips: Sequence[SpeakingFace], count: int, windows: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of five frames that do not overlap, several from each of some clips, with their own audio.

    Args:
        clips: the clips to choose from.
        count: number of clips.
        windows: number of windows from each; a shorter clip gives some of its windows twice.
        rng: makes all random choices.

    Returns:
        mel windows (count · windows, 1, 80, 16) and lower half-faces (count · windows, 15, 48, 96), clip after clip.
    """
    mels, faces = [], []
    for _ in range(count):
        clip = clips[int(rng.integers(len(clips)))]
        apart = np.arange(rng.integers(min(FRAMES, clip.windows)), clip.windows, FRAMES)
        starts = rng.permutation(np.resize(rng.permutation(apart), windows))
        mirror = slice(None, None, -1 if rng.random() < 0.5 else 1)  # a mirrored face is a valid example too
        mels.append(clip.mel_at(starts))
        moving = clip.faces[starts[:, None] + np.arange(FRAMES)] - clip.mean_face
        faces.append(moving[:, :, :, mirror].astype(np.float32) / 255)
    stacked = torch.from_numpy(np.concatenate(faces)).permute(0, 4, 1, 2, 3)
    return torch.from_numpy(np.concatenate(mels)), lower_halves(stacked)


def expert_loss(expert: SyncExpert2D, mels: torch.Tensor, faces: torch.Tensor, windows: int) -> torch.Tensor:
    """Binary cross-entropy on P_sync (Eq. 1) of every face window with every mel window of its clip.

    Wav2Lip draws one false window for each true one. Comparing each window with all others of its clip costs nothing
    more, because they are embedded anyway, and it is what makes a small training start to learn. True and false pairs
    have the same total weight.
    """
    audio, face = (embedding.unflatten(0, (-1, windows)) for embedding in expert(mels, faces))
    probability = (face @ audio.transpose(1, 2)).clamp(1e-6, 1 - 1e-6)  # cosines of unit vectors
    genuine = torch.eye(windows, dtype=torch.bool).expand(probability.shape).flatten()
    true, false = (sent(chosen.nonzero()[:, 0], probability.device) for chosen in (genuine, ~genuine))
    flat = probability.flatten()
    return -(flat[true].log().mean() + (1 - flat[false]).log().mean()) / 2


def expert_sync_probability(audio: torch.Tensor, face: torch.Tensor) -> torch.Tensor:
    """P_sync (Eq. 1): cosine of non-negative unit embeddings, (B, E) each → (B,) in 0..1."""
    return (audio * face).sum(dim=1).clamp(0, 1)


@dataclass(frozen=True)
class GeneratorBatch:
    """Windows of T frames for the generator.

    Attributes:
        heard: (B, T, 1, …), what the generator hears at every frame; see `heard_at`.
        mels: (B, 1, 80, 16), the mel window that begins at the first frame, which the sync expert compares with all T.
        faces: (B, 6, T, 96, 96), masked target and reference.
        target: (B, 3, T, 96, 96).
        near_lips: (B, 1, 1, 96, 96), 1 in the lips' box and below it, and 0 elsewhere.
        mean: (B, 3, 1, 96, 96), the clip's mean face; the sync expert sees the difference from it.
        mouths: (B, 4), the lip reader's mouth box (left, top, right, bottom) in pixels.
    """

    heard: torch.Tensor
    mels: torch.Tensor
    faces: torch.Tensor
    target: torch.Tensor
    near_lips: torch.Tensor
    mean: torch.Tensor
    mouths: torch.Tensor


def generator_batch(
    clips: Sequence[SpeakingFace],
    size: int,
    frames: int,
    rng: np.random.Generator,
    *,
    inputs: Inputs,
    still_share: float = 0.0,
) -> GeneratorBatch:
    """Windows of consecutive frames; the reference is one still frame from another time of the clip.

    Wav2Lip takes T reference frames, which move. Here the generator must animate a single still image, so it is trained
    on stills. A share of them is the clip's first frame, in which the mouth is closed because speech has not begun.

    Args:
        clips: the clips to choose from.
        size: number of windows.
        frames: T; a shorter clip's last frame is repeated.
        rng: makes all random choices.
        inputs: of the generator.
        still_share: share of windows whose reference is the clip's first frame.
    """
    mels, heard, targets, references, lips, means, mouths = [], [], [], [], [], [], []
    for _ in range(size):
        clip = clips[int(rng.integers(len(clips)))]
        start = int(rng.integers(max(1, len(clip.faces) - max(frames, FRAMES) + 1)))
        at = np.minimum(start + np.arange(frames), len(clip.faces) - 1)
        reference = 0 if rng.random() < still_share else elsewhere(start, clip.windows, rng)
        left, top, right, _ = clip.lips
        side = clip.faces.shape[2]
        near_lips = np.zeros((1, *clip.faces.shape[1:3], 1), np.float32)
        near_lips[:, top:, left:right] = 1  # and the chin, which moves with them
        mirror = slice(None, None, -1 if rng.random() < 0.5 else 1)  # a mirrored face is a valid example too
        heard.append(heard_at(clip.sound, at, inputs))
        mels.append(clip.mel_at(np.array([start]))[0])
        targets.append(clip.faces[at][:, :, mirror])
        references.append(np.broadcast_to(clip.faces[[reference], :, mirror], targets[-1].shape))
        lips.append(near_lips[:, :, mirror])
        means.append(clip.mean_face[None, :, mirror])
        west, north, east, south = clip.mouth
        mouths.append((west, north, east, south) if mirror.step > 0 else (side - east, north, side - west, south))
    target = to_tensor(np.stack(targets)).transpose(1, 2)
    still = to_tensor(np.stack(references)).transpose(1, 2)
    return GeneratorBatch(
        heard=torch.from_numpy(np.stack(heard)),
        mels=torch.from_numpy(np.stack(mels)),
        faces=torch.cat([masked(target), still], dim=1),
        target=target,
        near_lips=torch.from_numpy(np.stack(lips)).movedim(-1, 1),
        mean=to_tensor(np.stack(means)).transpose(1, 2),
        mouths=torch.tensor(mouths, dtype=torch.float32),
    )


def generator_loss(
    generated: torch.Tensor,
    batch: GeneratorBatch,
    expert: SyncExpert2D,
    discriminator: QualityDiscriminator | None,
    *,
    lip_weight: float,
    sync_weight: float,
    adversarial_weight: float,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """L_total = (1 − s_w − s_g) L_recon + s_w E_sync + s_g L_gen (Eq. 6).

    Args:
        generated: (B, 3, T, 96, 96).
        batch: the batch it was generated from; T must be 5 for the sync loss.
        expert: frozen.
        discriminator: None if `adversarial_weight` is 0.
        lip_weight: see `reconstruction_loss`.
        sync_weight: s_w; 0.03 in the paper, 0 until the generator has learned to draw faces.
        adversarial_weight: s_g; 0.07 in the paper.

    Returns:
        The loss and its parts for the log.
    """
    reconstruction = reconstruction_loss(generated, batch, lip_weight)
    loss = (1 - sync_weight - adversarial_weight) * reconstruction
    parts = {"reconstruction": reconstruction.detach()}
    if sync_weight > 0:
        audio, face = expert(batch.mels, expert.look(generated, batch.mean))
        out_of_sync = functional.binary_cross_entropy(  # E_sync = −log P_sync, Eq. 3
            expert_sync_probability(audio, face), torch.ones(len(audio), device=audio.device)
        )
        loss = loss + sync_weight * out_of_sync
        parts["sync"] = out_of_sync.detach()
    if discriminator is not None and adversarial_weight > 0:
        real = discriminator(generated)  # Eq. 4, in its non-saturating form
        adversarial = functional.binary_cross_entropy(real, torch.ones_like(real))
        loss = loss + adversarial_weight * adversarial
        parts["adversarial"] = adversarial.detach()
    return loss, {"loss": loss.detach(), **parts}


def reconstruction_loss(generated: torch.Tensor, batch: GeneratorBatch, lip_weight: float) -> torch.Tensor:
    """L_recon (Eq. 2) of the generated images (B, 3, T, 96, 96), and `lip_weight` times the squared differences near
    the lips.

    Where the sound does not determine the image, squared differences lead to the mean of the possible images, a
    half-open mouth. Absolute differences alone, as in the paper, lead to the median, a mouth that hardly opens.
    """
    difference = generated - batch.target
    return difference.abs().mean() + lip_weight * (batch.near_lips * difference.square()).mean()


def reading_loss(reader: LipReader, generated: torch.Tensor, batch: GeneratorBatch) -> torch.Tensor:
    """1 - cosine between a lip reader's features of the generated and of the true video, mean over frames.

    A lip reader that judges the generator while it is trained is TalkLip's idea (Wang et al. 2023, "Seeing What You
    Said"), whose loss is the reader's own, on the text. This form needs no text, and is that of Learn2Talk's Eq. 6.

    Args:
        reader: frozen.
        generated: (B, 3, T, 96, 96).
        batch: the batch it was generated from.
    """
    with torch.no_grad():
        true = reader.features(seen_mouths(batch.target, batch.mouths), "encoder")
    return lipread_loss(reader.features(seen_mouths(generated, batch.mouths), "encoder"), true)


def seen_mouths(faces: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Faces (B, 3, T, H, H) in 0..1 and the mouth boxes in them (B, 4), in pixels → grey mouths (B, T, 88, 88) for a
    lip reader, as `talking_video.crop` cuts them out of films. Outside the face, its edge is repeated."""
    side, inner = faces.shape[-1], CROP / MOUTH_SIZE
    luma = torch.einsum("bcthw,c->bthw", faces, sent(torch.tensor(LUMA), faces.device))
    (left, top, right, bottom), zero = boxes.T, torch.zeros_like(boxes[:, 0])
    across = torch.stack([inner * (right - left) / side, zero, (left + right) / side - 1], dim=1)
    down = torch.stack([zero, inner * (bottom - top) / side, (top + bottom) / side - 1], dim=1)
    grid = functional.affine_grid(torch.stack([across, down], dim=1), [len(luma), 1, CROP, CROP], align_corners=False)
    return functional.grid_sample(luma, grid, padding_mode="border", align_corners=False)


def discriminator_loss(
    discriminator: QualityDiscriminator, target: torch.Tensor, generated: torch.Tensor
) -> torch.Tensor:
    """L_disc (Eq. 5): real faces must be classified as real, generated ones as not real."""
    real, false = discriminator(target), discriminator(generated.detach())
    return functional.binary_cross_entropy(real, torch.ones_like(real)) + functional.binary_cross_entropy(
        false, torch.zeros_like(false)
    )


def elsewhere(start: int, windows: int, rng: np.random.Generator) -> int:
    """The start of a random window of the clip that shares no frame with the one at `start`. If the clip is too short
    for that, any other window; if there is no other, the same one."""
    starts = np.arange(windows)
    for distance in (FRAMES, 1, 0):
        others = starts[np.abs(starts - start) >= distance]
        if len(others):
            return int(rng.choice(others))
    raise ValueError("the clip has no window")


def train_expert(
    clips: Sequence[SpeakingFace], recipe: ExpertTraining, *, seed: int, scratch: Scratch
) -> tuple[SyncExpert2D, list[dict[str, float]]]:
    """Train the sync expert; returns it, on the CPU and in evaluation mode, and its training curve."""
    seed_torch(seed, "sync_expert2d")
    expert = SyncExpert2D(recipe.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    expert.to(device := run_device())
    optimizer = torch.optim.Adam(expert.parameters(), lr=recipe.learning_rate)

    def batch_of(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = generator(seed, "sync_expert2d", index, *processes.mark())
        mels, faces = expert_batch(clips, recipe.clips, recipe.windows, rng)
        return sent(mels, device), sent(faces.contiguous(memory_format=torch.channels_last), device)

    batches = made_ahead(batch_of)

    def step(index: int) -> dict[str, torch.Tensor]:
        mels, faces = batches(index)
        loss = expert_loss(expert, mels, faces, recipe.windows)
        update(loss, optimizer, learning_rate=warmup_cosine(index, recipe.steps, recipe.learning_rate))
        return {"loss": loss.detach()}

    state = {"expert": expert, "optimizer": optimizer}
    history = train(step, state, steps=recipe.steps, seed=seed, scratch=scratch, description="sync expert")
    return expert.cpu().eval(), history


def lip_motions(clips: Sequence[SpeakingFace]) -> list[np.ndarray]:
    """How the lips differ from those in their clip's first frame, (T, MOTIONS) float32 for each clip.

    The values are principal components, over all clips, of the pixel differences in the lips' box, in units of the
    first component's standard deviation.
    """
    covariance = np.zeros((3 * LIPS_SIDE**2,) * 2, np.float32)
    for clip in clips:
        moved = lip_differences(clip)
        covariance += moved.T @ moved
    covariance /= sum(len(clip.faces) for clip in clips)
    variances, components = np.linalg.eigh(covariance)
    basis = components[:, : -MOTIONS - 1 : -1] / np.sqrt(max(variances[-1], 1e-12))
    return [lip_differences(clip) @ basis for clip in clips]  # computed again: together they need gigabytes


def lip_differences(clip: SpeakingFace) -> np.ndarray:
    """(T, 1200) float32: the pixels in the lips' box, scaled to 20 x 20, minus those of the first frame."""
    left, top, right, bottom = clip.lips
    size = (LIPS_SIDE, LIPS_SIDE)
    lips = [cv2.resize(face[top:bottom, left:right], size, interpolation=cv2.INTER_AREA) for face in clip.faces]
    pixels = np.stack(lips).reshape(len(lips), -1).astype(np.float32)
    return pixels - pixels[0]


def listening_batch(
    clips: Sequence[SpeakingFace], motions: Sequence[np.ndarray], inputs: Inputs, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is heard at random frames, (N, 1, …), and the lips' motions (N, 3, MOTIONS) at the frames `LISTEN_AT`."""
    heard, moved = [], []
    for _ in range(LISTEN_CLIPS):
        index = int(rng.integers(len(clips)))
        at = rng.integers(len(motions[index]), size=LISTEN_WINDOWS)
        heard.append(heard_at(clips[index].sound, at, inputs))
        moved.append(motions[index][np.clip(at[:, None] + LISTEN_AT, 0, len(motions[index]) - 1)])
    return torch.from_numpy(np.concatenate(heard)), torch.from_numpy(np.concatenate(moved))


def train_audio_encoder(
    clips: Sequence[SpeakingFace], recipe: GeneratorTraining, *, seed: int, scratch: Scratch
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train an audio encoder of the generator's shape to predict lip motion by least squares; returns it and its curve.

    Wav2Lip's own encoder learns this through the generated images, over days. With `MOTIONS` numbers per frame instead
    of 27648, and no image to generate, it takes minutes.
    """
    seed_torch(seed, "wav2lip", "ears")
    inputs = inputs_of(clips, recipe)
    encoder = new_generator(inputs, recipe).audio_encoder
    head = nn.Linear(scaled(512, recipe.audio_width), len(LISTEN_AT) * MOTIONS)
    model = nn.Sequential(encoder, nn.Flatten(), head).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.to(device := run_device())
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.audio_learning_rate)
    motions = lip_motions(clips)

    def batch_of(index: int) -> list[torch.Tensor]:
        rng = generator(seed, "ears", index, *processes.mark())
        return [sent(part, device) for part in listening_batch(clips, motions, inputs, rng)]

    batches = made_ahead(batch_of)

    def step(index: int) -> dict[str, torch.Tensor]:
        heard, moved = batches(index)
        missed = (model(heard).view_as(moved) - moved).square().sum(dim=2).mean()
        update(missed, optimizer, learning_rate=warmup_cosine(index, recipe.audio_steps, recipe.audio_learning_rate))
        missed = missed.detach()
        return {"loss": missed, "explained": 1 - missed.double() / moved.square().sum(dim=2).mean().double()}

    state = {"model": model, "optimizer": optimizer}
    history = train(step, state, steps=recipe.audio_steps, seed=seed, scratch=scratch, description="audio encoder")
    return encoder.cpu(), history


def inputs_of(clips: Sequence[SpeakingFace], recipe: GeneratorTraining) -> Inputs:
    """Input format of a generator that is trained on `clips`."""
    states = clips[0].states
    return Inputs(lead=recipe.lead, states=0 if states is None else states.shape[1])


def new_generator(inputs: Inputs, recipe: GeneratorTraining) -> Wav2Lip:
    return Wav2Lip(recipe.width, audio_width=recipe.audio_width, states=inputs.states, residual=recipe.residual)


def train_generator(
    clips: Sequence[SpeakingFace],
    expert: SyncExpert2D,
    audio_encoder: nn.Module | None,
    recipe: GeneratorTraining,
    *,
    seed: int,
    scratch: Scratch,
) -> tuple[Wav2Lip, list[dict[str, float]]]:
    """Train the generator with `expert` frozen; returns it, on the CPU and in evaluation mode, and its training curve.

    It starts from `audio_encoder`, the result of `train_audio_encoder`, if given.
    """
    frozen(expert)
    seed_torch(seed, "wav2lip")
    inputs = inputs_of(clips, recipe)
    network = new_generator(inputs, recipe)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if audio_encoder is not None:
        network.audio_encoder.load_state_dict(audio_encoder.state_dict())
    for part in (network, expert):
        part.to(device := run_device())
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    state: dict[str, Stateful] = {"generator": network, "optimizer": optimizer}
    discriminator = None
    if recipe.adversarial_weight > 0:
        discriminator = QualityDiscriminator(recipe.width).to(device)
        opponent = torch.optim.Adam(discriminator.parameters(), lr=recipe.learning_rate, betas=(0.5, 0.999))
        state |= {"discriminator": discriminator, "opponent": opponent}

    def in_sync(index: int) -> bool:
        return recipe.sync_weight > 0 and index >= recipe.sync_start * recipe.steps

    def batch_of(index: int) -> GeneratorBatch:
        # Neighbouring frames hardly differ: until the sync loss needs windows, single frames teach more.
        frames = FRAMES if in_sync(index) else 1
        batch = generator_batch(
            clips,
            recipe.batch * FRAMES // frames,
            frames,
            generator(seed, "wav2lip", index, *processes.mark()),
            inputs=inputs,
            still_share=recipe.still_share,
        )
        return on_device(batch, device)

    batches = made_ahead(batch_of)

    def step(index: int) -> dict[str, torch.Tensor]:
        batch = batches(index)
        generated = network(batch.heard, batch.faces)
        loss, parts = generator_loss(
            generated,
            batch,
            expert,
            discriminator,
            lip_weight=recipe.lip_weight,
            sync_weight=recipe.sync_weight if in_sync(index) else 0.0,
            adversarial_weight=recipe.adversarial_weight,
        )
        rate = warmup_cosine(index, recipe.steps, recipe.learning_rate)
        update(loss, optimizer, learning_rate=rate)
        if discriminator is not None:
            told_apart = discriminator_loss(discriminator, batch.target, generated)
            update(told_apart, opponent, learning_rate=rate)
            parts["discriminator"] = told_apart.detach()
        return parts

    history = train(step, state, steps=recipe.steps, seed=seed, scratch=scratch, description="generator")
    expert.cpu()
    return network.cpu().eval(), history


def train_reading(
    clips: Sequence[SpeakingFace],
    network: Wav2Lip,
    reader: LipReader,
    recipe: GeneratorTraining,
    *,
    seed: int,
    scratch: Scratch,
) -> list[dict[str, float]]:
    """Train a generator on, with `reader` frozen, so that its lips can be read; returns the training curve.

    The loss is `reconstruction_loss` plus `reading_weight` times `reading_loss`, on few long windows: statistics of
    their few faces would harm the batch normalisations, which keep those that they have.
    """
    seed_torch(seed, "wav2lip", "reading")
    inputs, windows = inputs_of(clips, recipe), max(1, recipe.batch * FRAMES // recipe.reading_frames)
    frozen(reader)
    for part in (network, reader):
        part.to(device := run_device())
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.reading_learning_rate)

    def batch_of(index: int) -> GeneratorBatch:
        rng = generator(seed, "reading", index, *processes.mark())
        return on_device(
            generator_batch(clips, windows, recipe.reading_frames, rng, inputs=inputs, still_share=recipe.still_share),
            device,
        )

    batches = made_ahead(batch_of)

    def step(index: int) -> dict[str, torch.Tensor]:
        batch = batches(index)
        generated = network(batch.heard, batch.faces)
        reconstruction = reconstruction_loss(generated, batch, recipe.lip_weight)
        misread = reading_loss(reader, generated, batch)
        loss = reconstruction + recipe.reading_weight * misread
        rate = warmup_cosine(index, recipe.reading_steps, recipe.reading_learning_rate)
        update(loss, optimizer, learning_rate=rate)
        return {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "reading": misread.detach()}

    network.train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    state: dict[str, Stateful] = {"generator": network, "optimizer": optimizer}
    history = train(step, state, steps=recipe.reading_steps, seed=seed, scratch=scratch, description="legible lips")
    reader.cpu()
    network.cpu().eval()
    return history


def on_device(batch: GeneratorBatch, device: torch.device) -> GeneratorBatch:
    return GeneratorBatch(**{name: sent(part, device) for name, part in vars(batch).items()})
