"""Conversion to mono: the mean of the channels, or the loudest channel if they cancel each other in the mean."""

import io
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import log

HOUR = 3600.0
LONGEST = 12 * HOUR  # seconds: 2.8 GB
THINNEST = 500  # bytes per second of longer files; AMR and Opus need 600 and more for speech
CANCELLED = 0.1  # as a fraction of the power that the mean of independent channels would have


class Mixer:
    """Converts blocks (channels, samples) of a sound to mono, and measures how far the channels cancel each other."""

    def __init__(self, only: int | None = None) -> None:
        self._only = only
        self._samples = 0
        self._sum = np.zeros(0)
        self._products = np.zeros((0, 0))

    def mono(self, block: np.ndarray) -> np.ndarray:
        """(samples,): the mean of the channels, or channel `only`."""
        if self._only is not None:
            return block[min(self._only, len(block) - 1)]
        if len(block) > 1:
            if (more := len(block) - len(self._sum)) > 0:  # the number of channels may grow within a sound
                self._sum, self._products = np.pad(self._sum, (0, more)), np.pad(self._products, (0, more))
            self._samples += block.shape[1]
            self._sum[: len(block)] += block.sum(axis=1)
            self._products[: len(block), : len(block)] += block @ block.T
        return block.mean(axis=0)

    def cancelled(self) -> int | None:
        """The loudest channel if the mean has less than a tenth of the power for independent channels, else None."""
        if self._samples == 0:
            return None
        mean = self._sum / self._samples
        covariance = self._products / self._samples - np.outer(mean, mean)
        if not covariance.sum() < CANCELLED * np.trace(covariance):
            return None
        return int(np.diag(covariance).argmax())


class Limit(NamedTuple):
    """The longest allowed sound in seconds, and `expected` and `fix` of the error for a longer one."""

    seconds: float
    expected: str
    fix: str

    def refuse(self, seconds: float, where: object) -> None:
        """Raise `BadInput` if a sound is longer."""
        if seconds > self.seconds:
            raise BadInput(where, expected=self.expected, found="more", fix=self.fix)


def limit_of(size: int) -> Limit:
    """The limit for a file of `size` bytes, so that a small file cannot take a disproportionate amount of memory."""
    seconds = min(LONGEST, max(HOUR, size / THINNEST))
    expected = f"up to {seconds / HOUR:.3g} h of sound in a file of its size"
    fix = f"Cut it: any file may have one hour, and {LONGEST / HOUR:.0f} h if it has {THINNEST} bytes per second."
    return Limit(seconds, expected, fix)


def read_mono(read: Callable[[Mixer], Iterable[np.ndarray]], limit: Limit, where: object) -> np.ndarray:
    """The whole sound, (samples,) float32 at 16 kHz, with no more memory than that of the result.

    Args:
        read: yields the sound piece by piece, converted to mono by the mixer; called again if channels cancel.
        limit: a longer sound is refused with `BadInput`.
        where: the name of the sound in errors and warnings.
    """
    mixer = Mixer()
    wave = _joined(read(mixer), limit, where)
    loudest = mixer.cancelled()
    if loudest is None:
        return wave
    log.warning("%s: its channels cancel each other in their mean; channel %d is used", where, loudest + 1)
    return _joined(read(Mixer(loudest)), limit, where)


def _joined(pieces: Iterable[np.ndarray], limit: Limit, where: object) -> np.ndarray:
    joined = io.BytesIO()
    for piece in pieces:
        joined.write(np.ascontiguousarray(piece, np.float32).data)
        limit.refuse(joined.tell() / 4 / SAMPLE_RATE, where)
    return np.frombuffer(joined.getbuffer(), np.float32)
