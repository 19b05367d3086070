"""Teacher videos that another program made: find them by clip, check them, convert them to the format of the 2D corpus.

A video is refused when it cannot be read, is longer or shorter than its sound, does not show exactly one face, or shows
a mouth that does not move. The measures `likeness` and `mouth_variation` are our own. Their bounds were set with films
of the embedded corpus, its weak teacher, and still images with noise (docs/teachers.md).
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import visible_files
from learn2talk_core.video.landmarks import FindFaces
from learn2talk_core.video.recorded import SUFFIXES, SteadyFace, hold_still
from learn2talk_core.video.stills import Still
from learn2talk_core.video.talking_video import (
    SAMPLES_PER_FRAME,
    VIDEO_FPS,
    Box,
    EncodedFilm,
    VideoClip,
    crop,
    frames_of,
    grey,
)
from learn2talk_core.video.video_file import encode_video, video_frames, video_rate

MOST_FRAMES_OFF = 2  # frames at 25 fps: teachers drop some where their audio windows end
LEAST_MOTION = (
    3.0  # `mouth_variation`: a still image with strong noise has 1.9, the weakest teacher here 4.5, films 12 and more
)
LEAST_LIKENESS = (
    0.8  # `likeness`: a swaying face has 0.93 and more, one moved by 4 % of its width 0.8, another face 0.4
)


def taught_clips(corpus: Corpus, tests: int) -> list[Clip]:
    """The clips that the teacher speaks: training, validation, and, for the report, the first `tests` test clips, half
    of them with seen and half with unseen speakers."""
    seen, unseen = corpus.split("test_seen"), corpus.split("test_unseen")
    half = (tests + 1) // 2
    return [*corpus.split("train", "validation"), *seen[:half], *unseen[: tests - half]]


def find_video(folder: str | Path, clip_id: str) -> Path:
    """The video FOLDER/CLIP.mp4, or with another suffix in `SUFFIXES`."""
    folder = Path(folder)
    found = (
        [path for path in visible_files(folder, SUFFIXES) if path.stem == clip_id and path.is_file()]
        if folder.is_dir()
        else []
    )
    if len(found) != 1:
        raise BadInput(
            folder / f"{clip_id}.mp4",
            expected="one video of the clip",
            found=" and ".join(path.name for path in found) or "nothing",
            fix="Remove all but one." if found else "Make it and name it after its clip (docs/teachers.md).",
        )
    return found[0]


def look_at(
    source: str | Path | bytes, samples: int, still: Still | None, find: FindFaces | None, *, name: str = "video"
) -> SteadyFace:
    """Check a teacher's video; raises BadInput with what is wrong.

    Args:
        source: the file, or its bytes.
        samples: length of the sound that it belongs to, at 16 kHz.
        still: the image that it was made from; face and mouth must keep its position and size. Not used with `find`.
        find: finds the faces in a frame, for videos with a different framing or a moving head.
        name: name of the video in errors when `source` is bytes.

    Returns:
        the video at 25 fps, with its face in one place, no longer than the sound.
    """
    where = name if isinstance(source, bytes) else source
    face = hold_still(source, find, name=name) if find is not None else _keep_place(source, still, name)
    wanted = frames_of(samples)
    if abs(face.frames - wanted) > MOST_FRAMES_OFF:
        raise BadInput(
            where,
            expected=f"{wanted} frames at 25 fps, as long as the sound, or {MOST_FRAMES_OFF} more or less",
            found=f"{face.frames}",
            fix="Make it again from this clip's sound.",
        )
    frames = min(face.frames, wanted)
    moved = mouth_variation(islice(face.pictures(), frames), face.mouth_box)
    if moved < LEAST_MOTION:
        raise BadInput(
            where,
            expected=f"a mouth that moves by {LEAST_MOTION:g} grey levels",
            found=f"{moved:.1f}: a still image",
            fix="Check that the sound reached the teacher.",
        )
    return SteadyFace(frames, lambda: islice(face.pictures(), frames), face.face_box, face.mouth_box)


def resample_note(source: str | Path | bytes) -> str:
    """A note if the video's frame rate is not 25 fps, so that it is resampled; otherwise empty."""
    rate = video_rate(source)
    return "" if rate == VIDEO_FPS else f"{float(rate):g} frames per second, resampled to 25 by taking the nearest one"


