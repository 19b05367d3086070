"""Mono 16 kHz waveforms: resampling, conversion to 16-bit samples, writing as WAV."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from learn2talk_core.run.files import whole_file

SAMPLE_RATE = 16_000
SILENCE_PEAK = 1e-3  # -60 dB of full scale


def write_wave(path: str | Path, wave: np.ndarray) -> None:
    """Write (samples,) floats in [-1, 1] as 16-bit mono WAV at `SAMPLE_RATE`."""
    with whole_file(path) as partial:
        soundfile.write(partial, to_int16(wave), SAMPLE_RATE, subtype="PCM_16", format="WAV")


def whole_frames(samples: int, fps: float) -> int:
    """How many frames at `fps` fit into so many samples; a frame may end between two samples."""
    return int((samples + 0.5) * fps / SAMPLE_RATE)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """Band-limited resampling of (samples,) from `rate` to `SAMPLE_RATE`, float32."""
    ratio = Fraction(SAMPLE_RATE, rate)
    if ratio == 1 or wave.size == 0:
        return wave.astype(np.float32)
    from scipy.signal import resample_poly  # takes a second, and most sounds have this rate already

    return resample_poly(wave, ratio.numerator, ratio.denominator).astype(np.float32)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1] as 16-bit samples; values outside are clipped."""
    return np.round(np.clip(wave, -1, 32767 / 32768) * 32768).astype(np.int16)


def from_int16(samples: np.ndarray) -> np.ndarray:
    """16-bit samples as float32 in [-1, 1)."""
    return samples.astype(np.float32) / 32768
