"""A dataset on its way into the canonical corpus."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from learn2talk_core.corpus.format import Recording
from learn2talk_core.mesh.topology import Topology


@dataclass(frozen=True)
class Source:
    """A dataset on its way into the canonical corpus: what `write_corpus` takes."""

    recordings: Iterable[Recording]  # a generator; one clip in memory at a time
    topology: Topology
    templates: Mapping[str, np.ndarray]  # speaker → (V, 3) float32
    train_speakers: tuple[str, ...]  # order of the style one-hot
    fps: float
    mm_per_unit: float
    recipe: str  # e.g. "vocaset", "biwi-codetalker", "biwi-metric", "folder"
