"""Training of VOCA: positions and velocities of the vertices (VOCA, Eq. 1 to 3), on whole clips.

VOCA draws 64 pairs of successive frames per step. Here a step has whole clips, so that terms that need successive
frames can be added; the velocity loss then uses every pair of successive frames of the clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.losses.vertex import Form
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.students.voca.network import STATES, VOCA, speech_windows
from learn2talk_core.run.device import run_device
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import (
    BatchOutput,
    ExtraTerm,
    motion_unit,
    principal_components,
    style_one_hots,
    train_student,
)


@dataclass(frozen=True)
class VOCARecipe:
    """The optimisation: group `voca` of params.yaml."""

    prior: None  # VOCA needs none
    vertex_loss: Form  # form of the vertex loss
    vertex_stride: int  # the losses are evaluated on every `vertex_stride`-th vertex, from a random first one; 1: all
    velocity: float  # weight of the velocity loss
    steps: int
    batch: int  # clips, in each process
    learning_rate: float


NetworkRecipe = VOCARecipe  # the name by which stages find the recipe of any network


def train_network(
    corpus: Corpus,
    encoder: SpeechEncoder,
    clips: Sequence[Clip],
    recipe: VOCARecipe,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
    extra: Sequence[tuple[str, float, ExtraTerm]] = (),
    balanced: bool = True,
) -> tuple[VOCA, list[dict[str, float]]]:
    """Train a VOCA that listens through the frozen speech encoder.

    Args:
        corpus: the corpus of `clips`.
        encoder: the pre-trained speech encoder, which stays as it is.
        clips: training clips.
        recipe: optimisation.
        seed: seed of weights and batches.
        scratch, description, extra, balanced: see `train_student`.

    Returns:
        The model, on the CPU and in the corpus's unit, and one row of loss values per step.
    """
    seed_torch(seed, "student", "weights")
    model = VOCA(
        len(corpus.topology.colours), len(corpus.train_speakers),
        feature_width=encoder.width, speech_encoder=encoder.eval(),
    )  # fmt: skip
    unit, sample = motion_unit(corpus, clips)
    model.start_from(*principal_components(sample, STATES))
    del sample
    model.to(device := run_device())
    features = {
        clip.id: encoder.listen(corpus.audio(clip), clip.frames, corpus.fps)
        for clip in progress(clips, "speech features", unit="clip")
    }

    def speak(chosen: Sequence[Clip]) -> BatchOutput:
        windows = [speech_windows(features[clip.id], corpus.fps) for clip in chosen]
        return BatchOutput(model.states_of_clips(windows, style_one_hots(corpus, chosen, device)))

    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    history = train_student(
        model, speak, corpus, clips, [{"params": own, "peak": recipe.learning_rate}],
        unit=unit, form=recipe.vertex_loss, stride=recipe.vertex_stride, steps=recipe.steps, batch=recipe.batch,
        seed=seed, scratch=scratch, description=description, extra=extra, balanced=balanced, velocity=recipe.velocity,
    )  # fmt: skip
    model.cpu().scale_motion(unit)
    model.eval()
    return model, history
