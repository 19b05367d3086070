"""A tiny run for the viewer: a corpus, two sets of predictions and a student."""

from pathlib import Path

import numpy as np

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.corpus.predictions import write_predictions
from learn2talk_core.run.files import write_json
from tests.toy import SIDE
from tests.toy_student import toy_student

SHOWN = {"A100": "test_seen", "D102": "test_unseen"}  # the clips that a viewer lists, each of 36 frames


def toy_run(folder: Path) -> Path:
    """Write `folder/data` with corpus, predicted and models, and the result table beside it; returns `folder/data`."""
    data = folder / "data"
    data.mkdir()
    toy_student(data)
    (data / "models" / "students").mkdir(parents=True)
    (data / "student").rename(data / "models" / "students" / "learn2talk")
    corpus = open_corpus(data / "corpus")
    lower = np.zeros((SIDE * SIDE, 3), np.float32)
    lower[SIDE * SIDE // 2 :, 1] = -1
    for seed, (name, scale) in enumerate((("faceformer", 0.004), ("learn2talk", 0.006))):
        rng = np.random.default_rng(seed)
        basis = np.stack([lower, rng.normal(size=lower.shape).astype(np.float32) / 20])
        with write_predictions(data / "predicted" / name, basis, 0.0002 * lower, recipe=corpus.recipe) as writer:
            for clip in corpus.split("test_seen", "test_unseen"):
                for style in corpus.train_speakers:
                    opening = scale * (1 + np.sin(np.arange(clip.frames) / 3 + (style == "B")))
                    writer.add(clip.id, style, np.stack([opening, 0.02 * opening], 1))
    table = {"learn2talk": {"styles": {"D": "B"}}, "faceformer": {"styles": {"D": "B"}}}
    write_json(folder / "metrics" / "evaluate.json", {"seen": {}, "unseen": table})
    return data
