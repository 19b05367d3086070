"""The part of training that all students share: clips, the unit of motion, Eq. 8 step by step.

`training/students/` has a file for each network. A network prepares what it needs of a clip by itself (features of the
speech encoder's frozen part, windows, mel), once, and keeps it by clip id; here only `speak` is known, which maps clips
to states and to the network's own losses. `training/student_terms.py` has the terms of Learn2Talk. They are functions
of the student's states: if the map from states to vertices is affine, each computes only the vertices that it needs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.losses.total import GradientBalance, Term, overall_loss
from learn2talk_core.losses.vertex import Form, vertex_loss
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder, align_as_faceformer
from learn2talk_core.models.students.student import AudioAlignment, Student
from learn2talk_core.run import processes
from learn2talk_core.run.device import device_of, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator
from learn2talk_core.training.loop import beside_the_step, train, update, warmup_cosine
from learn2talk_core.training.loss_shares import LossShares
from learn2talk_core.training.scratch import Scratch

# How a student is optimised. `scaled`: motion in multiples of its root mean square, AdamW with β2 = 0.98, learning
# rates by layer, warm-up and cosine, gradients clipped. `adam`: as the papers' code, motion in the corpus's unit, Adam
# with torch's defaults, one constant learning rate, no clipping.
Optimiser = Literal["scaled", "adam"]


class BatchOutput(NamedTuple):
    """What a network makes of a padded batch of clips, with gradient.

    Attributes:
        states: (B, T, d), see `models/students/student.py`.
        own: the losses of the network's own paper besides vertex and velocity loss: name, weight from its recipe,
            scalar value. The weights are relative to that of the vertex loss in the corpus's unit.
    """

    states: Tensor
    own: Sequence[tuple[str, float, Tensor]] = ()


class StudentBatch(NamedTuple):
    """The clips of a step, their share of the frames of all processes, and the true displacements of the vertices
    `picked` (B, T, 3n) with their mask (B, T); see `true_displacement`."""

    clips: list[Clip]
    share: float
    picked: slice
    truth: Tensor
    mask: Tensor


class ExtraTerm(Protocol):
    """A loss besides those of the network, on the student's states h (B, T, d) of the clips of a step.

    It may be a module with weights of its own, such as a head that only training needs.

    `unit` is the length that the student's displacements are multiples of; `step` seeds random choices.
    """

    def __call__(self, student: Student, h: Tensor, clips: Sequence[Clip], *, unit: float, step: int) -> Tensor: ...


def frozen_features(
    corpus: Corpus, encoder: SpeechEncoder, clips: Sequence[Clip], alignment: AudioAlignment = "time"
) -> dict[str, Tensor]:
    """The features (T, C) of the speech encoder's frozen part at the frames of each clip, by clip id. They are computed
    once, because training never changes them (paper, Sect. III-B).

    With the alignment `biwi`, (2T', C): two features for each of T' ≤ T frames, see `cut_to_features`.
    """
    if alignment != "time" and not isinstance(encoder, Wav2Vec2SpeechEncoder):
        raise BadInput(
            "alignment",
            expected="a wav2vec 2.0 (experts.speech_encoder) for FaceFormer's alignment of sound and frames",
            found=type(encoder).__name__,
            fix="Import facebook/wav2vec2-base-960h, or set alignment to time.",
        )

    def aligned(clip: Clip) -> Tensor:
        features = encoder.frozen_features(corpus.audio(clip))[None]
        if alignment == "time":
            return encoder.resample(features, clip.frames, corpus.fps)[0]
        return align_as_faceformer(features, alignment, clip.frames)[0]

    return {clip.id: aligned(clip) for clip in progress(clips, "speech features", unit="clip")}


def cut_to_features(clips: Sequence[Clip], features: Mapping[str, Tensor], alignment: AudioAlignment) -> list[Clip]:
    """The clips without the last frames for which the alignment `biwi` has no features, as in FaceFormer's code."""
    if alignment != "biwi":
        return list(clips)
    return [replace(clip, frames=len(features[clip.id]) // 2) for clip in clips]


def encoded(encoder: SpeechEncoder, features: Mapping[str, Tensor], chosen: Sequence[Clip]) -> Tensor:
    """Hidden states (B, T, H) of the speech encoder for a padded batch; padding does not affect them."""
    parts = [features[clip.id] for clip in chosen]
    return encoder.encode(nn.utils.rnn.pad_sequence(parts, batch_first=True), [len(part) for part in parts])


def style_one_hots(corpus: Corpus, chosen: Sequence[Clip], device: torch.device) -> Tensor:
    """One-hot styles (B, S) on `device`: the speaker's place among the training speakers."""
    speakers = list(corpus.train_speakers)
    places = torch.tensor([speakers.index(clip.speaker) for clip in chosen])
    return sent(nn.functional.one_hot(places, len(speakers)).float(), device)


def motion_unit(
    corpus: Corpus, clips: Sequence[Clip], frames: int = 800, optimiser: Optimiser = "scaled"
) -> tuple[float, np.ndarray]:
    """The root mean square displacement of the training motion (corpus's unit), or 1 for the optimiser `adam`, and a
    sample of the motion.

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
    unit = 1.0 if optimiser == "adam" else unit
    return unit, sample / unit


def principal_components(sample: np.ndarray, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` principal components of displacements (N, 3V), each times its standard deviation, and the mean.

    Returns:
        (count, 3V), zero for components beyond the number available, and (3V,).
    """
    mean = sample.mean(axis=0)
    centred = (sample - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(centred @ centred.T)  # N × N is smaller than 3V × 3V
    order = np.argsort(values)[::-1][:count]
    components = np.zeros((count, sample.shape[1]))
    # (u' X) / √λ is the component, √(λ / N) its standard deviation
    components[: len(order)] = (vectors[:, order].T @ centred) / np.sqrt(len(sample))
    # the sign of a component must depend on the data, not on the linear algebra library
    largest = components[np.arange(count), np.abs(components).argmax(axis=1)]
    components = components * np.where(largest < 0, -1.0, 1.0)[:, None]
    return torch.from_numpy(components), torch.from_numpy(mean)


def train_student(
    model: Student,
    speak: Callable[[Sequence[Clip]], BatchOutput],
    corpus: Corpus,
    clips: Sequence[Clip],
    groups: Sequence[dict[str, Any]],
    *,
    unit: float,
    form: Form,
    stride: int,
    steps: int,
    batch: int,
    seed: int,
    scratch: Scratch,
    description: str,
    extra: Sequence[tuple[str, float, ExtraTerm]] = (),
    balanced: bool = True,
    vertex: float = 1.0,
    velocity: float = 0.0,
    epochs: int | None = None,
    optimiser: Optimiser = "scaled",
    validation_epochs: int = 0,
) -> list[dict[str, float]]:
    """Train any student on its own losses and the terms in `extra` (Eq. 8).

    The network computes in units of the training motion's root mean square, so that the optimiser sees numbers near 1
    whatever the unit of the corpus; the caller folds the unit into the weights at the end.

    With several processes, the clips of a step are those that one process with the total batch size would draw, divided
    among the processes. Each process's loss is weighted by its share of the frames. The mean form of Eq. 3 is then the
    same as in one process except for rounding and for dropout, which each process draws for itself. The sum form counts
    clips, and Eq. 7 counts windows, so their means differ slightly. For Eq. 6, each process reads `lipread_clips`
    clips. The balance averages the norms of the processes' gradients.

    Args:
        model: the network on the run's device, trained in place.
        speak: returns states and own losses of a padded batch of clips.
        corpus: the corpus of `clips`.
        clips: training clips.
        groups: AdamW's parameter groups, each with its `peak` learning rate.
        unit: see `motion_unit`; the model's displacements are multiples of it.
        form: form of Eq. 3.
        stride: Eq. 3 is evaluated on every `stride`-th vertex, from a random first one.
        steps, batch: number of steps, and of clips per step in each process.
        seed: seed of batches and dropout.
        scratch: for checkpoints.
        description: label of the progress bar.
        extra: the other terms of Eq. 8: name, lambda, loss. One that is a module is trained too, at the peak learning
            rate of the first group.
        balanced: treat the lambdas as gradient shares (`balance: gradient`).
        vertex: weight of the vertex loss; 0 for a network that learns something else than motion, such as codes. The
            gradient shares are shares of this loss's gradient, so they need it.
        velocity: weight of the same loss on the differences of successive frames, relative to the vertex loss.
        epochs: passes over the clips, each clip once per pass, instead of `steps` steps of clips drawn at random. The
            last batch of a pass is filled up with its first clips.
        optimiser: see `Optimiser`.
        validation_epochs: the rows at the end of every so many passes also have `validation`, the vertex loss on the
            corpus's validation split; 0 is never. The training does not depend on it: the last step's weights are kept,
            as in the papers' code.

    Returns:
        One row of loss values per step; `vertex` is in the corpus's unit squared for the mean form.

    Raises:
        BadInput: `balanced` with a `vertex` of 0 and a weight in `extra`.
    """
    if balanced and vertex == 0 and any(weight for _, weight, _ in extra):
        raise BadInput(
            "the weight of the vertex loss",
            expected="more than 0: with balance: gradient, the weights of other losses are shares of its gradient",
            found="0",
            fix="Give it a weight, or choose balance: none.",
        )
    a_pass = math.ceil(len(clips) / (batch * processes.count()))
    steps = steps if epochs is None else epochs * a_pass
    device = device_of(model)
    heads = nn.ModuleDict({name: term for name, _, term in extra if isinstance(term, nn.Module)}).to(device)
    if len(heads):
        groups = [*groups, {"params": [*heads.parameters()], "peak": groups[0]["peak"]}]
    groups = [{**group, "lr": group["peak"]} for group in groups]
    optimizer: torch.optim.Optimizer
    if optimiser == "adam":
        optimizer = torch.optim.Adam(groups)
    else:
        fused = device.type == "cpu" or None  # there one pass takes a quarter of the time
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0, betas=(0.9, 0.98), fused=fused)
    power = 2 if form == "mean" else 1
    balance = GradientBalance(1 + len(extra), scale=unit**-power) if balanced else None
    shares = LossShares(description, steps)
    if balance is not None:
        balance.to(device)
    model.train()

    def batch_of(index: int) -> StudentBatch:
        rng = generator(seed, "student", index)
        size = min(batch * processes.count(), len(clips))
        if epochs is None:
            drawn = rng.choice(len(clips), size, replace=False)
        else:
            order = generator(seed, "pass", index // a_pass).permutation(len(clips))
            drawn = order.take(np.arange(size) + index % a_pass * size, mode="wrap")
        together = [clips[i] for i in drawn]
        chosen = together[processes.own_part(size)]
        share = processes.count() * total_frames(chosen) / total_frames(together)
        picked = slice(int(rng.integers(stride)), None, stride)  # unbiased for the mean over all
        frames = max(clip.frames for clip in chosen)
        return StudentBatch(chosen, share, picked, *true_displacement(corpus, chosen, frames, picked, unit, device))

    batches = beside_the_step(batch_of)

    def step(index: int) -> dict[str, float | Tensor]:
        chosen, share, picked, truth, mask = batches(index)
        states, own = speak(chosen)
        region = torch.arange(model.vertex_count, device=device)[picked] if stride > 1 else None

        def position(h: Tensor) -> Tensor:
            predicted = model.displacement(h, region).flatten(2)
            return unit**power * vertex_loss(predicted, truth, mask, form)

        if velocity:
            predicted = model.displacement(states, region).flatten(2)
            value = vertex_loss(predicted.diff(dim=1), truth.diff(dim=1), mask[:, 1:], form)
            own = [("velocity", velocity, unit**power * value), *own]

        def bound(term: ExtraTerm) -> Term:
            return lambda h: term(model, h, chosen, unit=unit, step=index)

        terms: list[tuple[str, float, Term]] = [("vertex", vertex, position)]
        terms += [(name, weight, bound(term)) for name, weight, term in extra]
        weighted: dict[str, Tensor] | None = {} if shares.wanted(index) else None
        loss, values = overall_loss(states, terms, balance, own, weighted)
        if weighted is not None:
            shares.measure(states, weighted, balance)
            shares.report_after(index)
        rate = 1.0 if optimiser == "adam" else warmup_cosine(index, steps, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        # the vertex loss in native units may be 1e-7: scale the gradient to order 1 before it is clipped
        update(share * loss / unit**power, optimizer, clip=math.inf if optimiser == "adam" else 1.0)
        row: dict[str, float | Tensor] = {name: share * value for name, value in values.items()}
        if validation_epochs and (index + 1) % (validation_epochs * a_pass) == 0:
            row["validation"] = validation_loss(model, corpus, unit=unit, form=form)
        return row

    state: dict[str, Any] = {"model": model, "optimizer": optimizer}
    if balance is not None:
        state["balance"] = balance
    if len(heads):
        state["heads"] = heads
    return train(step, state, steps=steps, seed=seed, scratch=scratch, description=description)


@torch.no_grad()
def validation_loss(model: Student, corpus: Corpus, *, unit: float, form: Form) -> float:
    """Mean over the clips of the validation split of the vertex loss, in the corpus's unit; NaN without clips.

    Each clip is predicted as in use, from the student's own earlier frames. A speaker whom the student has not seen has
    no style: the loss is averaged over all, as in FaceFormer's code.

    Args:
        model: its displacements are multiples of `unit`. It is in training mode before and after.
        unit, form: see `train_student`.
    """
    model.eval()
    device, losses, speakers = device_of(model), [], list(corpus.train_speakers)
    for clip in corpus.split("validation"):
        styles = torch.eye(model.style_count)
        if clip.speaker in speakers:
            styles = styles[speakers.index(clip.speaker)][None]
        elif not model.has_styles:
            styles = styles[:1]
        wave, template = corpus.audio(clip), corpus.template(clip.speaker)
        states = model.predict_states(wave, corpus.fps, sent(styles, device), clip.frames, template)
        predicted = unit * model.displacement(states).flatten(2)
        truth = torch.from_numpy(corpus.displacement(clip).reshape(1, clip.frames, -1))[:, : predicted.shape[1]]
        mask = torch.ones(predicted.shape[:2], dtype=torch.bool, device=device)
        losses.append(float(vertex_loss(predicted, sent(truth, device).expand_as(predicted), mask, form)))
    model.train()
    return float(np.mean(losses)) if losses else math.nan


def total_frames(clips: Sequence[Clip]) -> int:
    """Total number of motion frames in `clips`."""
    return sum(clip.frames for clip in clips)


def true_displacement(
    corpus: Corpus, chosen: Sequence[Clip], frames: int, picked: slice, unit: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """True displacements of the picked vertices in `unit`s, (B, T, 3n), zero in the padding, and the mask (B, T), both
    on `device`."""
    mask = torch.zeros(len(chosen), frames, dtype=torch.bool)
    rows = []
    for row, clip in enumerate(chosen):
        rows.append(corpus.displacement(clip, picked).reshape(clip.frames, -1) / unit)
        mask[row, : clip.frames] = True
    truth = torch.zeros(len(chosen), frames, rows[0].shape[1])
    for row, values in enumerate(rows):
        truth[row, : len(values)] = torch.from_numpy(values)
    return sent(truth, device), sent(mask, device)
