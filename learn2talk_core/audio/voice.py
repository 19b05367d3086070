"""How a voice sounds, whatever it says and however loudly: to find the training speaker that is most like another."""

from collections.abc import Mapping

import numpy as np

from learn2talk_core.audio.mel import RANGE, mel_spectrogram
from learn2talk_core.audio.waveform import SAMPLE_RATE

HEARD = 60 * SAMPLE_RATE  # samples of a long sound that are listened to


def voice_of(wave: np.ndarray) -> np.ndarray:
    """The long-term average spectrum of a voice: mean and standard deviation of the log-mel bands while it sounds.

    Columns of the spectrogram that are quieter than the median of those with any sound are pauses and left out; the
    mean over the bands is taken off, so that the loudness of the recording does not matter.

    Args:
        wave: (samples,) 16 kHz mono; the first minute counts.

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
    """The name of the voice, of those that `voice_of` made, at the smallest Euclidean distance from that of a wave."""
    own = voice_of(wave)
    return min(voices, key=lambda name: float(np.square(voices[name] - own).sum()))
