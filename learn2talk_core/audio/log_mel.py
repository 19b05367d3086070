"""Log-mel levels as Whisper hears them (Radford et al. 2022): 100 per second, power spectrum, 25 ms windows."""

from functools import lru_cache

import librosa
import numpy as np
import torch
from torch import Tensor

from learn2talk_core.audio.waveform import SAMPLE_RATE

HOP, FFT = 160, 400  # samples
FLOOR = 1e-10  # power of silence
PIECE = 3000  # levels computed at once, so that memory is that of the result


def log_mel_levels(wave: np.ndarray, bands: int = 80) -> Tensor:
    """log10 of the power in mel bands, of 16 kHz mono speech; level m is centred on sample 160 m.

    Args:
        wave: (samples,) in [-1, 1]; fewer than 400 are padded with silence.
        bands: number of mel bands, Slaney's scale from 0 to 8000 Hz: 80, or 128 for Whisper large-v3.

    Returns:
        (samples // 160, bands) float32.
    """
    sound = torch.from_numpy(np.pad(wave.astype(np.float32), (0, max(0, FFT - len(wave)))))
    count = len(sound) // HOP
    padded = torch.nn.functional.pad(sound[None], (FFT // 2, FFT // 2), mode="reflect")[0]
    hann, filters = torch.hann_window(FFT), _filters(bands)
    levels = []
    for start in range(0, count, PIECE):
        end = min(start + PIECE, count)
        part = padded[start * HOP : (end - 1) * HOP + FFT]
        power = torch.stft(part, FFT, HOP, window=hann, center=False, return_complex=True).abs() ** 2
        levels.append((filters @ power).clamp(min=FLOOR).log10().T)
    return torch.cat(levels)


@lru_cache
def _filters(bands: int) -> Tensor:
    return torch.from_numpy(librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FFT, n_mels=bands))
