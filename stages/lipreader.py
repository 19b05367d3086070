"""talking_video → data/models/lipreader/{metric,loss}: two lip readers, trained on different faces with other seeds.

The one of role `loss` is the frozen E_lipread of Eq. 6. The one of role `metric` never serves as a loss; it alone
judges speech perception.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from torch import nn

from learn2talk_core.models.lipreader import LipReader, read_lips
from learn2talk_core.run.config import shared
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.paths import CURVES, LIPREADER, METRICS, TALKING_VIDEO
from learn2talk_core.run.progress import progress
from learn2talk_core.run.seed import mix, seed_torch
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import parameter_count, save_weights
from learn2talk_core.statistics.recognition import (
    ctc_greedy,
    error_rate,
    most_frequent_accuracy,
    viseme_accuracy,
)
from learn2talk_core.training.lipreader import (
    CLASSES,
    VISEMES,
    VOCABULARY,
    LipReaderTraining,
    MouthClip,
    mouth_clips,
    train_lipreader,
)
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import open_scratch
from learn2talk_core.video.talking_video import open_talking_video

OWN_CLIPS = 50  # of the training clips that are read too, to see how much worse new faces are


@dataclass(frozen=True)
class LipReaderNetwork:
    size: int
    normalise: Literal["clip", "official"]
    width: int
    dim: int
    heads: int
    hidden: int
    encoder_layers: int
    decoder_layers: int
    kernel: int
    dropout: float


@dataclass(frozen=True)
class Params:
    network: LipReaderNetwork
    training: LipReaderTraining
    seed: int = shared()


def main(params: Params, role: str) -> str:
    seed = mix(params.seed, "lipreader", role)
    video = open_talking_video(TALKING_VIDEO)
    config = {"vocabulary": VOCABULARY, **asdict(params.network)}
    with open_scratch(f"lipreader-{role}", params, [TALKING_VIDEO]) as scratch:
        clips = mouth_clips(video, role)
        seed_torch(seed, "weights")
        reader = LipReader(**config)
        model, history = train_lipreader(
            reader, clips, params.training, seed=seed, scratch=scratch, description=f"lip reader ({role})"
        )
        held_out = mouth_clips(video, "validation")
        seen = scores(reader, model["head"], held_out)
        blind = scores(reader, model["head"], held_out, blind=True)
        own = scores(reader, model["head"], clips[:: max(1, len(clips) // OWN_CLIPS)])
        with whole_folder(f"{LIPREADER}/{role}") as folder:
            save_weights(folder, model, {"reader": config, "classes": CLASSES})
        write_curve(history, f"{CURVES}/lipreader-{role}.csv")
        spoken, said = (np.concatenate([clip.labels for clip in part]) for part in (clips, held_out))
        metrics = {
            **seen,
            **{f"{name}_no_video": value for name, value in blind.items()},
            "viseme_accuracy_own_faces": own["viseme_accuracy"],
            "viseme_accuracy_most_frequent": most_frequent_accuracy(spoken, said, VISEMES),
            "parameters": parameter_count(model),
        }
        write_json(f"{METRICS}/lipreader/{role}.json", metrics)
        scratch.remove()
    return (
        f"held-out phoneme error {seen['phoneme_error']:.3f} (without video {blind['phoneme_error']:.3f}), "
        f"viseme accuracy {seen['viseme_accuracy']:.3f} ({blind['viseme_accuracy']:.3f})"
    )


def scores(reader: LipReader, head: nn.Module, clips: Sequence[MouthClip], *, blind: bool = False) -> dict[str, float]:
    """Phoneme error rate (greedy CTC) over all clips and viseme accuracy over all speaking frames.

    With `blind` the reader gets uniform grey frames instead of the video: this measures what it knows without it.
    """
    shown = [np.full_like(clip.frames, 128) if blind else clip.frames for clip in clips]
    read = [read_lips(reader, head, frames) for frames in progress(shown, "reading lips", unit="clip")]
    labels = [clip.labels for clip in clips]
    logits = [reading.frame_logits for reading in read if reading.frame_logits is not None]
    return {
        "phoneme_error": error_rate([clip.tokens() for clip in clips], [ctc_greedy(r.log_probs) for r in read]),
        "viseme_accuracy": viseme_accuracy(np.concatenate(logits), np.concatenate(labels), VISEMES),
    }


if __name__ == "__main__":
    run(main, Params, roles=("metric", "loss"))
