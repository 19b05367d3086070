"""mouths, lipreader/loss → data/teacher_features: E_lipread(G_teach(X)) of Eq. 6, once and not at every step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from learn2talk_core.corpus.mouths import open_mouths
from learn2talk_core.corpus.teacher_features import write_teacher_features
from learn2talk_core.models.lipreader import FPS, load_lipreader
from learn2talk_core.progress import progress
from learn2talk_core.stage import run

OUT = "data/teacher_features"


@dataclass(frozen=True)
class Params:
    """Group `teacher_features` of params.yaml."""

    features: Literal["frontend", "encoder"]
    dtype: Literal["float16", "float32"]


def main(params: Params) -> str:
    mouths = open_mouths("data/mouths")
    reader, _ = load_lipreader("data/models/lipreader/loss")

    @torch.no_grad()
    def read() -> Iterator[tuple[str, np.ndarray]]:
        for clip in progress(mouths.clips, "teacher features", unit="clip"):
            grey = torch.from_numpy(mouths.frames(clip)).float()[None] / 255
            yield clip, reader.features(grey, params.features)[0].numpy()

    write_teacher_features(OUT, read(), kind=params.features, fps=FPS, dtype=params.dtype)
    return f"{params.features} features of {len(mouths.clips)} clips"


if __name__ == "__main__":
    run(main, Params)
