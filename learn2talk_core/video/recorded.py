"""The 2D corpus from a folder of videos: <folder>/<speaker>/<name>.mp4, optionally with <name>.txt beside it.

Each frame is rotated, scaled and translated so that the face does not move, with the alignment that lip readers use.
One box per clip then contains the face and one the mouth, as in the embedded films.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import visible
from learn2talk_core.video.landmarks import FindFaces, follow_face, similarity, smooth_landmarks
from learn2talk_core.video.talking_video import (
    MOUTH_SIZE,
    SAMPLES_PER_FRAME,
    VIDEO_FPS,
    Box,
    EncodedFilm,
    VideoClip,
    frames_of,
)
from learn2talk_core.video.video_file import encode_video, video_audio, video_frames

SIZE = 160  # pixels of the resulting frames
# The part of the aligned frame that is kept: left, top, and side. The mean face fills three quarters of it.
LEFT, TOP, SIDE = 42.0, 52.0, 174.0
FACE_BOX = (20, 18, 140, 138)  # brows to chin of the mean face, in pixels of the result
SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg"}
VALIDATION_SHARE = 0.1  # of the speakers


def recorded_films(folder: str | Path, find: FindFaces) -> Iterator[EncodedFilm]:
    """Clips with their MP4 and sound, for `write_talking_video`, from all videos of `folder`.

    Args:
        folder: contains one folder per speaker, for at least three speakers.
        find: finds the face landmarks in a frame.
    """
    for path, split in videos(folder):
        yield read_film(path, split, find)


def videos(folder: str | Path) -> list[tuple[Path, str]]:
    """The video files and the split of each: the last tenth of the speakers is for validation, the others alternate
    between `loss` and `metric`."""
    folder = Path(folder)
    files = [path for path in visible(folder, "*/*") if path.suffix.lower() in SUFFIXES]
    speakers = sorted({path.parent.name for path in files})
    if len(speakers) < 3:
        raise BadInput(
            folder,
            expected="videos <speaker>/<name>.mp4 of at least three speakers",
            found=f"{len(files)} videos of {len(speakers)} speakers",
            fix="Add speakers: the splits loss, metric and validation must not share a speaker.",
        )
    held_out = max(1, round(VALIDATION_SHARE * len(speakers)))
    split = {speaker: ("loss", "metric")[number % 2] for number, speaker in enumerate(speakers)}
    split |= dict.fromkeys(speakers[-held_out:], "validation")
    return [(path, split[path.parent.name]) for path in files]


@dataclass(frozen=True)
class SteadyFace:
    """A video at 25 fps in which face and mouth do not change their position.

    Attributes:
        frames: number of frames.
        pictures: decodes them again at each call, uint8 (H, W, 3) RGB, H and W even.
        face_box, mouth_box: as in `VideoClip`.
    """

    frames: int
    pictures: Callable[[], Iterator[np.ndarray]]
    face_box: tuple[int, int, int, int]
    mouth_box: Box


def read_film(path: Path, split: str, find: FindFaces) -> EncodedFilm:
    """One video at 25 fps, with its face held in place. It is read twice, so that any length fits in memory."""
    face = hold_still(path, find)
    audio = video_audio(path)
    if audio is None or frames_of(len(audio)) == 0:
        raise BadInput(path, expected="a sound track", found="none", fix="Add the sound, or leave the video out.")
    frames = min(face.frames, frames_of(len(audio)))
    text = path.with_suffix(".txt")
    clip = VideoClip(
        id=f"{path.parent.name}_{path.stem}",
        speaker=path.parent.name,
        text=" ".join(text.read_text().split()) if text.is_file() else "",
        split=split,
        frames=frames,
        samples=frames * SAMPLES_PER_FRAME,
        phonemes=(),
        face_box=face.face_box,
        mouth_box=face.mouth_box,
    )
    return clip, encode_video(islice(face.pictures(), frames), VIDEO_FPS), audio[: clip.samples]


def hold_still(source: str | Path | bytes, find: FindFaces, *, name: str = "video") -> SteadyFace:
    """Rotate, scale and translate every frame of a video so that its one face stays where the lip readers expect it.

    Args:
        source: a file, or the bytes of one.
        find: finds the face landmarks in a frame; a frame with no face or with several is refused.
        name: name of the video in errors when `source` is bytes.
    """
    where = name if isinstance(source, bytes) else str(source)
    landmarks = smooth_landmarks(follow_face(video_frames(source, fps=VIDEO_FPS, name=name), find, name=where))
    shrink = SIZE / SIDE
    to_picture = np.array([[shrink, 0, -LEFT * shrink], [0, shrink, -TOP * shrink]])
    matrices = [to_picture @ np.vstack([similarity(points), [0, 0, 1]]) for points in landmarks]
    mouths = [matrix[:, :2] @ points[3] + matrix[:, 2] for matrix, points in zip(matrices, landmarks, strict=True)]
    (x, y), half = np.mean(mouths, axis=0).tolist(), MOUTH_SIZE * shrink / 2

    def pictures() -> Iterator[np.ndarray]:
        for frame, matrix in zip(video_frames(source, fps=VIDEO_FPS, name=name), matrices, strict=True):
            yield cv2.warpAffine(frame, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)

    return SteadyFace(len(landmarks), pictures, FACE_BOX, (x - half, y - half, x + half, y + half))
