"""One channel of several: their mean, or where they cancel each other in it, the loudest."""

import io
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import log

HOUR = 3600.0
LONGEST = 12 * HOUR  # seconds: 2.8 GB
THINNEST = 500  # bytes a second of longer files; AMR and Opus take 600 and more for speech
CANCELLED = 0.1  # of the power that the mean of independent channels would have


class Mixer:
    """Makes blocks (channels, samples) of a sound mono, and adds up by how much the channels cancel."""

    def __init__(self, only: int | None = None) -> None:
        self._only = only
        self._samples = 0
        self._sum = np.zeros(0)
        self._products = np.zeros((0, 0))

    def mono(self, block: np.ndarray) -> np.ndarray:
        """(samples,): the mean of the channels, or the one that `only` names."""
        if self._only is not None:
            return block[min(self._only, len(block) - 1)]
        if len(block) > 1:
            if (more := len(block) - len(self._sum)) > 0:  # channels may be added on the way
                self._sum, self._products = np.pad(self._sum, (0, more)), np.pad(self._products, (0, more))
            self._samples += block.shape[1]
            self._sum[: len(block)] += block.sum(axis=1)
            self._products[: len(block), : len(block)] += block @ block.T
        return block.mean(axis=0)

    def cancelled(self) -> int | None:
        """The loudest channel, where the mean has less than a tenth of the power that independent channels give it."""
        if self._samples == 0:
            return None
        mean = self._sum / self._samples
        covariance = self._products / self._samples - np.outer(mean, mean)
        if not covariance.sum() < CANCELLED * np.trace(covariance):
            return None
        return int(np.diag(covariance).argmax())


class Limit(NamedTuple):
    """How many seconds a sound may take, and what the error of a longer one expects and advises."""

    seconds: float
    expected: str
    fix: str

    def refuse(self, seconds: float, where: object) -> None:
        """Raise `BadInput` where a sound takes more."""
        if seconds > self.seconds:
            raise BadInput(where, expected=self.expected, found="more", fix=self.fix)


def limit_of(size: int) -> Limit:
    """For the sound of a file of `size` bytes, so that small files take no memory that their size does not explain."""
    seconds = min(LONGEST, max(HOUR, size / THINNEST))
    expected = f"up to {seconds / HOUR:.3g} h of sound in a file of its size"
    fix = f"Cut it: an hour is read of any file, {LONGEST / HOUR:.0f} h of one with {THINNEST} bytes a second."
    return Limit(seconds, expected, fix)


def read_mono(read: Callable[[Mixer], Iterable[np.ndarray]], limit: Limit, where: object) -> np.ndarray:
    """The whole sound, (samples,) float32 at 16 kHz, in the memory of the result.

    Args:
        read: gives it piece by piece, made mono by the mixer; called again where channels cancel.
        limit: what is longer is refused by `BadInput`.
        where: what errors and warnings call it.
    """
    mixer = Mixer()
    wave = _joined(read(mixer), limit, where)
    loudest = mixer.cancelled()
    if loudest is None:
        return wave
    log.warning("%s: its channels cancel each other in their mean; channel %d is taken", where, loudest + 1)
    return _joined(read(Mixer(loudest)), limit, where)


def _joined(pieces: Iterable[np.ndarray], limit: Limit, where: object) -> np.ndarray:
    joined = io.BytesIO()
    for piece in pieces:
        joined.write(np.ascontiguousarray(piece, np.float32).data)
        limit.refuse(joined.tell() / 4 / SAMPLE_RATE, where)
    return np.frombuffer(joined.getbuffer(), np.float32)
