"""Training of MeshTalk in two stages: the latent space (`train_motion_prior`), then the context model.

Latent space (MeshTalk, Sect. 3.1): the motion is encoded together with its sound and decoded again. The
modality-crossing loss (Eq. 4) exchanges one of the two inputs by that of another clip: with the right sound and a
foreign expression the mouth must be right, with the right expression and foreign sound the upper face. It needs two
clips in a batch or more.
MeshTalk's third loss, on key points of the eyes, is left out: a corpus here has none.

Context model (Sect. 3.2): cross-entropy of the classes of the latent space, which the frozen encoder chooses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.losses.vertex import vertex_loss
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.students.meshtalk.network import (
    SLOPE,
    WIDTH,
    MeshTalk,
    MeshTalkShape,
    gumbel_noise,
    one_hot_classes,
)
from learn2talk_core.models.students.student import load_as, save_student
from learn2talk_core.run.device import run_device, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import BatchOutput, ExtraTerm, motion_unit, train_student, true_displacement

SMALLEST_DEVIATION = 0.05  # of a vertex, as a share of the root mean square: vertices that hardly move stay in scale


@dataclass(frozen=True)
class LatentRecipe:
    """The latent space and its optimisation: group `meshtalk.prior` of params.yaml."""

    hears: Literal["features", "mel"]  # the speech encoder's hidden states, or the mel spectrogram as in MeshTalk
    heads: int  # categorical variables per frame
    classes: int  # of each of them
    frames: int  # length of the random window of a clip
    vertex_stride: int  # the reconstruction is compared on every `vertex_stride`-th vertex; 1: all
    crossing: float  # weight of the modality-crossing loss
    steps: int
    batch: int  # windows, at least 2
    learning_rate: float
    weight_decay: float  # of the decoder


@dataclass(frozen=True)
class MeshTalkRecipe:
    """The context model and its optimisation: group `meshtalk` of params.yaml."""

    prior: LatentRecipe
    smoothing: bool  # smooth the predicted motion of the upper face
    vertex_stride: int  # the vertex loss is evaluated on every `vertex_stride`-th vertex; 1: all
    steps: int
    batch: int  # clips, in each process
    learning_rate: float


NetworkRecipe = MeshTalkRecipe  # the name by which stages find the recipe of any network


class LatentWindows(NamedTuple):
    """A batch of windows: faces at rest (B, V, 3) and vertices (B, T, V, 3) in `unit`s, and audio codes (B, T, 128)."""

    template: Tensor
    meshes: Tensor
    audio: Tensor


def train_motion_prior(
    corpus: Corpus,
    encoder: SpeechEncoder,
    clips: Sequence[Clip],
    recipe: LatentRecipe,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
) -> tuple[MeshTalk, list[dict[str, float]]]:
    """Train the latent space: audio encoder, expression encoder and decoder.

    The speech `encoder` stays as it is; with `hears: mel` it is not used.

    Returns:
        A MeshTalk on the CPU and in the corpus's unit, whose context model is still untrained, and one row of loss
        values per step.

    Raises:
        BadInput: a batch of one window, or clips that are too few for a batch of two.
    """
    if min(recipe.batch, len(clips)) < 2:
        raise BadInput(
            "modality-crossing loss",
            expected="two windows of different clips in a batch or more",
            found=f"a batch of {recipe.batch} from {len(clips)} clips",
            fix="Use a larger batch.",
        )
    seed_torch(seed, "motion prior", "weights")
    shape = MeshTalkShape(len(corpus.topology.colours), recipe.heads, recipe.classes)
    ears = encoder.eval() if recipe.hears == "features" else None
    model = MeshTalk(shape, len(corpus.train_speakers), speech_encoder=ears)
    start_responsive(model)
    unit, _ = motion_unit(corpus, clips)
    model.normalise_by(*position_statistics(corpus, clips, unit))
    upper = torch.from_numpy(corpus.topology.regions["upper_face"])
    mouth = torch.from_numpy(corpus.topology.regions["mouth"])
    with torch.no_grad():
        model.masks[0, upper] = 1.0
    model.to(device := run_device())
    upper, mouth = sent(upper, device), sent(mouth, device)
    heard = {
        clip.id: model.heard(corpus.audio(clip), clip.frames, corpus.fps)
        for clip in progress(clips, "speech features", unit="clip")
    }
    optimizer = torch.optim.AdamW(latent_groups(model, recipe), fused=device.type == "cpu" or None)
    frames = min(recipe.frames, *(clip.frames for clip in clips))
    model.train()

    def step(index: int) -> dict[str, Tensor]:
        rng = generator(seed, "motion prior", index)
        size = min(recipe.batch, len(clips))
        chosen = [clips[i] for i in rng.choice(len(clips), size, replace=False)]
        starts = [int(rng.integers(clip.frames - frames + 1)) for clip in chosen]
        batch = latent_windows(corpus, model, heard, chosen, starts, frames, unit)
        shift = 1 + int(rng.integers(size - 1))
        first = int(rng.integers(recipe.vertex_stride))
        picked = torch.arange(first, shape.vertices, recipe.vertex_stride, device=device)
        terms = latent_losses(model, batch, picked, mouth, upper, shift)
        loss = terms["reconstruction"] + recipe.crossing * terms["crossing"]
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * warmup_cosine(index, recipe.steps, 1.0)
        update(loss, optimizer, clip=1.0)
        return {"loss": loss.detach(), **{name: value.detach() for name, value in terms.items()}}

    history = train(
        step, {"model": model, "optimizer": optimizer}, steps=recipe.steps, seed=seed, scratch=scratch,
        description=description,
    )  # fmt: skip
    model.cpu().scale_motion(unit)
    model.eval()
    return model, history


@torch.no_grad()
def start_responsive(model: MeshTalk) -> None:
    """Initial weights with which the decoder's output depends on the classes.

    Torch's own weights damp what passes them: at the start a change of all classes moves the output by less than a
    hundredth of its size, and the gradient that the encoder gets is below the constant in Adam's denominator. The
    published training takes 50,000 steps. Here layers keep the size of what they are given (He et al. 2015), except
    that motion begins small and hardly depends on the face at rest, which the few speakers of a corpus cannot teach.
    """
    expression, fusion, decoder = model.encoder.expression_encoder, model.encoder.fusion_model, model.vertex_unet
    for part in (expression, fusion, decoder):
        for module in part.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LSTM):
                for name, parameter in module.named_parameters():
                    if name.startswith("bias"):
                        nn.init.zeros_(parameter)
                    else:  # gates at ½ and tanh shrink what is new, not what is kept
                        nn.init.xavier_normal_(parameter, gain=3.0 if "ih" in name else 1.0)
    classes = decoder.fusion.weight[:, WIDTH:]  # one of each variable is 1
    nn.init.normal_(classes, std=model.shape.heads**-0.5)
    for layer, scale in ((decoder.encoder[0], 0.05), (decoder.decoder[2], 0.3)):
        next(layer.parameters()).mul_(scale)  # its weight


def latent_groups(model: MeshTalk, recipe: LatentRecipe) -> list[dict[str, Any]]:
    """Each parameter with its learning rate and weight decay.

    The rates of the two layers that see all vertices are divided by √(3V), as for FaceFormer: Adam moves each of their
    3V weights alike, whatever the gradient.
    """
    wide = {id(layer.weight) for layer in (model.encoder.expression_encoder.layers[0], model.vertex_unet.encoder[0])}
    groups = []
    for part, decay in ((model.vertex_unet, recipe.weight_decay), (model.encoder, 0.0)):
        for weight in part.parameters():
            peak = recipe.learning_rate / (weight.shape[1] ** 0.5 if id(weight) in wide else 1.0)
            groups.append({"params": [weight], "lr": peak, "peak": peak, "weight_decay": decay})
    return groups


def save_motion_prior(folder: str | Path, prior: MeshTalk, corpus: Corpus) -> None:
    """Write a latent space into an existing folder."""
    save_student(folder, prior, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe)


def load_motion_prior(folder: str | Path, corpus: Corpus) -> MeshTalk:
    """The latent space in a folder; refused if it was made for another corpus."""
    return load_as(MeshTalk, folder, made_by="dvc repro motion_prior@meshtalk", recipe=corpus.recipe)[0]


def position_statistics(corpus: Corpus, clips: Sequence[Clip], unit: float, frames: int = 800) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (V, 3) of the vertices' positions in `unit`s, from about `frames` frames."""
    every = max(1, sum(clip.frames for clip in clips) // frames)
    sample = np.concatenate([corpus.vertices(c, frames=slice(i % every, None, every)) for i, c in enumerate(clips)])
    sample = sample.astype(np.float64) / unit
    mean, deviation = sample.mean(0), sample.std(0)
    smallest = SMALLEST_DEVIATION * np.sqrt(np.mean(deviation**2))
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation.clip(min=smallest)).float()


