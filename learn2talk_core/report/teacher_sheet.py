"""A contact sheet that compares the teacher's videos with the recorded ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from learn2talk_core.report.png import save_png


def write_teacher_sheet(
    path: str | Path, clips: Sequence[tuple[str, Mapping[str, np.ndarray]]], labels: Sequence[Sequence[str]]
) -> None:
    """Write a PNG with one row per video and one column per frame.

    Args:
        path: the PNG file.
        clips: for each clip its title, and row name → video, uint8 (n, H, W, 3) with n frames.
        labels: for each clip, n texts under its columns, such as time and phoneme.
    """
    names = list(clips[0][1])
    columns = max(len(label) for label in labels)
    figure = Figure(figsize=(columns * 1.1 + 0.9, len(clips) * (len(names) * 1.1 + 0.3)), layout="compressed")
    for number, (text, videos) in enumerate(clips):
        height, width = videos[names[0]].shape[1:3]
        axes = figure.add_subplot(len(clips), 1, number + 1)
        axes.imshow(
            np.concatenate([np.concatenate(list(videos[name]), axis=1) for name in names]), interpolation="bicubic"
        )
        axes.set_yticks([height * (row + 0.5) for row in range(len(names))], names, fontsize=7)
        axes.set_xticks([width * (column + 0.5) for column in range(len(labels[number]))], labels[number], fontsize=6)
        axes.tick_params(length=0, pad=1)
        axes.set_title(text, fontsize=7, pad=3)
        axes.spines[:].set_visible(False)
    save_png(path, figure)
