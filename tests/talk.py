"""Bursts of noise and a mouth that opens with them, late by a known time; a SyncNet3D that has learnt such mouths."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus.format import Corpus, Recording, open_corpus, write_corpus
from learn2talk_core.models.syncnet3d import config
from learn2talk_core.run.weights import save_weights
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.syncnet3d import read_windows, train_syncnet3d
from tests.toy import FPS, SIDE, sheet, topology
from tests.training.test_syncnet3d import NETWORK, RECIPE

SCALES = {"A": 1.0, "B": 1.1}  # of the speakers' faces


@dataclass(frozen=True)
class Params:
    name: str = "test"


def talk(
    late_ms: float = 0.0, *, seconds: float = 3.0, fps: float = FPS, seed: int = 7, speaker: str = "A"
) -> tuple[np.ndarray, np.ndarray]:
    """A sound (samples,) at 16 kHz and the sheet's motion (T, V, 3) at `fps`."""
    rng = np.random.default_rng(seed)
    knots = np.arange(-1.0, 10.0, 0.18)
    loudness = rng.uniform(0, 1, len(knots))
    time = np.arange(round(seconds * 16000)) / 16000
    wave = 0.4 * np.interp(time, knots, loudness) * rng.normal(size=len(time))
    frames = np.arange(round(seconds * fps)) / fps
    opening = np.interp(frames - late_ms / 1000, knots, loudness)
    motion = np.repeat(sheet(SCALES[speaker])[None], len(frames), 0)
    lower = np.arange(SIDE * SIDE) >= SIDE * SIDE // 2
    motion[:, lower, 1] -= (0.008 * opening[:, None]).astype(np.float32)
    motion[:, lower, 0] += (0.0005 * np.sin(6 * frames))[:, None].astype(np.float32)
    return wave.clip(-1, 1).astype(np.float32), motion


def talk_corpus(folder: Path) -> Corpus:
    """Twelve clips to train on, six to validate, four to test."""

    def recordings():
        for number in range(22):
            split = "train" if number < 12 else "validation" if number < 18 else "test_seen"
            speaker = "AB"[number % 2]
            wave, motion = talk(seed=100 + number, speaker=speaker)
            yield Recording(str(number), speaker, str(number), "", split, wave, motion)

    write_corpus(
        folder, recordings(), topology=topology(), templates={name: sheet(scale) for name, scale in SCALES.items()},
        train_speakers=["A", "B"], fps=FPS, mm_per_unit=1000, recipe="toy",
    )  # fmt: skip
    return open_corpus(folder)


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Corpus, Path]:
    """Such a corpus and the folder of a SyncNet3D trained on it, both in `folder`."""
    corpus = talk_corpus(folder / "corpus")
    monkeypatch.setenv("DVC_ROOT", str(folder))
    with open_scratch("syncnet3d-metric", Params(), []) as scratch:
        model, _ = train_syncnet3d(
            corpus, read_windows(corpus, "train"), NETWORK, RECIPE, "metric", seed=0, scratch=scratch
        )
        scratch.remove()
    save_weights(folder / "syncnet", model, config(model, corpus.recipe))
    return corpus, folder / "syncnet"