def latent_windows(
    corpus: Corpus,
    model: MeshTalk,
    heard: dict[str, Tensor],
    clips: Sequence[Clip],
    starts: Sequence[int],
    frames: int,
    unit: float,
) -> LatentWindows:
    """The window of `frames` frames of each clip that begins at its start; `heard` is `MeshTalk.heard` by clip id."""
    audio = torch.stack(
        [model.window_codes(heard[clip.id], at, frames, corpus.fps) for clip, at in zip(clips, starts, strict=True)]
    )
    meshes = np.stack([corpus.vertices(c, frames=slice(s, s + frames)) for c, s in zip(clips, starts, strict=True)])
    rest = np.stack([corpus.template(clip.speaker) for clip in clips])
    template, moving = (
        sent(torch.from_numpy(np.asarray(x, np.float32) / np.float32(unit)), audio.device) for x in (rest, meshes)
    )
    return LatentWindows(template, moving, audio)


def latent_losses(
    model: MeshTalk, batch: LatentWindows, picked: Tensor, mouth: Tensor, upper: Tensor, shift: int
) -> dict[str, Tensor]:
    """Reconstruction and modality-crossing loss (MeshTalk, Eq. 3 and 4), mean squared coordinates.

    Args:
        model: in training mode its classes are drawn, with Gumbel noise.
        batch: windows of different clips.
        picked: vertices of the reconstruction loss.
        mouth, upper: vertices that the sound, or the expression, must determine.
        shift: the clip that lends its expression or sound is this many rows further on.
    """
    truth = batch.meshes - batch.template[:, None]
    expression = model.encoder.expression_encoder(batch.meshes)

    def error(expression: Tensor, audio: Tensor, region: Tensor) -> Tensor:
        logprobs = model.encoder.fusion_model(expression, audio)
        noise = gumbel_noise(logprobs.shape, device=logprobs.device) if model.training else None
        one_hot = one_hot_classes(logprobs, noise)
        hidden = model.vertex_unet.hidden(batch.template, one_hot)
        return (model.vertex_unet.moved(hidden, region) - truth[:, :, region]).square().mean()

    return {
        "reconstruction": error(expression, batch.audio, picked),
        "crossing": error(expression.roll(shift, 0), batch.audio, mouth)
        + error(expression, batch.audio.roll(shift, 0), upper),
    }


