"""The public functions of `learn2talk`. By default they use the models of the last run, in `data/` of the working
directory, or if there are none, those in this package.
"""

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
from learn2talk_core.export.formats import formats, write_formats
from learn2talk_core.export.names import check_names
from learn2talk_core.run.errors import BadInput

__all__ = ["BadInput", "Life", "animate", "export", "load", "score", "stream"]


def load(model: str | Path | None = None, **settings: Any) -> Animator:
    """Load a student once, to animate any number of sounds with it.

    Args:
        model: a folder of this project, a packed model, a published FaceFormer (`vocaset.pth` or `biwi.pth`), or the
            name of a student; None is the default student.
        settings: `corpus`, `template` (the face, also a packaged character), `transfer`, `mm_per_unit`, `shapes`,
            `head_model`; see `load_animator`.

    Raises:
        BadInput: the model, corpus or template does not exist, or they do not match each other.
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
        sound: an audio file of any format and sample rate, or samples (n,), 16 kHz mono, float in [-1, 1] or int16.
        animator: from `load`; None loads the default student, which takes about a second.
        style: a training speaker, a mixture {"S00": 1, "S03": 2}, or "auto": the speaker with the most similar voice.
        fps: frame rate of the result; None uses the model's.
        life: head motion, blinks and gaze, such as `Life(head=0.5, blinks=1)`.

    Raises:
        BadInput: the sound cannot be read or is shorter than 0.1 s; unknown style or invalid frame rate.
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
    onto: str | Path | None = None,
    visemes: bool = False,
) -> list[Path]:
    """Write an animation as `folder/name.SUFFIX`; returns the paths of the files written.

    Existing files of the same name are replaced; other files in the folder are not touched.

    Args:
        animation: from `animate`.
        folder: created if it does not exist.
        names: formats, such as mp4, npz, glb, arkit (docs/animate.md lists all).
        name: file name without suffix.
        shapes: for arkit: an `.npz` with blend shapes, if the mesh is not the embedded head.
        flame: for flame: FLAME's `generic_model.pkl`.
        onto: for onto: your own avatar, a GLB with ARKit's targets.
        visemes: for glb: add the 15 Oculus visemes as targets.

    Raises:
        BadInput: unknown format, a folder that cannot be written, or obj or ply frames that exist already.
    """
    check_names(names, "formats")
    return write_formats(Path(folder) / name, animation, names, formats(shapes, flame, onto=onto, visemes=visemes))


def score(
    motion: Animation | str | Path, sound: str | Path | None = None, scorer: Scorer | None = None, **settings: Any
) -> SyncScore:
    """Score the synchrony of a motion and its sound: LSE-D, LSE-C, and by how many milliseconds the mouth is late.

    Args:
        motion: an animation, which contains its sound; or an `.npy` or `.npz` file of vertices.
        sound: the sound that belongs to a motion file.
        scorer: from `learn2talk_core.evaluation.motion_sync.open_scorer`; None uses the last run's.
        settings: for a motion file: `trim`, and `fps`, `mm_per_unit`, `template` if the file does not contain them.

    Raises:
        BadInput: the mesh is not the one the scorer was made for, or a file cannot be read.
    """
    if not isinstance(motion, Animation):
        if sound is None:
            raise BadInput("score", expected="a sound for a motion file", found="none", fix="Pass the sound too.")
        return score_files(sound, motion, scorer, **settings)
    if sound is not None or settings:
        found = ", ".join([*(["a sound"] if sound is not None else []), *settings])
        fix = "Leave them out: the animation contains its sound, frame rate and unit."
        raise BadInput("score", expected="an animation without further arguments", found=found, fix=fix)
    return score_animation(motion, scorer)


def stream(animator: Animator | None = None, **settings: Any) -> Stream:
    """Animate sound while it arrives: `feed` samples, get frames, then `finish`.

    Args:
        animator: from `load`; None loads the default student.
        settings: `fps`, `style`, `chunk`, `look_ahead`, `past`, `memory`, `states`, `life`; see `Animator.stream`.

    Raises:
        BadInput: unknown style, or a number outside its range.
    """
    return (load() if animator is None else animator).stream(**settings)
