"""Training of SelfTalk: the commutative diagram of speech, lips and text (Peng et al. 2023, Eq. 12)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.losses.commutative import latent_consistency, text_consistency
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.students.selftalk.network import SelfTalk, reading_positions
from learn2talk_core.models.students.selftalk.recogniser import Listener, open_recogniser, refuse_other_network
from learn2talk_core.models.students.student import AudioAlignment
from learn2talk_core.run.device import run_device, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import write_json
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.weights import load_config
from learn2talk_core.statistics.recognition import ctc_greedy
from learn2talk_core.training.scratch import Scratch, fingerprint
from learn2talk_core.training.student import (
    BatchOutput,
    ExtraTerm,
    Optimiser,
    cut_to_features,
    encoded,
    frozen_features,
    motion_unit,
    principal_components,
    train_student,
)


@dataclass(frozen=True)
class SelfTalkRecipe:
    """The network and its optimisation: group `selftalk` of params.yaml."""

    width: int  # d of the decoder
    lip_heads: int  # of the interpreter, whose width is that of the recogniser
    lip_layers: int
    lip_hidden: int
    dropout: float
    start: Literal["pca", "zeros"]  # initial weights of the last layers of decoder and interpreter
    reconstruction_weight: float  # lambda 1 … 4 of Eq. 12
    velocity_weight: float
    latent_weight: float
    text_weight: float
    vertex_stride: int
    steps: int
    batch: int  # clips, in each process
    learning_rate: float  # of the decoder
    interpreter_learning_rate: float
    encoder_learning_rate: float  # of the trained layers of the speech encoder
    alignment: AudioAlignment = "time"  # of sound, frames and what the recogniser heard, see `SelfTalk`
    optimiser: Optimiser = "scaled"
    epochs: int | None = None  # passes over the clips instead of `steps`
    validation_epochs: int = 0  # validation loss after every so many passes; 0: never
    prior: None = None  # SelfTalk learns nothing of motion beforehand


NetworkRecipe = SelfTalkRecipe  # the name by which stages find the recipe of any network


class Target(NamedTuple):
    """What the recogniser heard in a clip.

    Attributes:
        hidden: (n, H) its hidden states.
        positions: (n,) the motion frames, with fractions, at which it heard them.
        text: the units of its greedy text.
        logits: (n, units) from which it was taken.
    """

    hidden: Tensor
    positions: Tensor
    text: Tensor
    logits: Tensor


def save_motion_prior(folder: str | Path, prior: str, corpus: Corpus) -> None:
    """Note the folder of the recogniser in an existing folder, and a hash of its content: DVC trains the students that
    depend on the note again when either has changed. Another network is refused."""
    refuse_other_network(prior)
    write_json(Path(folder) / "model.json", {"network": "selftalk", "prior": prior, "content": fingerprint(prior)})


def load_motion_prior(folder: str | Path, corpus: Corpus) -> str:
    """The folder of the recogniser that was noted.

    Raises:
        BadInput: none was.
    """
    prior = load_config(folder, made_by="dvc repro motion_prior@selftalk").get("prior")
    if not isinstance(prior, str):
        raise BadInput(
            "params.yaml: networks.selftalk",
            expected="the recogniser that says what the lips should say",
            found="none",
            fix="Name its folder, such as weights/phoneme_head.",
        )
    return prior


def train_network(
    corpus: Corpus,
    encoder: SpeechEncoder,
    clips: Sequence[Clip],
    recipe: SelfTalkRecipe,
    *,
    seed: int,
    scratch: Scratch,
    description: str,
    prior: str | Listener,
    extra: Sequence[tuple[str, float, ExtraTerm]] = (),
    balanced: bool = True,
) -> tuple[SelfTalk, list[dict[str, float]]]:
    """Train a SelfTalk on Eq. 12, and on `extra`. The text is what the recogniser hears, not the transcript.

    Args:
        corpus, encoder, clips, seed, scratch, description, extra, balanced: see `faceformer.train_network`.
        recipe: network and optimisation.
        prior: the frozen recogniser, or its folder, see `recogniser.open_recogniser`.

    Returns:
        The model, on the CPU and in the corpus's unit, and one row of loss values per step.
    """
    recogniser = open_recogniser(prior, encoder) if isinstance(prior, str) else prior
    seed_torch(seed, "student", "weights")
    lips = torch.from_numpy(corpus.topology.regions["lips"]).long()
    model = SelfTalk(
        len(corpus.topology.colours), len(corpus.train_speakers), lip_count=len(lips), units=recogniser.units,
        audio_encoder=encoder, width=recipe.width, dropout=recipe.dropout, lip_width=recogniser.width,
        lip_heads=recipe.lip_heads, lip_layers=recipe.lip_layers, lip_hidden=recipe.lip_hidden,
        alignment=recipe.alignment,
    )  # fmt: skip
    model.lips.copy_(lips)
    unit, sample = motion_unit(corpus, clips, optimiser=recipe.optimiser)
    if recipe.start == "pca":
        model.start_from(*principal_components(sample, recipe.width))
    del sample
    encoder.freeze()
    heard = heard_texts(corpus, recogniser, clips)  # before the encoder moves, which may be the recogniser's too
    if recipe.start == "pca":
        start_interpreter(model, [*heard.values()])
    model.to(device := run_device())
    features = frozen_features(corpus, encoder, clips, recipe.alignment)
    clips = cut_to_features(clips, features, recipe.alignment)
    if recipe.alignment != "time":
        heard = stretched(heard, clips, corpus.fps, recipe.alignment)
    targets = {name: Target(*(sent(part, device) for part in target)) for name, target in heard.items()}
    # relative weights; as printed for Adam, whose epsilon makes their size matter
    scale = 1.0 if recipe.optimiser == "adam" else 1 / (recipe.reconstruction_weight or recipe.velocity_weight or 1.0)

    def speak(chosen: Sequence[Clip]) -> BatchOutput:
        states = model.states(encoded(encoder, features, chosen), [clip.frames for clip in chosen])
        if not (recipe.latent_weight or recipe.text_weight):
            return BatchOutput(states)
        latent, text = consistency_losses(model, states, chosen, [targets[clip.id] for clip in chosen])
        weights = recipe.latent_weight * scale, recipe.text_weight * scale
        return BatchOutput(states, [("latent", weights[0], latent), ("text", weights[1], text)])

    groups = [
        *own_groups(model, recipe),
        {"params": [p for p in encoder.parameters() if p.requires_grad], "peak": recipe.encoder_learning_rate},
    ]
    history = train_student(
        model, speak, corpus, clips, groups,
        unit=unit, form="mean", stride=recipe.vertex_stride, steps=recipe.steps, batch=recipe.batch,
        seed=seed, scratch=scratch, description=description, extra=extra, balanced=balanced,
        vertex=recipe.reconstruction_weight * scale, velocity=recipe.velocity_weight * scale,
        epochs=recipe.epochs, optimiser=recipe.optimiser, validation_epochs=recipe.validation_epochs,
    )  # fmt: skip
    model.cpu().scale_motion(unit)
    model.eval()
    return model, history


def own_groups(model: SelfTalk, recipe: SelfTalkRecipe) -> list[dict[str, Any]]:
    """The parameters of decoder and interpreter with their learning rates.

    Adam moves each weight of the interpreter's first layer alike, and its 3L inputs move together: its rate is divided
    by √(3L), except with the optimiser `adam`. What is learnt is a feature of one unit of motion.
    """
    slower = 1.0 if recipe.optimiser == "adam" else model.lip_map.in_features**0.5
    reading = [*model.lip_map.parameters(), *model.transformer.parameters(), *model.lm_head.parameters()]
    kept = {id(p) for p in (*model.audio_encoder.parameters(), *reading)}
    return [
        {"params": [p for p in model.parameters() if id(p) not in kept], "peak": recipe.learning_rate},
        {"params": [model.lip_map.weight], "peak": recipe.interpreter_learning_rate / slower},
        {"params": reading[1:], "peak": recipe.interpreter_learning_rate},
    ]


@torch.no_grad()
def start_interpreter(model: SelfTalk, targets: Sequence[Target]) -> None:
    """Let the interpreter's features begin near the recogniser's mean hidden state, and turn them into text as the
    recogniser does: W_text is the linear map that is nearest to what the recogniser makes of its hidden states.

    From torch's initial weights CTC needs many more steps than ours until it prefers any unit to blank.
    """
    hidden, logits = (torch.cat([target[part] for target in targets]).double() for part in (0, 3))
    mean, offset = hidden.mean(0), logits.mean(0)
    hidden, logits = hidden - mean, logits - offset
    square = hidden.T @ hidden
    square.diagonal().add_(1e-3 * square.diagonal().mean())  # some directions of hidden states are constant
    text_map = torch.linalg.solve(square, hidden.T @ logits)
    model.lm_head.weight.copy_(text_map.T)
    model.lm_head.bias.copy_(offset - mean @ text_map)
    last = model.transformer.decoder.norm
    assert isinstance(last, nn.LayerNorm)
    last.bias.copy_(mean)
    last.weight.fill_(0.3)


def heard_texts(corpus: Corpus, recogniser: Listener, clips: Sequence[Clip]) -> dict[str, Target]:
    """What the recogniser hears in each clip, by clip id: once, because it is frozen."""
    targets = {}
    for clip in progress(clips, "recognising", unit="clip"):
        heard = recogniser.hear(corpus.audio(clip))
        text = torch.tensor(ctc_greedy(heard.logits.numpy()), dtype=torch.long)
        targets[clip.id] = Target(heard.hidden, heard.times * corpus.fps, text, heard.logits)
    return targets


def stretched(
    heard: Mapping[str, Target], clips: Sequence[Clip], fps: float, alignment: AudioAlignment
) -> dict[str, Target]:
    """What was heard in each clip, its first hidden state at the first frame and its last at the last, as in SelfTalk's
    own code."""
    return {
        clip.id: heard[clip.id]._replace(
            positions=reading_positions(clip.frames, fps, alignment, len(heard[clip.id].hidden))
        )
        for clip in clips
    }


def consistency_losses(
    model: SelfTalk, states: Tensor, chosen: Sequence[Clip], targets: Sequence[Target]
) -> tuple[Tensor, Tensor]:
    """Latent and text consistency of the lips that `states` (B, T, d) move."""
    lips = model.displacement(states, model.lips)
    moved = [lips[row, : clip.frames] for row, clip in enumerate(chosen)]
    read, logits = model.read_lips(moved, [target.positions for target in targets])
    lengths = [len(target.hidden) for target in targets]
    heard = nn.utils.rnn.pad_sequence([target.hidden for target in targets], batch_first=True)
    mask = torch.arange(read.shape[1])[None] < torch.tensor(lengths)[:, None]
    return latent_consistency(read, heard, mask), text_consistency(logits, lengths, [target.text for target in targets])
