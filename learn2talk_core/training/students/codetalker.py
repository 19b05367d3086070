"""Training of CodeTalker: stage 1, its codec, and stage 2, speech to codes by teacher forcing (Xing et al. 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.students.codetalker.codec import (
    CodecShape,
    MotionCodec,
    load_codec,
    save_codec,
    straight_through,
)
from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.run.device import device_of, run_device, sent
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import (
    BatchOutput,
    ExtraTerm,
    encoded,
    frozen_features,
    motion_unit,
    style_one_hots,
    train_student,
    true_displacement,
)

DECAY = 0.01  # weight decay of stage 1 (AdamW's default, which CodeTalker's code uses)


@dataclass(frozen=True)
class CodecRecipe:
    """The codec and its optimisation: group `codetalker.prior` of params.yaml."""

    width: int
    layers: int  # of encoder and of decoder
    heads: int
    hidden: int
    codes: int  # per frame
    code_width: int
    entries: int  # of the codebook
    start: Literal["features", "uniform"]  # initial codebook
    code_weight: float  # of the two losses that pull features and codes together
    commitment: float  # weight of the features' part of it
    steps: int
    batch: int  # clips
    learning_rate: float


@dataclass(frozen=True)
class CodeTalkerRecipe:
    """The network and its optimisation: group `codetalker` of params.yaml."""

    prior: CodecRecipe
    width: int
    layers: int
    heads: int
    dropout: float
    past_dropout: float  # share of the earlier frames that teacher forcing replaces by the face at rest
    feature_weight: float  # of the distance between features and true codes, relative to that of motion in its own unit
    vertex_stride: int
    steps: int
    batch: int  # clips, in each process
    learning_rate: float
    encoder_learning_rate: float  # of the speech encoder's transformer


NetworkRecipe = CodeTalkerRecipe  # the name by which stages find the recipe of any network


def train_motion_prior(
    corpus: Corpus,
    encoder: SpeechEncoder,
    clips: Sequence[Clip],
    recipe: CodecRecipe,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
) -> tuple[MotionCodec, list[dict[str, float]]]:
    """Train the codec on the motion of `clips`, without sound: `encoder`, which other priors hear through, is not used.

    The loss is the absolute error of the motion, plus `code_weight` times the squared distance of codes from features
    and `commitment` times that of features from codes (CodeTalker, Eq. 3).

    Returns:
        The codec, on the CPU and in the corpus's unit, and one row of losses per step, with the perplexity of the
        codes: how many of them are used.
    """
    seed_torch(seed, "motion prior", "weights")
    shape = CodecShape(
        len(corpus.topology.colours), recipe.width, recipe.layers, recipe.heads, recipe.hidden,
        recipe.codes, recipe.code_width, recipe.entries, projected=True,
    )  # fmt: skip
    codec = MotionCodec(shape)
    unit, _ = motion_unit(corpus, clips)
    if recipe.start == "features":
        start_from_features(codec, corpus, clips, unit, seed)
    codec.to(run_device())
    optimizer = torch.optim.AdamW(codec.parameters(), weight_decay=DECAY)
    codec.train()

    def step(index: int) -> dict[str, Tensor]:
        chosen = _drawn(clips, recipe.batch, seed, index)
        loss, row = codec_loss(codec, corpus, chosen, unit, recipe.code_weight, recipe.commitment)
        update(loss, optimizer, learning_rate=warmup_cosine(index, recipe.steps, recipe.learning_rate))
        return row

    state: dict[str, Any] = {"codec": codec, "optimizer": optimizer}
    history = train(step, state, steps=recipe.steps, seed=seed, scratch=scratch, description=description)
    codec.cpu().scale_motion(unit)
    codec.eval()
    return codec, history


def save_motion_prior(folder: str | Path, prior: MotionCodec, corpus: Corpus) -> None:
    """Write a codec that was trained on `corpus`."""
    save_codec(folder, prior, recipe=corpus.recipe)


def load_motion_prior(folder: str | Path, corpus: Corpus) -> MotionCodec:
    """The frozen codec in `folder`; one for another corpus is refused."""
    return load_codec(folder, corpus.recipe, len(corpus.topology.colours))


def _drawn(clips: Sequence[Clip], batch: int, seed: int, index: int) -> list[Clip]:
    rng = generator(seed, "motion prior", index)
    return [clips[i] for i in rng.choice(len(clips), min(batch, len(clips)), replace=False)]


def codec_loss(
    codec: MotionCodec, corpus: Corpus, chosen: Sequence[Clip], unit: float, code_weight: float, commitment: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of stage 1 on a padded batch of clips, and the values to log."""
    lengths, device = [clip.frames for clip in chosen], device_of(codec)
    truth, _ = true_displacement(corpus, chosen, max(lengths), slice(None), unit, device)
    real = sent(real_frames(lengths), device)
    coded = codec.encode(truth, lengths)
    shown = F.linear(codec.decode(straight_through(coded), lengths), *codec.affine_map())
    motion = (shown - truth).flatten(0, 1)[real].abs().mean()
    features, codes, numbers = (part.flatten(0, 1)[real] for part in coded)
    book = F.mse_loss(codes, features.detach())
    loss = motion + code_weight * (book + commitment * F.mse_loss(features, codes.detach()))
    perplexity = code_perplexity(numbers, codec.shape.entries)
    values = {"loss": loss, "motion": motion, "codebook": book, "perplexity": perplexity}
    return loss, {name: value.detach() for name, value in values.items()}


