"""What `import learn2talk` offers. Defaults are the models of the last run, in the working directory's `data/`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.animator import AUTO, STILL, Animator, Style
from learn2talk_core.animation.life import Life
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.animation.stream import Stream
from learn2talk_core.evaluation.motion_sync import Scorer, SyncScore, score_animation, score_files
from learn2talk_core.export.formats import check_names, formats, write_formats
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import STUDENT

__all__ = ["BadInput", "Life", "animate", "export", "load", "score", "stream"]


def load(model: str | Path = STUDENT, **settings: Any) -> Animator:
    """Load a student, to animate with it as often as you like.

    Args:
        model: a folder of this project, a packed model, or a published FaceFormer, `vocaset.pth` or `biwi.pth`.
        settings: `corpus`, `template`, `transfer`, `mm_per_unit`, `shapes`, `head_model`: see `load_animator`.

    Raises:
        BadInput: no such model, corpus or template, or they do not fit each other.
    """
    return load_animator(model, **settings)


def animate(
    sound: str | Path | np.ndarray,
    animator: Animator | None = None,
    *,
    style: Style = AUTO,
    fps: float | None = None,
    life: Life = STILL,
) -> Animation:
    """Animate one sound.

    Args:
        sound: a file of any kind and rate, or samples (n,) of 16 kHz mono, floats in [-1, 1] or int16.
        animator: of `load`; None loads the last run's student, which takes about a second.
        style: a training speaker, a mixture {"S00": 1, "S03": 2}, or "auto": the speaker with the nearest voice.
        fps: frames a second; None takes the model's.
        life: head motion, blinks and gaze, such as `Life(head=0.5, blinks=1)`.

    Raises:
        BadInput: the sound cannot be read or is shorter than 0.1 s; no such style or frame rate.
    """
    return (load() if animator is None else animator).animate(sound, style=style, fps=fps, life=life)


def export(
    animation: Animation,
    folder: str | Path,
    names: Sequence[str] = ("mp4",),
    *,
    name: str = "speech",
    shapes: str | Path | None = None,
    flame: str | Path | None = None,
) -> list[Path]:
    """Write an animation as `folder/name.SUFFIX`; returns the paths of what was written.

    Files of the same names are replaced, and everything else in the folder is left alone.

    Args:
        animation: of `animate`.
        folder: made if it is missing.
        names: of formats: mp4, npy, npz, obj, ply, glb, usd, arkit, flame (docs/export.md).
        name: of the files, without suffix.
        shapes: for arkit: an `.npz` with the blend shapes of another mesh than the embedded head.
        flame: for flame: FLAME's `generic_model.pkl`.

    Raises:
        BadInput: no such format, a place that cannot be written, or frames of obj or ply that are there already.
    """
    check_names(names, "formats")
    return write_formats(Path(folder) / name, animation, names, formats(shapes, flame))


def score(
    motion: Animation | str | Path, sound: str | Path | None = None, scorer: Scorer | None = None, **settings: Any
) -> SyncScore:
    """How well a motion and its sound are in sync: LSE-D, LSE-C, and by how many milliseconds the mouth is late.

    Args:
        motion: an animation, which has its sound; or an `.npy` or `.npz` of vertices.
        sound: of a motion in a file.
        scorer: of `learn2talk_core.evaluation.motion_sync.open_scorer`; None takes the last run's.
        settings: of a motion in a file, as far as it does not say: `fps`, `mm_per_unit`, `template`, `trim`.

    Raises:
        BadInput: another mesh than the scorer knows, or a file that cannot be read.
    """
    if not isinstance(motion, Animation):
        if sound is None:
            raise BadInput("score", expected="a sound for a motion in a file", found="none", fix="Name the sound, too.")
        return score_files(sound, motion, scorer, **settings)
    if sound is not None or settings:
        raise BadInput("score", expected="the animation alone", found="more", fix="It has its sound, rate and unit.")
    return score_animation(motion, scorer)


def stream(animator: Animator | None = None, **settings: Any) -> Stream:
    """Animate sound while it comes in: `feed` samples, get frames, `finish`.

    Args:
        animator: of `load`; None loads the last run's student.
        settings: `fps`, `style`, `chunk`, `look_ahead`, `past`, `memory`, `states`, `life`: see `Animator.stream`.

    Raises:
        BadInput: no such style, or a number out of its range.
    """
    return (load() if animator is None else animator).stream(**settings)
