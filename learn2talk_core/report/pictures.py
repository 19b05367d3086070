"""The report's pictures and side-by-side video of examples: prepares the data for `figures` and `side_by_side`."""

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.figure import Figure

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.report.examples import Example, viseme_frames
from learn2talk_core.report.face import portrait_camera, portraits
from learn2talk_core.report.figures import error_heat_maps, lip_opening
from learn2talk_core.report.names import row_title
from learn2talk_core.report.side_by_side import at_rate, fitted, side_by_side
from learn2talk_core.video.talking_video import VIDEO_FPS

MOMENTS = 6  # columns of a heat map


def heat_map(corpus: Corpus, example: Example, means: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 7 for one clip; `means` is student → mean error of each vertex over the whole test set, (V,) in mm."""
    clip = example.clip
    shown = viseme_frames(clip.phonemes, len(example.motions["truth"]), corpus.fps, MOMENTS)
    frames = [frame for frame, _ in shown]
    at = {name: motion[frames] for name, motion in example.motions.items()}
    truth, template = at.pop("truth"), corpus.template(clip.speaker)
    labels = [label for _, label in shown]
    return error_heat_maps(truth, at, labels, means, template, corpus.topology, corpus.mm_per_unit)


def opening(corpus: Corpus, examples: Mapping[str, Example]) -> Figure:
    """Lip gap over time, one panel for each title → example."""
    pairs = corpus.topology.lip_pairs
    clips = []
    for title, example in examples.items():
        gaps = {
            name: corpus.mm_per_unit * lip_gap(motion, pairs).mean(axis=1)
            for name, motion in example.motions.items()
            if len(pairs)
        }
        clips.append((f"{title}: “{example.clip.text}”", gaps, example.clip.phonemes))
    return lip_opening(clips, corpus.fps)


def side_by_side_frames(
    corpus: Corpus, example: Example, teacher: np.ndarray | None, height: int, note: str
) -> Iterator[np.ndarray]:
    """Frames of the side-by-side video of one clip.

    Args:
        teacher: the frames of the teacher's video (T', H, W, 3) at 25 fps, or None if there is no video.
        height: height of one picture in pixels; the width is four fifths of it.
        note: shown in brackets after the sentence.
    """
    clip, width = example.clip, int(0.8 * height)
    camera = portrait_camera(corpus.topology, corpus.template(clip.speaker))
    panels: dict[str, np.ndarray | None] = {
        row_title(name): portraits(motion, corpus.topology, camera, height, width, supersample=1)
        for name, motion in example.motions.items()
    }
    frames = len(example.motions["truth"])
    panels["Teacher (2D)"] = None
    if teacher is not None:
        panels["Teacher (2D)"] = at_rate(fitted(teacher, height, width), VIDEO_FPS, corpus.fps, frames)
    return side_by_side(panels, f"“{clip.text}” ({note})", clip.phonemes, corpus.fps)
