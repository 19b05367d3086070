"""Training of the phoneme head on a frozen speech encoder.

The loss is that of `training.speech_encoder`: CTC plus the cross-entropy of the phoneme at each feature. The encoder
hears each window as it would a clip of that length: sped up or slowed down, louder or softer, with noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.models.phoneme_head import PhonemeHead, SpeechRecogniser
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.run import processes
from learn2talk_core.run.device import run_device
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import beside_the_step, train, update, warmup_cosine
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.speech_encoder import SpeechBatch, SpokenText, random_speech_batch, recognition_loss


@dataclass(frozen=True)
class PhonemeHeadRecipe:
    """The head and its optimisation."""

    width: int
    dropout: float
    steps: int
    batch: int  # windows per step, in each process
    window: float  # seconds
    noise: float  # see `random_speech_batch`
    gain_db: float  # largest change of the level
    learning_rate: float
    weight_decay: float
    alignment_weight: float


def train_phoneme_head(
    encoder: SpeechEncoder, clips: Sequence[SpokenText], recipe: PhonemeHeadRecipe, *, seed: int, scratch: Scratch
) -> tuple[SpeechRecogniser, list[dict[str, float]]]:
    """Train a new head; returns it with its encoder, on the CPU and in evaluation mode, and one row of loss values per
    step."""
    seed_torch(seed, "weights")
    model = SpeechRecogniser(encoder, PhonemeHead(encoder.width, PHONEMES, recipe.width, recipe.dropout))
    encoder.eval()
    model.to(run_device())
    optimizer = torch.optim.AdamW(model.head.parameters(), weight_decay=recipe.weight_decay, betas=(0.9, 0.98))

    def batch_of(index: int) -> SpeechBatch:
        rng = generator(seed, "batch", index, *processes.mark())
        batch = random_speech_batch(clips, rng, recipe.batch, recipe.window, model.rate, recipe.noise)
        gain = 10 ** (recipe.gain_db / 20 * rng.uniform(-1, 1, (recipe.batch, 1)))
        return replace(batch, waves=batch.waves * torch.from_numpy(gain).float())

    batches = beside_the_step(batch_of)

    def step(index: int) -> dict[str, Tensor]:
        batch = batches(index)
        loss, row = recognition_loss(model, batch, model.rate, recipe.alignment_weight)
        update(loss, optimizer, learning_rate=warmup_cosine(index, recipe.steps, recipe.learning_rate))
        return row

    model.head.train()
    history = train(
        step, {"model": model.head, "optimizer": optimizer},
        steps=recipe.steps, seed=seed, scratch=scratch, description="phoneme head",
    )  # fmt: skip
    return model.cpu().eval(), history
