"""Bursts of noise and a mouth that opens with them, late by a known time; and a SyncNet3D that has learnt such mouths."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.syncnet3d import config
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.training.syncnet3d import read_windows, train_syncnet3d
from learn2talk_core.weights import save_weights
from tests.toy import FPS, SIDE, sheet, toy_corpus
from tests.training.test_syncnet3d import NETWORK, RECIPE


@dataclass(frozen=True)
class Params:
    name: str = "test"


def talk(late_ms: float = 0.0, *, seconds: float = 3.0, fps: float = FPS, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """A sound (samples,) at 16 kHz and the sheet's motion (T, V, 3) of speaker A at `fps`."""
    rng = np.random.default_rng(seed)
    knots = np.arange(-1.0, seconds + 1.0, 0.18)
    loudness = rng.uniform(0, 1, len(knots))
    time = np.arange(round(seconds * 16000)) / 16000
    wave = 0.4 * np.interp(time, knots, loudness) * rng.normal(size=len(time))
    frames = np.arange(round(seconds * fps)) / fps
    opening = np.interp(frames - late_ms / 1000, knots, loudness)
    motion = np.repeat(sheet()[None], len(frames), 0)
    lower = np.arange(SIDE * SIDE) >= SIDE * SIDE // 2
    motion[:, lower, 1] -= (0.008 * opening[:, None]).astype(np.float32)
    return wave.clip(-1, 1).astype(np.float32), motion


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Corpus, Path]:
    """A toy corpus and the folder of a SyncNet3D trained on it, both in `folder`."""
    corpus = toy_corpus(folder / "corpus", clips=16)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    with open_scratch("syncnet3d-metric", Params(), []) as scratch:
        model, _ = train_syncnet3d(
            corpus, read_windows(corpus, "train"), NETWORK, RECIPE, "metric", seed=0, scratch=scratch
        )
        scratch.remove()
    save_weights(folder / "syncnet", model, config(model, corpus.recipe))
    return corpus, folder / "syncnet"
