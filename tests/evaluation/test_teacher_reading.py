"""The judging lip reader on the teacher's videos, against the same measures over all frames at once."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.corpus.phonemes import PHONEMES, Phoneme, frame_labels, visemes_of
from learn2talk_core.evaluation.judge import Judging, MotionJudges
from learn2talk_core.evaluation.teacher_reading import read_teacher_clip, teacher_scores
from learn2talk_core.models.lipreader import LipReader, load_lipreader, read_lips, with_head
from learn2talk_core.models.syncnet3d import SyncNet3D
from learn2talk_core.run.weights import save_weights
from learn2talk_core.statistics.recognition import ctc_greedy, error_rate, viseme_accuracy
from learn2talk_core.video.mouths import open_mouths, write_mouths

SHAPE: dict[str, Any] = {
    "vocabulary": 41, "width": 4, "dim": 16, "heads": 2, "hidden": 32, "encoder_layers": 1, "decoder_layers": 1,
    "kernel": 3, "dropout": 0.0, "normalise": "clip", "size": 22,
}  # fmt: skip


class Clips:
    """As much of a corpus as is needed."""

    def __init__(self, clips: list[Clip]) -> None:
        self.clips = clips


def test_scores_are_those_of_all_frames_together(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_weights(tmp_path / "reader", with_head(LipReader(**SHAPE), 40), {"reader": SHAPE, "classes": 40})
    rng = np.random.default_rng(0)
    crops = {name: rng.integers(0, 256, (frames, 96, 96), dtype=np.uint8) for name, frames in (("a", 12), ("b", 30))}
    write_mouths(tmp_path / "mouths", crops.items())
    clips = []
    for name, frames in crops.items():
        spans = [(i / 25, (i + 3) / 25) for i in range(2, len(frames) - 3, 3)]
        phonemes = tuple(Phoneme(*span, str(rng.choice(PHONEMES))) for span in spans)
        clips.append(Clip(name, "s", "0", "text", "train", len(frames), 640 * len(frames), phonemes, 0, 0, 0))
    reader, head = load_lipreader(tmp_path / "reader")
    judges = MotionJudges(cast(SyncNet3D, None), reader, cast(torch.nn.Linear, head), None)
    judging, mouths = Judging(cast(Corpus, Clips(clips)), judges, {}), open_mouths(tmp_path / "mouths")
    found = teacher_scores([read_teacher_clip(mouths, judging, clip) for clip in mouths.clips])

    readings = [read_lips(reader, head, crops[clip.id]) for clip in clips]
    labels = [frame_labels(clip.phonemes, len(crops[clip.id]), 25.0) for clip in clips]
    logits = np.concatenate([cast(np.ndarray, reading.frame_logits) for reading in readings])
    said = [[1 + PHONEMES.index(p.name) for p in clip.phonemes] for clip in clips]
    assert found["clips"] == 2
    expected = viseme_accuracy(logits, np.concatenate(labels), visemes_of(np.arange(40)))
    assert found["viseme_accuracy"] == pytest.approx(expected)
    assert found["lipread_error"] == pytest.approx(error_rate(said, [ctc_greedy(r.log_probs) for r in readings]))
