"""Training of the student, a FaceFormer, on Eq. 8 of Learn2Talk; `training/teachers.py` has the terms besides L_vertex.

The speech encoder's TCN is frozen (paper, Sect. III-B), so its features are computed once a clip. The roll-out is
autoregressive with gradient, as FaceFormer's own code trains. All losses hang on the decoder's states: the map from
states to vertices is affine, so each term makes just the vertices that it looks at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.losses.total import GradientBalance, Term, overall_loss
from learn2talk_core.losses.vertex import vertex_loss
from learn2talk_core.models.speech_encoder import SpeechEncoder
from learn2talk_core.models.students.faceformer import FaceFormer
from learn2talk_core.models.students.student import audio_encoder, new_student, tcn_features
from learn2talk_core.run import processes
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch


@dataclass(frozen=True)
class Recipe:
    """The network and its optimisation: group `faceformer` of params.yaml, the same for baseline and student."""

    width: int  # d of the decoder
    dropout: float  # in the decoder
    start: Literal["pca", "zeros"]  # what vertice_map_r starts from
    vertex_loss: Literal["mean", "sum"]  # form of Eq. 3
    vertex_stride: int  # Eq. 3 is evaluated on every so many-th vertex, from a random first one; 1: all
    steps: int
    batch: int  # clips, of each process
    learning_rate: float  # of the decoder
    encoder_learning_rate: float  # of the speech encoder's transformer


@dataclass(frozen=True)
class SpokenClip:
    """A training clip with what never changes: TCN features (T, C) at the motion's frame rate."""

    clip: Clip
    features: Tensor
    style: int


class ExtraTerm(Protocol):
    """A loss besides the vertex loss, on the decoder's states h (B, T, d) of the clips of a step.

    `unit` is the length that the student's displacements are multiples of; `step` seeds what is random.
    """

    def __call__(
        self, student: FaceFormer, h: Tensor, clips: Sequence[SpokenClip], *, unit: float, step: int
    ) -> Tensor: ...


def spoken_clips(corpus: Corpus, encoder: SpeechEncoder, clips: Sequence[Clip], description: str) -> list[SpokenClip]:
    """Compute the frozen TCN's features of `clips`; the style is the speaker's place among the training speakers."""
    styles = {speaker: number for number, speaker in enumerate(corpus.train_speakers)}
    return [
        SpokenClip(clip, tcn_features(encoder, corpus.audio(clip), clip.frames, corpus.fps), styles[clip.speaker])
        for clip in progress(clips, description, unit="clip")
    ]


