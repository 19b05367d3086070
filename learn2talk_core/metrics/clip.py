"""All geometric metrics of one clip, and their aggregation over a test set.

The per-clip table, the test-set values and the bootstrap intervals are computed from the same sums, so they agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from learn2talk_core.corpus.phonemes import BILABIALS, PHONEMES, Phoneme, frame_labels
from learn2talk_core.mesh.topology import Topology, lip_gap
from learn2talk_core.metrics.bootstrap import bootstrap_interval
from learn2talk_core.metrics.closure import closure_error
from learn2talk_core.metrics.fdd import absolute, upper_face_dynamics_deviation
from learn2talk_core.metrics.gap_variance import gap_variance_ratio
from learn2talk_core.metrics.lrp import lip_readability
from learn2talk_core.metrics.lve import lip_vertex_distance, lip_vertex_error
from learn2talk_core.metrics.ratio import Ratio, add_ratios
from learn2talk_core.metrics.trim import common_frames
from learn2talk_core.metrics.velocity import velocity_error
from learn2talk_core.metrics.vertex_error import mean_vertex_error


@dataclass(frozen=True)
class ClipScores:
    """What one clip adds to each metric.

    Attributes:
        ratios: key of `protocol.METRICS` → what the clip adds.
        frames: number of frames compared.
        trimmed: number of frames dropped from the end of the longer motion.
    """

    ratios: Mapping[str, Ratio]
    frames: int
    trimmed: int

    def with_ratios(self, more: Mapping[str, Ratio]) -> "ClipScores":
        """The same clip with additional metrics (those that need a network)."""
        return ClipScores({**self.ratios, **more}, self.frames, self.trimmed)


def measure_clip(
    truth: np.ndarray,
    prediction: np.ndarray,
    template: np.ndarray,
    phonemes: Sequence[Phoneme],
    topology: Topology,
    *,
    fps: float,
    mm_per_unit: float,
    lrp_threshold_mm: float,
) -> ClipScores:
    """Compare two motions of a whole face.

    Args:
        truth: vertices (T, V, 3).
        prediction: vertices (T', V, 3) in the same unit.
        template: the speaker's neutral vertices (V, 3).
        phonemes: the phonemes with their times; empty where they are not known.
        topology: regions `lips` and `upper_face`, and the lip pairs.
        fps: frames per second.
        mm_per_unit: millimetres per unit of the vertices.
        lrp_threshold_mm: μ of LRP.
    """
    truth, prediction, trimmed = common_frames(truth, prediction)
    lips = topology.regions["lips"]
    fdd = upper_face_dynamics_deviation(truth, prediction, template, topology.regions["upper_face"])
    true_gap, gap = lip_gap(truth, topology.lip_pairs), lip_gap(prediction, topology.lip_pairs)
    bilabial = bilabial_frames(phonemes, len(truth), fps)
    ratios = {
        "lve": lip_vertex_error(truth, prediction, lips),
        "lve_mm": lip_vertex_distance(truth, prediction, lips).scaled(mm_per_unit),
        "fdd": fdd,
        "fdd_abs": absolute(fdd),
        "fdd_mm2": fdd.scaled(mm_per_unit**2),
        "fdd_abs_mm2": absolute(fdd).scaled(mm_per_unit**2),
        "lrp": lip_readability(truth, prediction, lips, lrp_threshold_mm / mm_per_unit),
        "mve_mm": mean_vertex_error(truth, prediction).scaled(mm_per_unit),
        "closure_mm": closure_error(true_gap, gap, bilabial).scaled(mm_per_unit),
        "velocity_mm_s": velocity_error(truth, prediction, lips, fps).scaled(mm_per_unit),
        "gap_variance": gap_variance_ratio(true_gap * mm_per_unit, gap * mm_per_unit),
    }
    return ClipScores(ratios, len(truth), trimmed)


def bilabial_frames(phonemes: Sequence[Phoneme], frames: int, fps: float) -> np.ndarray:
    """(frames,) bool: True at frames inside a p, b or m."""
    labels = [1 + PHONEMES.index(name) for name in BILABIALS]
    return np.isin(frame_labels(phonemes, frames, fps), labels)


def corpus_scores(clips: Sequence[ClipScores]) -> dict[str, float | None]:
    """The value of each metric over `clips` (all with the same keys), and the numbers of clips and frames."""
    values: dict[str, float | None] = {
        key: add_ratios(clip.ratios[key] for clip in clips).value for key in clips[0].ratios
    }
    return values | {
        "clips": len(clips),
        "frames": sum(clip.frames for clip in clips),
        "frames_trimmed": sum(clip.trimmed for clip in clips),
    }


def corpus_intervals(
    clips: Sequence[ClipScores], *, seed: int, resamples: int = 1000
) -> dict[str, tuple[float, float] | None]:
    """The 95 % bootstrap interval over clips of each metric."""
    return {
        key: bootstrap_interval([clip.ratios[key] for clip in clips], seed=seed, resamples=resamples)
        for key in clips[0].ratios
    }


def clip_row(scores: ClipScores) -> dict[str, float | None]:
    """A row of a per-clip table: value and weight of each metric; the corpus value is Σ value · weight / Σ weight."""
    row: dict[str, float | None] = {"frames": scores.frames, "frames_trimmed": scores.trimmed}
    for key, ratio in scores.ratios.items():
        row |= {key: ratio.value, f"{key}_weight": ratio.weight}
    return row


def best_style(scores: Mapping[str, Sequence[ClipScores]], key: str = "lve") -> str:
    """The speaking style whose clips have the lowest `key`: for unseen speakers the paper reports the best style."""

    def value(style: str) -> float:
        found = add_ratios(clip.ratios[key] for clip in scores[style]).value
        return float("inf") if found is None else found

    return min(scores, key=value)
