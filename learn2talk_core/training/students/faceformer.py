"""Training of FaceFormer: autoregressive with gradient, as in its published code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.losses.vertex import Form
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.students.faceformer.network import FaceFormer, new_faceformer
from learn2talk_core.models.students.student import AudioAlignment
from learn2talk_core.run.device import run_device
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import (
    BatchOutput,
    ExtraTerm,
    Optimiser,
    cut_to_features,
    encoded,
    frozen_features,
    motion_unit,
    principal_components,
    style_one_hots,
    train_student,
)


@dataclass(frozen=True)
class FaceFormerRecipe:
    """The network and its optimisation: group `faceformer` of params.yaml."""

    width: int  # d of the decoder
    dropout: float  # in the decoder
    start: Literal["pca", "zeros"]  # initial weights of the last layer
    vertex_loss: Form  # form of Eq. 3
    vertex_stride: int  # Eq. 3 is evaluated on every `vertex_stride`-th vertex, from a random first one; 1: all
    steps: int
    batch: int  # clips, in each process
    learning_rate: float  # of the decoder
    encoder_learning_rate: float  # of the trained layers of the speech encoder
    alignment: AudioAlignment = "time"  # of sound and frames, see `FaceFormer`
    optimiser: Optimiser = "scaled"
    epochs: int | None = None  # passes over the clips instead of `steps`
    validation_epochs: int = 0  # validation loss after every so many passes; 0: never
    prior: None = None  # FaceFormer needs none


NetworkRecipe = FaceFormerRecipe  # the name by which stages find the recipe of any network


def train_network(
    corpus: Corpus,
    encoder: SpeechEncoder,
    clips: Sequence[Clip],
    recipe: FaceFormerRecipe,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
    extra: Sequence[tuple[str, float, ExtraTerm]] = (),
    balanced: bool = True,
) -> tuple[FaceFormer, list[dict[str, float]]]:
    """Train a FaceFormer on Eq. 8. With no extra term (λ1 = λ2 = 0) it is FaceFormer as published.

    Args:
        corpus: the corpus of `clips`.
        encoder: the pre-trained speech encoder; its frozen part stays, the rest is trained.
        clips: training clips.
        recipe: network and optimisation.
        seed: seed of weights, batches and dropout.
        scratch, description, extra, balanced: see `train_student`.

    Returns:
        The model, on the CPU and in the corpus's unit, and one row of loss values per step.
    """
    seed_torch(seed, "student", "weights")
    model = new_faceformer(
        encoder, len(corpus.topology.colours), len(corpus.train_speakers), corpus.fps,
        width=recipe.width, dropout=recipe.dropout, alignment=recipe.alignment,
    )  # fmt: skip
    unit, sample = motion_unit(corpus, clips, optimiser=recipe.optimiser)
    if recipe.start == "pca":
        model.start_from(*principal_components(sample, recipe.width))
    del sample
    encoder.freeze()
    model.to(device := run_device())

    features = frozen_features(corpus, encoder, clips, recipe.alignment)
    clips = cut_to_features(clips, features, recipe.alignment)

    def speak(chosen: Sequence[Clip]) -> BatchOutput:
        return BatchOutput(model.states(encoded(encoder, features, chosen), style_one_hots(corpus, chosen, device)))

    history = train_student(
        model, speak, corpus, clips, parameter_groups(model, recipe),
        unit=unit, form=recipe.vertex_loss, stride=recipe.vertex_stride, steps=recipe.steps, batch=recipe.batch,
        seed=seed, scratch=scratch, description=description, extra=extra, balanced=balanced,
        epochs=recipe.epochs, optimiser=recipe.optimiser, validation_epochs=recipe.validation_epochs,
    )  # fmt: skip
    model.cpu().scale_motion(unit)
    model.eval()
    return model, history


def parameter_groups(model: FaceFormer, recipe: FaceFormerRecipe) -> list[dict[str, Any]]:
    """Parameters with their peak learning rates. The input map sums over 3V coordinates, so that the same step moves
    the state √(3V) times as far; its learning rate is divided by √(3V), except with the optimiser `adam`. What is
    frozen is in no group."""
    encoder, wide = model.speech_encoder, model.input_map()
    slower = 1.0 if recipe.optimiser == "adam" else wide.in_features**0.5
    own = {id(p) for p in encoder.parameters()} | {id(p) for p in wide.parameters()}
    return [
        {"params": [p for p in model.parameters() if id(p) not in own], "peak": recipe.learning_rate},
        {"params": list(wide.parameters()), "peak": recipe.learning_rate / slower},
        {"params": [p for p in encoder.parameters() if p.requires_grad], "peak": recipe.encoder_learning_rate},
    ]
