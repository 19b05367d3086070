"""Single clips whose sound does not fit their lips: reversed, early or late, or the sound of something else.

How loud one clip is says too little about its lips. A ridge regression from the log-mel spectrogram around each frame
to the lips, learnt from all other clips of the corpus, says enough: it predicts the lips of a clip. Their correlation
with the true lips is compared with that of the lips predicted from the sound reversed or shifted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from learn2talk_core.audio.mel import BANDS, COLUMNS_PER_SECOND, mel_spectrogram
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.offset import opening_curve
from learn2talk_core.mesh.topology import Topology

STEP = 0.02  # seconds between two samples
WIDER_BANDS = 20  # of four mel bands each
REACH, SPACING = 8, 2  # the sound is read at 0, ±SPACING, … ±REACH·SPACING samples: 0.32 s to both sides
RIDGE = 0.3  # of the mean eigenvalue of the sound's covariance
LIMIT = round(0.3 / STEP)  # samples; the largest lag that is tried
NEAR = 1  # samples by which the lips of correct clips may be early or late
LATE = round(0.08 / STEP)  # samples
ENOUGH = 16  # clips from which the regression is learnt
# Correlations. 416 correct clips of two embedded corpora reach 0.31 as they are, and gain 0.02 at most by the others.
FITS, BETTER = 0.2, 0.3
GAIN_REVERSED, GAIN_SHIFTED = 0.1, 0.05


@dataclass(frozen=True)
class SoundAndLips:
    """Sound and lips of a clip every `STEP` seconds.

    Attributes:
        mel, reversed_mel: (n, WIDER_BANDS) log-mel spectrogram of the sound and of the reversed sound, minus its mean.
        lips: (n, 4) width, opening, height and depth of the lips, minus their mean, in the unit of the mesh.
    """

    mel: np.ndarray
    reversed_mel: np.ndarray
    lips: np.ndarray


@dataclass(frozen=True)
class Misfit:
    """What is wrong with the sound of a clip.

    Attributes:
        kind: what would fit better: the sound reversed, the sound shifted, or nothing that was tried.
        late_ms: how late the sound is; 0 unless it is shifted.
    """

    kind: Literal["reversed", "shifted", "other"]
    late_ms: float = 0.0


def sound_and_lips(topology: Topology, motion: np.ndarray, audio: np.ndarray, fps: float) -> SoundAndLips | None:
    """What `misfits` compares, from motion (T, V, 3) at `fps` and sound (samples,) at 16 kHz.

    Returns:
        None for a clip that is no longer than four times the largest lag.
    """
    frames = np.arange(len(motion)) / fps
    count = int(min(frames[-1] if len(frames) else 0.0, len(audio) / SAMPLE_RATE) / STEP)
    if count <= 4 * LIMIT:
        return None
    times, audio = STEP * np.arange(count), audio[: round(count * STEP * SAMPLE_RATE)]
    lips = motion[:, topology.regions["lips"]]
    width, height, depth = lips[..., 0].std(axis=1), lips[..., 1].mean(axis=1), lips[..., 2].mean(axis=1)
    curves = (width, opening_curve(topology, motion), height, depth)
    sampled = np.stack([np.interp(times, frames, curve) for curve in curves], axis=1)
    return SoundAndLips(_mel(audio, times), _mel(audio[::-1], times), sampled - sampled.mean(axis=0))


def misfits(clips: Sequence[SoundAndLips | None]) -> dict[int, Misfit]:
    """Index of a clip → what is wrong with its sound, for clips of one corpus; empty with fewer than `ENOUGH` clips."""
    known = {number: clip for number, clip in enumerate(clips) if clip is not None}
    if len(known) < ENOUGH:
        return {}
    whiten = _whitening([clip.lips for clip in known.values()])
    lips = {number: clip.lips @ whiten for number, clip in known.items()}
    sounds = {number: _context(clip.mel) for number, clip in known.items()}
    square = sum(sound.T @ sound for sound in sounds.values())
    product = sum(sound.T @ lips[number] for number, sound in sounds.items())
    ridge = RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    fits = {}
    for number, sound in sounds.items():
        weights = np.linalg.solve(square - sound.T @ sound + ridge, product - sound.T @ lips[number])
        heard = _correlations(sound @ weights, lips[number])
        fits[number] = heard, _correlations(_context(known[number].reversed_mel) @ weights, lips[number])
    if np.median([heard[LIMIT] for heard, _ in fits.values()]) < 2 * FITS:
        return {}  # Sound and lips of the whole corpus have little to do with each other.
    found = {number: _misfit(*fit) for number, fit in fits.items()}
    return {number: misfit for number, misfit in found.items() if misfit is not None}


def _misfit(heard: np.ndarray, backwards: np.ndarray) -> Misfit | None:
    near = slice(LIMIT - NEAR, LIMIT + NEAR + 1)
    lag, fit = int(heard.argmax()) - LIMIT, heard[near].max()
    if backwards[near].max() > max(BETTER, fit + GAIN_REVERSED):
        return Misfit("reversed")
    if abs(lag) >= LATE and heard.max() > max(BETTER, fit + GAIN_SHIFTED):
        return Misfit("shifted", -1000 * STEP * lag)
    return Misfit("other") if fit < FITS else None


def _mel(audio: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(n, WIDER_BANDS) at `times`, minus its mean."""
    mel = mel_spectrogram(audio).reshape(WIDER_BANDS, BANDS // WIDER_BANDS, -1).mean(axis=1)
    columns = np.arange(mel.shape[1]) / COLUMNS_PER_SECOND
    sampled = np.stack([np.interp(times, columns, band) for band in mel], axis=1)
    return sampled - sampled.mean(axis=0)


def _context(mel: np.ndarray) -> np.ndarray:
    """(n, bands · (2 REACH + 1)): each sample and those around it; the ends are repeated."""
    width = REACH * SPACING
    padded = np.pad(mel, ((width, width), (0, 0)), mode="edge")
    return sliding_window_view(padded, 2 * width + 1, axis=0)[:, :, ::SPACING].reshape(len(mel), -1)


def _whitening(lips: Sequence[np.ndarray]) -> np.ndarray:
    """(4, 4) matrix that makes the lips of all clips uncorrelated, with variance 1: opening would outweigh the rest."""
    samples = np.concatenate(lips)
    covariance = samples.T @ samples / len(samples)
    return np.linalg.inv(np.linalg.cholesky(covariance + 1e-6 * np.trace(covariance) * np.eye(len(covariance)))).T


def _correlations(predicted: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """(2 LIMIT + 1,) correlation of predicted and true lips, both (n, 4), for each lag of the lips."""
    length = len(lips)
    return np.array(
        [
            _correlation(predicted[max(0, -lag) : length - max(0, lag)], lips[max(0, lag) : length - max(0, -lag)])
            for lag in range(-LIMIT, LIMIT + 1)
        ]
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return float((a * b).sum() / max(np.sqrt(np.square(a).sum() * np.square(b).sum()), 1e-30))
