"""Randomness as a function of names and numbers.

Every training step seeds its own randomness from (seed, step). A resumed run is therefore identical to an
uninterrupted one, and no generator state is stored.
"""

import zlib

import numpy as np
import torch


def mix(*parts: int | str) -> int:
    """A 63-bit seed that is a pure function of `parts`, the same on every machine."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part & 0xFFFFFFFF for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator seeded from `parts`, for example `generator(seed, "batch", step)`."""
    return np.random.default_rng(mix(*parts))


def seed_torch(*parts: int | str) -> None:
    """Seed torch's global generators (initial weights, dropout) from `parts`."""
    torch.manual_seed(mix(*parts))
