"""A description of a voice, independent of words and loudness, to find the training speaker with the nearest voice."""

from collections.abc import Mapping

import numpy as np

from learn2talk_core.audio.mel import RANGE, mel_spectrogram
from learn2talk_core.audio.waveform import SAMPLE_RATE

HEARD = 60 * SAMPLE_RATE  # samples used of a long sound


def voice_of(wave: np.ndarray) -> np.ndarray:
    """The long-term average spectrum of a voice: mean and standard deviation of the log-mel bands, without pauses.

    Columns that are quieter than the median of all columns with any sound count as pauses and are left out. The mean
    over the bands is subtracted, so that the loudness of the recording does not matter.

    Args:
        wave: (samples,) 16 kHz mono; only the first minute is used.

    Returns:
        (160,) float32.
    """
    mel = mel_spectrogram(wave[:HEARD])
    loudness = mel.mean(axis=0)
    sounding = loudness[loudness > -RANGE]  # digital silence may be most of a film's sound
    heard = mel[:, loudness >= np.median(sounding)] if len(sounding) else mel
    mean = heard.mean(axis=1)
    return np.concatenate([mean - mean.mean(), heard.std(axis=1)])


def nearest_voice(wave: np.ndarray, voices: Mapping[str, np.ndarray]) -> str:
    """The name of the voice in `voices` (from `voice_of`) with the smallest Euclidean distance to that of `wave`."""
    own = voice_of(wave)
    return min(voices, key=lambda name: float(np.square(voices[name] - own).sum()))
