"""MFCCs as computed by the package python_speech_features with its defaults: the audio input of SyncNet.

They differ from librosa's: rectangular windows, power divided by the FFT length, filters whose corners are rounded to
FFT bins, and the first coefficient replaced by the logarithm of the frame's energy.
"""

from functools import lru_cache

import numpy as np
from scipy.fft import dct

from learn2talk_core.audio.waveform import SAMPLE_RATE

WINDOW, STEP = 400, 160  # samples: 25 ms every 10 ms
COLUMNS_PER_SECOND = SAMPLE_RATE / STEP
COEFFICIENTS = 13

_FFT, _FILTERS, _PREEMPHASIS, _LIFTER = 512, 26, 0.97, 22
_EPSILON = np.finfo(np.float64).eps  # replaces zeros before taking a logarithm


def mfcc(samples: np.ndarray) -> np.ndarray:
    """MFCCs of 16 kHz mono speech.

    Args:
        samples: (N,) in 16-bit units (−32768 … 32767), as integers or floats; at least one. For a wave in [−1, 1] the
            first coefficient would be shifted.

    Returns:
        (C, 13) float64 with C = 1 + ⌈(N − 400) / 160⌉, at least 1; column c covers the samples from 160 c on.
    """
    if samples.ndim != 1 or len(samples) == 0:
        raise ValueError(f"cepstra need one channel with at least one sample, got {samples.shape}")
    wave = samples.astype(np.float64)
    wave = np.concatenate([wave[:1], wave[1:] - _PREEMPHASIS * wave[:-1]])
    frames = 1 + max(0, -(-(len(wave) - WINDOW) // STEP))
    padded = np.pad(wave, (0, max(0, (frames - 1) * STEP + WINDOW - len(wave))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP][:frames]
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2 / _FFT
    energy = power.sum(axis=1)
    bands = power @ _triangles().T
    logarithms = np.log(np.where(bands == 0, _EPSILON, bands))
    cepstra = dct(logarithms, type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    cepstra *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER)
    cepstra[:, 0] = np.log(np.where(energy == 0, _EPSILON, energy))
    return cepstra


@lru_cache(maxsize=1)
def _triangles() -> np.ndarray:
    """(26, 257) triangular filters from 0 Hz to half the sample rate, evenly spaced on the mel scale (2595 log10)."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, _FILTERS + 2) / 2595) - 1)
    corners = np.floor((_FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(_FFT // 2 + 1)
    left, top, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (bins - left) / np.maximum(top - left, 1)
    falling = (right - bins) / np.maximum(right - top, 1)
    triangles = np.where(bins < top, rising, falling)
    return np.where((bins >= left) & (bins < right), triangles, 0.0)
