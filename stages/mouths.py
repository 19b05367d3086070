"""data/teacher_video → data/mouths: grey crops of the mouth, 96 x 96 pixels, 25 a second, one row a picture."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from learn2talk_core.corpus.landmarks import follow_face, mediapipe_faces, mouth_crops
from learn2talk_core.corpus.mouths import write_mouths
from learn2talk_core.corpus.talking_video import TalkingVideo, VideoClip, open_talking_video
from learn2talk_core.progress import progress
from learn2talk_core.stage import run

VIDEO, OUT = "data/teacher_video", "data/mouths"


@dataclass(frozen=True)
class Params:
    locate: Literal["known", "landmarks"]


def main(params: Params) -> str:
    video = open_talking_video(VIDEO, made_by="dvc repro teacher_video")
    mouths = video.mouths if params.locate == "known" else by_landmarks(video)

    def crops() -> Iterator[tuple[str, np.ndarray]]:
        for clip in progress(video.clips, "mouths", unit="clip"):
            yield clip.id, mouths(clip)

    pictures = write_mouths(OUT, crops())
    return f"{pictures} mouths of {len(video.clips)} clips"


def by_landmarks(video: TalkingVideo) -> Callable[[VideoClip], np.ndarray]:
    """For a teacher that moves the head: find the mouth in every picture."""
    find = mediapipe_faces()

    def mouths(clip: VideoClip) -> np.ndarray:
        frames = video.frames(clip)
        return np.stack(list(mouth_crops(frames, follow_face(frames, find, name=f"{VIDEO}, clip {clip.id}"))))

    return mouths


if __name__ == "__main__":
    run(main, Params)
