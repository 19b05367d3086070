"""What networks learn of motion before they learn to speak, for trainings outside the pipeline: one prior for each
seed and recipe, kept in `PRIORS` and shared by `scripts.compare` and `scripts.sweep`."""

import dataclasses
import hashlib
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.run.config import load_params
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, whole_folder, write_json
from learn2talk_core.run.networks import training_of
from learn2talk_core.run.paths import CORPUS, NOTHING, SPEECH_ENCODER, is_nothing
from learn2talk_core.training.scratch import Scratch, fingerprint, open_scratch
from stages import motion_prior

PRIORS = Path("out/priors")
RECOGNISER = "weights/phoneme_head"  # SelfTalk's, if params.yaml names none


class CountedScratch(Scratch):
    """A scratch folder whose checkpoints also know the computing time of the training, so that kills do not hide it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._before, self._began = 0.0, time.process_time()

    def __enter__(self) -> "CountedScratch":
        super().__enter__()
        return self

    def seconds(self) -> float:
        """Computing time so far."""
        return self._before + time.process_time() - self._began

    def save(self, state: dict[str, Any]) -> None:
        super().save({**state, "seconds": self.seconds()})

    def load(self) -> dict[str, Any] | None:
        saved = super().load()
        if saved is not None:
            self._before, self._began = saved["seconds"], time.process_time()
        return saved


@cache
def content(path: str) -> str:
    """`fingerprint`, once per path."""
    if not Path(path).exists():
        raise BadInput(path, expected="an output of the pipeline", found="nothing", fix="Run dvc repro first.")
    return fingerprint(path)


def recogniser_of(network: str) -> list[str]:
    """The recogniser that SelfTalk listens to; no other network has one."""
    if network != "selftalk":
        return []
    named = load_params(motion_prior.Params, "motion_prior").networks.get(network, NOTHING)
    return [RECOGNISER if is_nothing(named) else named]


def trained_prior(network: str, recipe: Any, seed: int) -> tuple[str | None, float]:
    """The folder of the network's prior and the seconds of its training, which happens once; `recipe` is the network's
    recipe, of which only `prior` counts."""
    training, corpus = training_of(network, "--network"), open_corpus(CORPUS)
    if not hasattr(training, "save_motion_prior"):
        return None, 0.0
    if recipe.prior is None:  # SelfTalk's recogniser
        (source,) = recogniser_of(network)
        folder = PRIORS / f"{network}-{content(source)}"
        if not folder.is_dir():
            with whole_folder(folder) as partial:
                training.save_motion_prior(partial, source, corpus)
        return str(folder), 0.0
    text = json.dumps([dataclasses.asdict(recipe.prior), content(CORPUS), content(SPEECH_ENCODER)], sort_keys=True)
    folder = PRIORS / f"{network}-seed{seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if not (folder / "cost.json").is_file():
        torch.set_num_threads(1)
        folder_of_checkpoint = open_scratch(f"prior-{network}-{seed}", recipe.prior, [CORPUS, SPEECH_ENCODER]).folder
        with CountedScratch(folder_of_checkpoint) as scratch:
            prior, _ = training.train_motion_prior(
                corpus, load_speech_encoder(SPEECH_ENCODER), corpus.split("train"), recipe.prior,
                seed=seed, scratch=scratch, description=f"{network}, prior",
            )  # fmt: skip
            with whole_folder(folder) as partial:
                training.save_motion_prior(partial / "prior", prior, corpus)
                write_json(partial / "cost.json", {"seconds": scratch.seconds()})
            scratch.remove()
    cost = read_json(folder / "cost.json", made_by="python -m scripts.compare")
    return f"{folder}/prior", float(cost["seconds"])