def foreign_film(
    clip: Clip, audio: np.ndarray, path: str | Path, still: Still | None, find: FindFaces | None
) -> tuple[EncodedFilm, str]:
    """Check a teacher's video and convert it for `write_talking_video`, with sound and frames trimmed to their common
    duration; also returns `resample_note`.
    """
    face = look_at(path, len(audio), still, find)
    samples = len(audio) if face.frames == frames_of(len(audio)) else face.frames * SAMPLES_PER_FRAME
    described = describe(clip, face.frames, samples, face.face_box, face.mouth_box)
    return (described, encode_video(face.pictures(), VIDEO_FPS), audio[:samples]), resample_note(path)


def describe(clip: Clip, frames: int, samples: int, face_box: tuple[int, int, int, int], mouth_box: Box) -> VideoClip:
    """The 2D corpus's row for the teacher's video of a clip of the 3D corpus."""
    return VideoClip(
        id=clip.id,
        speaker=clip.speaker,
        text=clip.text,
        split="loss" if clip.split == "train" else "validation",
        frames=frames,
        samples=samples,
        phonemes=clip.phonemes,
        face_box=face_box,
        mouth_box=mouth_box,
    )


def mouth_variation(pictures: Iterable[np.ndarray], box: Box) -> float:
    """How much a mouth moves, in grey levels of 255: standard deviation over time of each pixel of a 24 x 24 crop of
    the mouth, 98th percentile over pixels. Averaging over areas of 4 x 4 pixels and subtracting the mean brightness of
    each frame remove the effect of grain and flicker.
    """
    mouths = np.stack([_small(picture, box, 24) for picture in pictures])
    return float(np.percentile((mouths - mouths.mean(axis=(1, 2), keepdims=True)).std(axis=0), 98))


def likeness(picture: np.ndarray, reference: np.ndarray, box: Box) -> float:
    """Correlation, -1 to 1, of two images in the upper half of a face box: is the same face at the same position?"""
    left, top, right, bottom = box
    upper = (left, top, right, (top + bottom) / 2)
    a, b = (_small(p, upper, 32) for p in (picture, reference))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt(max((a**2).sum() * (b**2).sum(), 1e-9)))


def _keep_place(source: str | Path | bytes, still: Still | None, name: str) -> SteadyFace:
    """A video that shows the still's face at the still's position in every frame."""
    assert still is not None, "a still image is needed without a face finder"
    where, frames = name if isinstance(source, bytes) else source, 0
    pictures: Callable[[], Iterator[np.ndarray]] = lambda: video_frames(source, fps=VIDEO_FPS, name=name)  # noqa: E731
    for frames, picture in enumerate(pictures(), start=1):
        if picture.shape != still.image.shape:
            (height, width), (high, wide) = picture.shape[:2], still.image.shape[:2]
            raise BadInput(
                where,
                expected=f"{wide} x {high} pixels, like the still image",
                found=f"{width} x {height}",
                fix="Let the teacher animate the whole image, or set teacher_video.face: landmarks.",
            )
        alike = likeness(picture, still.image, still.clip.face_box)
        if alike < LEAST_LIKENESS:
            raise BadInput(
                f"{where}, frame {frames - 1} at 25 fps",
                expected=f"one face, the still image's, in the same position (likeness of {LEAST_LIKENESS:g} or more)",
                found=f"{alike:.2f}",
                fix="Keep the teacher's head still, or set teacher_video.face: landmarks.",
            )
    return SteadyFace(frames, pictures, still.clip.face_box, still.clip.mouth_box)


def _small(picture: np.ndarray, box: Box, size: int) -> np.ndarray:
    cut = crop(grey(picture[None]), box, 96)[0]
    return cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)
