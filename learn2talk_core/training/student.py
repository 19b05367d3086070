"""The part of training that all students share: clips, the unit of motion, Eq. 8 step by step.

`training/students/` has a file for each network; `training/student_terms.py` has the terms besides L_vertex. The first
part of the speech encoder is frozen (the TCN of wav2vec 2.0: paper, Sect. III-B), so its features are computed once per
clip. All losses are functions of the student's states: if the map from states to vertices is affine, each term computes
only the vertices that it needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.losses.total import GradientBalance, Term, overall_loss
from learn2talk_core.losses.vertex import Form, vertex_loss
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.students.student import Student
from learn2talk_core.run import processes
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator
from learn2talk_core.training.loop import train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch


@dataclass(frozen=True)
class SpokenClip:
    """A training clip with the speech encoder's frozen features (T, C), at the motion's frame rate."""

    clip: Clip
    features: Tensor
    style: int


class ExtraTerm(Protocol):
    """A loss besides the vertex loss, on the student's states h (B, T, d) of the clips of a step.

    `unit` is the length that the student's displacements are multiples of; `step` seeds random choices.
    """

    def __call__(
        self, student: Student, h: Tensor, clips: Sequence[SpokenClip], *, unit: float, step: int
    ) -> Tensor: ...


def spoken_clips(corpus: Corpus, encoder: SpeechEncoder, clips: Sequence[Clip], description: str) -> list[SpokenClip]:
    """Compute the frozen features of `clips`; the style is the speaker's index among the training speakers."""
    styles = {speaker: number for number, speaker in enumerate(corpus.train_speakers)}

    def spoken(clip: Clip) -> SpokenClip:
        features = encoder.frozen_features(corpus.audio(clip))[None]
        return SpokenClip(clip, encoder.resample(features, clip.frames, corpus.fps)[0], styles[clip.speaker])

    return [spoken(clip) for clip in progress(clips, description, unit="clip")]


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
    speak: Callable[[Sequence[SpokenClip]], Tensor],
    corpus: Corpus,
    clips: Sequence[SpokenClip],
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
) -> list[dict[str, float]]:
    """Train any student on Eq. 8: the vertex loss and the terms in `extra`.

    The network computes in units of the training motion's root mean square, so that the optimiser sees numbers near 1
    whatever the unit of the corpus; the caller folds the unit into the weights at the end.

    With several processes, the clips of a step are those that one process with the total batch size would draw, divided
    among the processes. Each process's loss is weighted by its share of the frames. The mean form of Eq. 3 is then the
    same as in one process except for rounding and for dropout, which each process draws for itself. The sum form counts
    clips, and Eq. 7 counts windows, so their means differ slightly. For Eq. 6, each process reads `lipread_clips`
    clips. The balance averages the norms of the processes' gradients.

    Args:
        model: the network, trained in place.
        speak: returns the states (B, T, d) of a padded batch of clips, with gradient.
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
        extra: the other terms of Eq. 8: name, lambda, loss.
        balanced: treat the lambdas as gradient shares (`balance: gradient`).

    Returns:
        One row of loss values per step; `vertex` is in the corpus's unit squared for the mean form.
    """
    optimizer = torch.optim.AdamW(
        [{**group, "lr": group["peak"]} for group in groups], weight_decay=0.0, betas=(0.9, 0.98)
    )
    balance = GradientBalance(1 + len(extra)) if balanced else None
    power = 2 if form == "mean" else 1
    model.train()

    def step(index: int) -> dict[str, float]:
        rng = generator(seed, "student", index)
        size = min(batch * processes.count(), len(clips))
        together = [clips[i] for i in rng.choice(len(clips), size, replace=False)]
        chosen = together[processes.own_part(size)]
        share = processes.count() * total_frames(chosen) / total_frames(together)
        states = speak(chosen)
        picked = slice(int(rng.integers(stride)), None, stride)  # unbiased for the mean over all
        region = torch.arange(model.vertex_count)[picked] if stride > 1 else None
        truth, mask = true_displacement(corpus, chosen, states.shape[1], picked, unit)

        def vertex(h: Tensor) -> Tensor:
            predicted = model.displacement(h, region).flatten(2)
            return unit**power * vertex_loss(predicted, truth, mask, form)

        def bound(term: ExtraTerm) -> Term:
            return lambda h: term(model, h, chosen, unit=unit, step=index)

        terms: list[tuple[str, float, Term]] = [("vertex", 1.0, vertex)]
        terms += [(name, weight, bound(term)) for name, weight, term in extra]
        loss, values = overall_loss(states, terms, balance)
        rate = warmup_cosine(index, steps, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        # the vertex loss in native units may be 1e-7: scale the gradient to order 1 before it is clipped
        update(share * loss / unit**power, optimizer, clip=1.0)
        return {name: share * value for name, value in values.items()}

    state: dict[str, Any] = {"model": model, "optimizer": optimizer}
    if balance is not None:
        state["balance"] = balance
    return train(step, state, steps=steps, seed=seed, scratch=scratch, description=description)


def total_frames(clips: Sequence[SpokenClip]) -> int:
    """Total number of motion frames in `clips`."""
    return sum(spoken.clip.frames for spoken in clips)


def encoded(encoder: SpeechEncoder, style_count: int, chosen: Sequence[SpokenClip]) -> tuple[Tensor, Tensor]:
    """Hidden states (B, T, H) of the speech encoder for a padded batch, and the clips' one-hot styles (B, S)."""
    lengths = [len(spoken.features) for spoken in chosen]
    features = nn.utils.rnn.pad_sequence([spoken.features for spoken in chosen], batch_first=True)
    styles = torch.tensor([spoken.style for spoken in chosen])
    return encoder.encode(features, lengths), nn.functional.one_hot(styles, style_count).float()


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
