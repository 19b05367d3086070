"""Evaluation of a trained SyncNet3D: accuracy and AUC at each shift, the distances of Fig. 5, recovery of known lags.

Windows in silence are left out everywhere: a closed mouth fits any silence, so that all shifts are equally good.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.syncnet3d import SyncNet3D, audio_windows
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import generator
from learn2talk_core.statistics.synchrony import (
    MAX_SHIFT,
    at_shifts,
    auc,
    balanced_accuracy,
    best_threshold,
    lag,
    mean_distances,
    shifted_distances,
)
from learn2talk_core.training.syncnet3d import MAX_FALSE_SHIFT, Windows, mouth_displacement

MAX_LAG = 10  # frames


@dataclass(frozen=True)
class Check:
    """Attributes:
    numbers: contents of `metrics/syncnet3d/ROLE.json`.
    histogram: rows (distance, genuine, false): share of pairs of unseen speakers by distance (the paper's Fig. 5).
    shifts: rows (shift, auc, accuracy): single windows of unseen speakers against shifts of ± `shift` frames.
    """

    numbers: dict[str, float | int | None]
    histogram: list[dict[str, float]]
    shifts: list[dict[str, float]]


def check_syncnet3d(
    corpus: Corpus, model: SyncNet3D, validation: Sequence[Windows], unseen: Sequence[Windows], *, lags: int, seed: int
) -> Check:
    """Evaluate `model` on clips of held-out speakers.

    Args:
        corpus: the corpus of the clips.
        model: in evaluation mode.
        validation: clips used to choose the distance threshold between genuine and false pairs.
        unseen: clips whose results are reported.
        lags: number of known lags tried on each of them.
        seed: seed of the choice of lags.
    """
    farthest = round(MAX_FALSE_SHIFT * corpus.fps)
    known = speech_distances(corpus, model, validation, farthest)
    threshold = best_threshold(at_shifts(known, 0, 0), at_shifts(known, 1, farthest))
    table = speech_distances(corpus, model, unseen, farthest)
    genuine = at_shifts(table, 0, 0)

    def separation(nearest: int, last: int) -> tuple[float, float]:
        false = at_shifts(table, nearest, last)
        return auc(genuine, false), balanced_accuracy(genuine, false, threshold)

    numbers = {"threshold": threshold, "windows_unseen": len(table)}
    for name, nearest, last in (("shift1", 1, 1), ("shift2", 2, 2), ("shift3", 3, farthest)):
        numbers[f"auc_{name}_unseen"], numbers[f"accuracy_{name}_unseen"] = separation(nearest, last)
    errors = lag_errors(corpus, model, unseen, lags, seed)
    numbers["lags_unseen"] = len(errors)
    numbers["lag_within_1_frame"] = float((np.abs(errors[:, 0]) <= 1).mean()) if len(errors) else np.nan
    numbers["lag_error_ms"] = float(np.abs(errors[:, 1]).mean()) if len(errors) else np.nan
    shifts = [
        dict(zip(("shift", "auc", "accuracy"), (shift, *separation(shift, shift)), strict=True))
        for shift in range(1, min(MAX_SHIFT, farthest) + 1)
    ]
    finite = {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}
    return Check(finite, histogram(genuine, at_shifts(table, 1, farthest)), shifts)


@torch.no_grad()
def embed(model: SyncNet3D, motion: Tensor, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Mesh and audio embeddings (N, E) of a clip's windows; `motion` is its `mouth_displacement`."""
    mesh = model.embed_mesh(motion[None])[0, : len(windows.mel)]
    return mesh.numpy(), model.embed_audio(windows.mel).numpy()


def speech_distances(corpus: Corpus, model: SyncNet3D, clips: Sequence[Windows], farthest: int) -> np.ndarray:
    """`shifted_distances` of all windows with speech of all clips, (windows, 2 farthest + 1)."""
    tables = []
    for windows in clips:
        pair = embed(model, mouth_displacement(corpus, windows.clip), windows)
        tables.append(shifted_distances(*pair, max_shift=farthest)[windows.speech])
    return np.concatenate(tables) if tables else np.empty((0, 2 * farthest + 1))


def lag_errors(corpus: Corpus, model: SyncNet3D, clips: Sequence[Windows], lags: int, seed: int) -> np.ndarray:
    """Errors in recovering known lags: rows (error in frames, error in milliseconds), one per clip and lag.

    The sound is cut from the recording so that it starts earlier or later than the motion; nothing is padded.
    """
    errors = []
    for windows in progress(clips, "known lags", unit="clip"):
        motion, _ = embed(model, mouth_displacement(corpus, windows.clip), windows)
        wave = corpus.audio(windows.clip)
        for frames in generator(seed, "lags", windows.clip.id).integers(-MAX_LAG, MAX_LAG + 1, lags):
            # A positive lag (late audio) drops the first frames of the motion, a negative one the start of the sound.
            first, cut = max(0, int(frames)), max(0, round(-int(frames) * SAMPLE_RATE / corpus.fps))
            mel = torch.from_numpy(audio_windows(wave[cut:], corpus.fps))
            speech = windows.speech[first : first + len(mel)]
            if not speech.any():
                continue
            with torch.no_grad():
                audio = model.embed_audio(mel).numpy()
            found = lag(mean_distances(shifted_distances(motion[first:], audio), speech), corpus.fps)
            errors.append((-found.offset - frames, found.milliseconds - 1000 * frames / corpus.fps))
    return np.array(errors).reshape(-1, 2)


def histogram(genuine: np.ndarray, false: np.ndarray, bins: int = 40) -> list[dict[str, float]]:
    """Shares of genuine and false pairs by distance, which is in [0, 2] for unit vectors."""
    edges = np.linspace(0, 2, bins + 1)
    counts = [np.histogram(d[np.isfinite(d)], edges)[0] for d in (genuine, false)]
    shares = [count / max(1, count.sum()) for count in counts]
    return [
        {"distance": float(centre), "genuine": float(g), "false": float(f)}
        for centre, g, f in zip((edges[1:] + edges[:-1]) / 2, *shares, strict=True)
    ]
