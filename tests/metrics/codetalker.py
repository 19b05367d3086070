"""Inputs for CodeTalker's own script (commit 1b7cb95, unmodified), whose output is the golden file.

Two subjects, four sentences each, 23370 vertices (the script requires BIWI's number). A prediction has four fifths of
the truth's weights and some noise, and is longer than the truth in two sentences. The regions are ours.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

VERTICES = 23370
FRAMES = {"F2": (7, 9, 8, 10), "M3": (12, 6, 11, 9)}
LONGER = {"F2_e38": 3, "M3_e40": 5}
LIPS = np.array([*range(1576, 3929, 9), 1576, 1585, 1594, 1603])  # four ids are duplicates, as in FLAME's lips
UPPER_FACE = np.arange(7, VERTICES, 31)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics" / "codetalker.json").read_text())
BIWI = json.loads((Path(__file__).parents[1] / "golden" / "metrics" / "cal_metric.json").read_text())


def clips() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name, truth (T, V, 3), prediction (T', V, 3) and template (V, 3) of each clip."""
    for subject, lengths in FRAMES.items():
        template = np.float32(0.3) * _normal(f"template:{subject}", (VERTICES, 3))
        for number, frames in enumerate(lengths, 37):
            name = f"{subject}_e{number}"
            more = LONGER.get(name, 0)
            modes = np.float32(0.01) * _normal(f"modes:{name}", (4, VERTICES * 3))
            weights = _normal(f"weights:{name}", (frames, 4))
            predicted = np.float32(0.8) * np.concatenate([weights, _normal(f"tail:{name}", (more, 4))])
            predicted += np.float32(0.1) * _normal(f"noise:{name}", (frames + more, 4))
            truth, prediction = (template + (w @ modes).reshape(-1, VERTICES, 3) for w in (weights, predicted))
            yield name, truth, prediction, template


def _normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, np.float32)