def motion_unit(corpus: Corpus, clips: Sequence[Clip], frames: int = 800) -> tuple[float, np.ndarray]:
    """The root mean square displacement of the training motion (corpus's unit), and a sample of it.

    Returns:
        The unit, and displacements (about `frames`, 3V) divided by it.
    """
    every = max(1, sum(clip.frames for clip in clips) // frames)
    sample = np.concatenate(
        [
            (corpus.vertices(clip, frames=slice(i % every, None, every)) - corpus.template(clip.speaker)).reshape(
                -1, corpus.template(clip.speaker).size
            )
            for i, clip in enumerate(clips)
        ]
    )
    unit = float(np.sqrt(np.mean(np.square(sample, dtype=np.float64))))
    if unit == 0:
        raise BadInput(
            corpus.folder,
            expected="motion in the training clips",
            found="none at all",
            fix="Check it: learn2talk check-corpus.",
        )
    return unit, sample / unit


def start_from_pca(model: FaceFormer, sample: np.ndarray) -> None:
    """Let the states be principal components: vertice_map_r = components · deviation, bias = the mean (VOCA's start).

    Args:
        sample: (N, 3V) displacements.
    """
    width = model.vertice_map_r.in_features
    mean = sample.mean(axis=0)
    centred = (sample - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(centred @ centred.T)  # N × N is smaller than 3V × 3V
    order = np.argsort(values)[::-1][:width]
    components = np.zeros((width, sample.shape[1]))
    # (u' X) / √λ is the component, √(λ / N) its deviation
    components[: len(order)] = (vectors[:, order].T @ centred) / np.sqrt(len(sample))
    # make the sign of a component a fact of the data and not of the linear algebra library
    largest = components[np.arange(width), np.abs(components).argmax(axis=1)]
    components = components * np.where(largest < 0, -1.0, 1.0)[:, None]
    with torch.no_grad():
        model.vertice_map_r.weight.copy_(torch.from_numpy(components.T))
        model.vertice_map_r.bias.copy_(torch.from_numpy(mean))


@torch.no_grad()
def fold_unit(model: FaceFormer, unit: float) -> None:
    """Turn a model that moves in `unit`s into one that moves in the corpus's unit; its states stay the same."""
    model.vertice_map_r.weight.mul_(unit)
    model.vertice_map_r.bias.mul_(unit)
    model.vertice_map.weight.div_(unit)


def train_student(
    corpus: Corpus,
    encoder: SpeechEncoder,
    clips: Sequence[SpokenClip],
    recipe: Recipe,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
    extra: Sequence[tuple[str, float, ExtraTerm]] = (),
    balanced: bool = True,
) -> tuple[FaceFormer, list[dict[str, float]]]:
    """Train a FaceFormer on Eq. 8. With no extra term (λ1 = λ2 = 0) it is FaceFormer as published.

    The network computes in units of the training motion's root mean square, so that the optimiser sees numbers near 1
    in whatever unit the corpus is; at the end the unit is folded into its weights.

    Several processes draw the clips that one with so many times the batch would, and share them out; each one's loss
    counts by its share of their frames. That makes the mean form of Eq. 3 the same but for rounding, and dropout, which
    each draws for itself. The sum form counts clips and Eq. 7 windows, so their means differ slightly; of Eq. 6 each
    process reads `lipread_clips`; and the balance averages the norms of the processes' gradients.

    Args:
        corpus: the corpus of `clips`.
        encoder: the pre-trained speech encoder; its TCN stays as it is, its transformer is trained.
        clips: training clips.
        recipe: network and optimisation.
        seed: of weights, batches, dropout.
        scratch: for checkpoints.
        description: label of the progress bar.
        extra: the other terms of Eq. 8: name, lambda, loss.
        balanced: read the lambdas as gradient shares (`balance: gradient`).

    Returns:
        The model, in the corpus's unit, and one row of loss values a step; `vertex` is in the corpus's unit squared
        for the mean form.
    """
    seed_torch(seed, "student", "weights")
    model = new_student(
        encoder, len(corpus.topology.colours), len(corpus.train_speakers), corpus.fps,
        width=recipe.width, dropout=recipe.dropout,
    )  # fmt: skip
    unit, sample = motion_unit(corpus, [spoken.clip for spoken in clips])
    if recipe.start == "pca":
        start_from_pca(model, sample)
    del sample
    encoder.feature_extractor.requires_grad_(False)
    optimizer = torch.optim.AdamW(_parameter_groups(model, recipe), weight_decay=0.0, betas=(0.9, 0.98))
    balance = GradientBalance(1 + len(extra)) if balanced else None
    power = 2 if recipe.vertex_loss == "mean" else 1
    model.train()

    def step(index: int) -> dict[str, float]:
        rng = generator(seed, "student", index)
        size = min(recipe.batch * processes.count(), len(clips))
        together = [clips[i] for i in rng.choice(len(clips), size, replace=False)]
        chosen = together[processes.own_part(size)]
        share = processes.count() * total_frames(chosen) / total_frames(together)
        states = model.states(*encoded(model, chosen))
        picked = slice(int(rng.integers(recipe.vertex_stride)), None, recipe.vertex_stride)  # mean over all, unbiased
        region = torch.arange(model.vertice_map_r.out_features // 3)[picked] if recipe.vertex_stride > 1 else None
        truth, mask = true_displacement(corpus, chosen, states.shape[1], picked, unit)

        def vertex(h: Tensor) -> Tensor:
            predicted = model.displacement(h, region).flatten(2)
            return unit**power * vertex_loss(predicted, truth, mask, recipe.vertex_loss)

        def bound(term: ExtraTerm) -> Term:
            return lambda h: term(model, h, chosen, unit=unit, step=index)

        terms: list[tuple[str, float, Term]] = [("vertex", 1.0, vertex)]
        terms += [(name, weight, bound(term)) for name, weight, term in extra]
        loss, values = overall_loss(states, terms, balance)
        rate = warmup_cosine(index, recipe.steps, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        # the vertex loss in native units may be 1e-7: bring the gradient to order 1 before it is clipped
        update(share * loss / unit**power, optimizer, clip=1.0)
        return {name: share * value for name, value in values.items()}

    state: dict[str, Any] = {"model": model, "optimizer": optimizer}
    if balance is not None:
        state["balance"] = balance
    history = train(step, state, steps=recipe.steps, seed=seed, scratch=scratch, description=description)
    fold_unit(model, unit)
    model.eval()
    return model, history


def total_frames(clips: Sequence[SpokenClip]) -> int:
    """Frames of motion in all of `clips`."""
    return sum(spoken.clip.frames for spoken in clips)


def encoded(model: FaceFormer, chosen: Sequence[SpokenClip]) -> tuple[Tensor, Tensor]:
    """Hidden states (B, T, H) of the speech encoder for a padded batch, and the clips' one-hot styles (B, S)."""
    lengths = [len(spoken.features) for spoken in chosen]
    features = nn.utils.rnn.pad_sequence([spoken.features for spoken in chosen], batch_first=True)
    styles = torch.tensor([spoken.style for spoken in chosen])
    return audio_encoder(model).encode(features, lengths), nn.functional.one_hot(
        styles, model.obj_vector.in_features
    ).float()


def true_displacement(
    corpus: Corpus, chosen: Sequence[SpokenClip], frames: int, picked: slice, unit: float
) -> tuple[Tensor, Tensor]:
    """True displacements of the picked vertices in `unit`s, (B, T, 3n), zero in the padding, and the mask (B, T)."""
    mask = torch.zeros(len(chosen), frames, dtype=torch.bool)
    rows = []
    for row, spoken in enumerate(chosen):
        clip = spoken.clip
        rows.append(corpus.displacement(clip, picked).reshape(clip.frames, -1) / unit)
        mask[row, : clip.frames] = True
    truth = torch.zeros(len(chosen), frames, rows[0].shape[1])
    for row, values in enumerate(rows):
        truth[row, : len(values)] = torch.from_numpy(values)
    return truth, mask


def _parameter_groups(model: FaceFormer, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW's groups. The input map sums over 3V coordinates: the same step there moves the state √(3V) times as far,
    so its rate is that much smaller. The frozen TCN is in none."""
    encoder = audio_encoder(model)
    own = {id(p) for p in encoder.parameters()} | {id(p) for p in model.vertice_map.parameters()}
    wide = recipe.learning_rate / model.vertice_map.in_features**0.5
    groups = [
        {"params": [p for p in model.parameters() if id(p) not in own], "peak": recipe.learning_rate},
        {"params": list(model.vertice_map.parameters()), "peak": wide},
        {"params": [p for p in encoder.parameters() if p.requires_grad], "peak": recipe.encoder_learning_rate},
    ]
    return [{**group, "lr": group["peak"]} for group in groups]
