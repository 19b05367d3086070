"""Wav2Lip's log-mel spectrogram (Prajwal et al. 2020), 80 columns per second, and windows cut from it.

It is the input of SyncNet3D's audio stream and of Wav2Lip's generator and sync expert.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import librosa
import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE

HOP = 200  # samples: 80 columns per second
COLUMNS_PER_SECOND = SAMPLE_RATE / HOP
BANDS = 80
WINDOW_COLUMNS = 16  # 0.2 s: 5 frames at 25 fps, 6 at 30

_FFT = 800
_BLOCK = 4096  # columns computed at once: 26 MB
_PREEMPHASIS = 0.97
_LOWEST_HZ, _HIGHEST_HZ = 55.0, 7600.0
_FLOOR, _REFERENCE_DB, _MIN_DB = 1e-5, 20.0, -100.0
RANGE = 4.0  # the result lies in [-4, 4]; digital silence is -4


def mel_spectrogram(wave: np.ndarray, *, padding: Literal["reflect", "constant"] = "reflect") -> np.ndarray:
    """Log-mel spectrogram of 16 kHz mono speech.

    Column c is centred on sample 200 c. Magnitude (not power) of the pre-emphasised signal, Slaney mels from 55 to
    7600 Hz, 20 log10 minus 20 dB, and [-100, 0] dB scaled to [-4, 4] with clipping.

    Args:
        wave: (samples,) in [-1, 1], more than 400 of them.
        padding: how the two ends are padded. "reflect" is the default of librosa 0.7, with which the official
            checkpoints were trained; "constant" (zeros) is that of librosa 0.9 and later. The results differ only in
            the two columns at each end.

    Returns:
        (80, 1 + samples // 200) float32.
    """
    if wave.ndim != 1 or len(wave) <= _FFT // 2:
        raise ValueError(f"a mel spectrogram needs one channel of more than {_FFT // 2} samples, got {wave.shape}")
    wave = wave.astype(np.float64)
    emphasised = np.concatenate([wave[:1], wave[1:] - _PREEMPHASIS * wave[:-1]])
    padded = np.pad(emphasised, _FFT // 2, mode=padding)
    # the bits of librosa.stft and of scipy.signal's window, whose imports take seconds
    parts = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::HOP]
    hann = 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, _FFT + 1)[:-1])
    magnitude = np.empty((len(parts), _FFT // 2 + 1))
    for start in range(0, len(parts), _BLOCK):
        magnitude[start : start + _BLOCK] = np.abs(np.fft.rfft(hann * parts[start : start + _BLOCK]))
    decibels = 20 * np.log10(np.maximum(_FLOOR, _filters() @ magnitude.T)) - _REFERENCE_DB
    scaled = 2 * RANGE * (decibels - _MIN_DB) / -_MIN_DB - RANGE
    return np.clip(scaled, -RANGE, RANGE).astype(np.float32)


def window_starts(frames: int, fps: float) -> np.ndarray:
    """First mel column of the window of each video frame, as in Wav2Lip: int(80 f / fps). (frames,) int64."""
    return (np.arange(frames) * (COLUMNS_PER_SECOND / fps)).astype(np.int64)


def mel_windows(mel: np.ndarray, starts: Sequence[int] | np.ndarray, columns: int = WINDOW_COLUMNS) -> np.ndarray:
    """Cut a window of `columns` columns at each of `starts`.

    A window that would extend beyond an end is moved inside, as Wav2Lip does with its last window; if the spectrogram
    is shorter than a window, its last column is repeated.

    Args:
        mel: (80, C).
        starts: (N,) first columns.
        columns: number of columns of a window.

    Returns:
        (N, 80, columns).
    """
    total = mel.shape[1]
    first = np.clip(np.asarray(starts, dtype=np.int64), 0, max(0, total - columns))
    index = np.minimum(first[:, None] + np.arange(columns), total - 1)
    return np.ascontiguousarray(mel[:, index].transpose(1, 0, 2))


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=_FFT, n_mels=BANDS, fmin=_LOWEST_HZ, fmax=_HIGHEST_HZ)