def train_network(
    corpus: Corpus,
    encoder: SpeechEncoder,
    clips: Sequence[Clip],
    recipe: MeshTalkRecipe,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
    prior: MeshTalk,
    extra: Sequence[tuple[str, float, ExtraTerm]] = (),
    balanced: bool = True,
) -> tuple[MeshTalk, list[dict[str, float]]]:
    """Train the context model on the classes of a trained latent space.

    With `extra` terms, classes are drawn from the context model and decoded, with a straight-through gradient, and the
    vertex loss is added: the lambdas are shares of its gradient. Without them it is only measured.

    Args:
        corpus: the corpus of `clips`.
        encoder: not used; the latent space has the one that it was trained with, if it has one.
        clips: training clips.
        recipe: optimisation.
        seed: seed of weights, batches and drawn classes.
        prior: the latent space, from `train_motion_prior`; it is not changed.
        scratch, description, extra, balanced: see `train_student`.

    Returns:
        The model, on the CPU and in the corpus's unit, and one row of loss values per step.
    """
    seed_torch(seed, "student", "weights")
    model = MeshTalk.from_settings(
        {**prior.settings(), "style_count": len(corpus.train_speakers), "smoothing": recipe.smoothing}
    )
    fresh = {key: value for key, value in model.state_dict().items() if key.startswith("context_model.")}
    model.load_state_dict({**prior.state_dict(), **fresh})
    for part in (model.encoder, model.vertex_unet):
        part.requires_grad_(False)
    unit, _ = motion_unit(corpus, clips)
    model.scale_motion(1 / unit)
    model.eval()
    model.to(device := run_device())
    codes = {clip.id: latent_codes(corpus, model, clip, unit) for clip in progress(clips, "latent codes", unit="clip")}
    wanted = any(weight for _, weight, _ in extra)
    power = unit**2  # the step divides by it: the cross-entropy is in no unit

    def speak(chosen: Sequence[Clip]) -> BatchOutput:
        audio = nn.utils.rnn.pad_sequence([codes[clip.id][0] for clip in chosen], batch_first=True)
        labels = nn.utils.rnn.pad_sequence([codes[clip.id][1] for clip in chosen], batch_first=True, padding_value=-1)
        logprobs = model.context_model(labels.clamp(min=0), audio)
        entropy = F.nll_loss(logprobs.flatten(0, 2), labels.flatten(), ignore_index=-1)
        template = sent(torch.from_numpy(np.stack([corpus.template(c.speaker) for c in chosen])).float(), device) / unit
        own: list[tuple[str, float, Tensor]] = [("cross_entropy", power, entropy)]
        with torch.set_grad_enabled(wanted):
            drawn = one_hot_classes(logprobs, gumbel_noise(logprobs.shape, device=device))
            states = model.vertex_unet.hidden(template, drawn)
            if not wanted:
                own.append(("vertex", 0.0, power * measured(corpus, model, states, chosen, recipe.vertex_stride, unit)))
        return BatchOutput(states, own)

    history = train_student(
        model, speak, corpus, clips, [{"params": [*model.context_model.parameters()], "peak": recipe.learning_rate}],
        unit=unit, form="mean", stride=recipe.vertex_stride, steps=recipe.steps, batch=recipe.batch, seed=seed,
        scratch=scratch, description=description, extra=extra, balanced=balanced, vertex=1.0 if wanted else 0.0,
    )  # fmt: skip
    model.cpu().scale_motion(unit)
    model.eval()
    return model, history


@torch.no_grad()
def latent_codes(corpus: Corpus, model: MeshTalk, clip: Clip, unit: float) -> tuple[Tensor, Tensor]:
    """Audio codes (T, 128) of a clip, and its most probable classes (T, heads)."""
    audio = model.audio_codes(corpus.audio(clip), clip.frames, corpus.fps)
    meshes = sent(torch.from_numpy(np.asarray(corpus.vertices(clip), np.float32) / np.float32(unit)), audio.device)
    expression = model.encoder.expression_encoder(meshes[None])
    return audio, model.encoder.fusion_model(expression, audio[None])[0].argmax(-1)


def measured(
    corpus: Corpus, model: MeshTalk, states: Tensor, chosen: Sequence[Clip], stride: int, unit: float
) -> Tensor:
    """The vertex loss in `unit`s² of the decoded classes, on every `stride`-th vertex."""
    picked = slice(None, None, stride)
    truth, mask = true_displacement(corpus, chosen, states.shape[1], picked, unit, states.device)
    region = torch.arange(model.vertex_count, device=states.device)[picked]
    return vertex_loss(model.displacement(states, region).flatten(2), truth, mask)
