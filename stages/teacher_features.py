"""mouths, lipreader/loss, corpus → data/teacher_features: E_lipread(G_teach(X)) of Eq. 6, computed once for all steps.

metrics/teacher_features.json holds how well the same lip reader recognises speech in the teacher's videos: a teacher
whose lips cannot be read cannot help the student.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.corpus.phonemes import PHONEMES, frame_labels, visemes_of
from learn2talk_core.models.lipreader import FPS, load_lipreader, load_units, read_lips
from learn2talk_core.run.device import run_device, sent
from learn2talk_core.run.files import write_json
from learn2talk_core.run.paths import CORPUS, LIPREADER, METRICS, MOUTHS, TEACHER_FEATURES
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run
from learn2talk_core.run.threads import one_thread
from learn2talk_core.statistics.recognition import ctc_greedy, error_rate, plain_text, spelled, viseme_accuracy
from learn2talk_core.teacher.features import write_teacher_features
from learn2talk_core.video.mouths import open_mouths

OUT, READER = TEACHER_FEATURES, f"{LIPREADER}/loss"


@dataclass(frozen=True)
class Params:
    """Group `teacher_features` of params.yaml."""

    features: Literal["frontend", "encoder"]
    dtype: Literal["float16", "float32"]


def main(params: Params) -> str:
    mouths, corpus = open_mouths(MOUTHS), open_corpus(CORPUS)
    reader, head = load_lipreader(READER)
    for network in (reader, head):
        if network is not None:
            network.to(run_device())
    units = load_units(READER)  # characters of a published reader; None for one that reads phonemes
    spoken = {clip.id: clip for clip in corpus.clips}
    said: list[Sequence[object]] = []
    read: list[Sequence[object]] = []
    labels: list[np.ndarray] = []
    logits: list[np.ndarray] = []

    @torch.no_grad()
    def features() -> Iterator[tuple[str, np.ndarray]]:
        for clip in progress(mouths.clips, "teacher features", unit="clip"):
            grey = mouths.frames(clip)
            reading = read_lips(reader, head, grey)
            text, phonemes = plain_text(spoken[clip].text), spoken[clip].phonemes
            if units is not None and text:
                said.append(text)
                read.append(spelled(ctc_greedy(reading.log_probs), units))
            elif units is None and phonemes:
                said.append([1 + PHONEMES.index(phoneme.name) for phoneme in phonemes if phoneme.name])
                read.append(ctc_greedy(reading.log_probs))
            if reading.frame_logits is not None and phonemes:
                labels.append(frame_labels(phonemes, len(grey), FPS))
                logits.append(reading.frame_logits)
            if params.features == "encoder":
                yield clip, reading.features
            else:
                shown = sent(torch.from_numpy(grey), run_device()).float()[None] / 255
                yield clip, reader.features(shown, params.features)[0].cpu().numpy()

    with one_thread():
        write_teacher_features(OUT, features(), kind=params.features, fps=FPS, dtype=params.dtype)
    recognised: dict[str, float] = {"clips": len(said)}
    if said:
        recognised["phoneme_error" if units is None else "character_error"] = error_rate(said, read)
    if labels:
        visemes = visemes_of(np.arange(1 + len(PHONEMES)))
        recognised["viseme_accuracy"] = viseme_accuracy(np.concatenate(logits), np.concatenate(labels), visemes)
    write_json(f"{METRICS}/teacher_features.json", recognised)
    return f"{params.features} features of {len(mouths.clips)} clips, {recognised}"


if __name__ == "__main__":
    run(main, Params)