def code_perplexity(numbers: Tensor, entries: int) -> Tensor:
    """How many of the codebook's `entries` are used, as if all that are used were used alike: the exponential of the
    entropy of the codes' `numbers`, of any shape."""
    drawn = numbers.flatten()
    counts = drawn.new_zeros(entries).scatter_add_(0, drawn, torch.ones_like(drawn))
    used = counts / len(drawn)
    return (-(used * (used + 1e-10).log()).sum()).exp()


def real_frames(lengths: Sequence[int]) -> Tensor:
    """Places of the frames that are not padding in a flattened batch (B · T): clips of these lengths, padded to T."""
    return torch.cat([row * max(lengths) + torch.arange(length) for row, length in enumerate(lengths)])


@torch.no_grad()
def start_from_features(codec: MotionCodec, corpus: Corpus, clips: Sequence[Clip], unit: float, seed: int) -> None:
    """Set the codebook to features of some clips as the untrained encoder sees them, so that all codes are used."""
    chosen = _drawn(clips, 8, seed, -1)
    lengths = [clip.frames for clip in chosen]
    truth, mask = true_displacement(corpus, chosen, max(lengths), slice(None), unit, device_of(codec))
    features = codec.encode(truth, lengths).features[mask].flatten(0, 1)
    picked = generator(seed, "codebook").choice(len(features), codec.shape.entries, len(features) < codec.shape.entries)
    codec.quantize.embedding.weight.copy_(features[torch.from_numpy(picked)])


def train_network(
    corpus: Corpus,
    encoder: SpeechEncoder,
    clips: Sequence[Clip],
    recipe: CodeTalkerRecipe,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
    prior: MotionCodec,
    extra: Sequence[tuple[str, float, ExtraTerm]] = (),
    balanced: bool = True,
) -> tuple[CodeTalker, list[dict[str, float]]]:
    """Train stage 2 on the distance of the motion (L_motion) and of the features from the true codes (L_reg), and on
    `extra`, whose gradient passes the quantisation as if it were not there.

    Args:
        corpus, encoder, clips, seed, scratch, description, extra, balanced: see `faceformer.train_network`.
        recipe: network and optimisation.
        prior: the codec, in the corpus's unit; it becomes part of the model.

    Returns:
        The model, on the CPU and in the corpus's unit, and one row of loss values per step.
    """
    unit, _ = motion_unit(corpus, clips)
    prior.scale_motion(1 / unit)
    seed_torch(seed, "student", "weights")
    model = CodeTalker(
        prior, len(corpus.train_speakers), audio_encoder=encoder, width=recipe.width, layers=recipe.layers,
        heads=recipe.heads, dropout=recipe.dropout, period=round(corpus.fps),
    )  # fmt: skip
    encoder.freeze()
    model.to(device := run_device())
    features = frozen_features(corpus, encoder, clips)

    def speak(chosen: Sequence[Clip]) -> BatchOutput:
        lengths = [clip.frames for clip in chosen]
        truth, _ = true_displacement(corpus, chosen, max(lengths), slice(None), unit, device)
        real = sent(real_frames(lengths), device)
        audio = encoded(encoder, features, chosen)
        past = dropped_frames(truth, recipe.past_dropout)
        coded = model.teacher_forced(audio, style_one_hots(corpus, chosen, device), past)
        with torch.no_grad():
            wanted = prior.encode(truth, lengths).quantised
        distance = F.mse_loss(coded.features.flatten(0, 1)[real], wanted.flatten(0, 1)[real])
        return BatchOutput(model.visible(coded, lengths), [("features", recipe.feature_weight, unit**2 * distance)])

    history = train_student(
        model, speak, corpus, clips, codetalker_groups(model, recipe),
        unit=unit, form="mean", stride=recipe.vertex_stride, steps=recipe.steps, batch=recipe.batch,
        seed=seed, scratch=scratch, description=description, extra=extra, balanced=balanced,
    )  # fmt: skip
    model.cpu().scale_motion(unit)
    model.eval()
    return model, history


def dropped_frames(truth: Tensor, share: float) -> Tensor:
    """True displacements (B, T, 3V) of which a random `share` of the frames is replaced by the face at rest.

    Teacher forcing lets the network copy the frame before instead of listening, but in use that frame is its own. The
    published recipe has no such dropout; docs/networks.md compares.
    """
    if share == 0:
        return truth
    return truth * (torch.rand(*truth.shape[:2], 1, device=truth.device) >= share)


def codetalker_groups(model: CodeTalker, recipe: CodeTalkerRecipe) -> list[dict[str, Any]]:
    """Parameters with their peak learning rates; the input map's is divided by √(3V), as for FaceFormer. The codec and
    what is frozen of the speech encoder are in no group."""
    encoder, wide = model.audio_encoder, model.vertice_map
    apart = {id(p) for part in (encoder, wide, model.autoencoder) for p in part.parameters()}
    return [
        {"params": [p for p in model.parameters() if id(p) not in apart], "peak": recipe.learning_rate},
        {"params": list(wide.parameters()), "peak": recipe.learning_rate / wide.in_features**0.5},
        {"params": [p for p in encoder.parameters() if p.requires_grad], "peak": recipe.encoder_learning_rate},
    ]
