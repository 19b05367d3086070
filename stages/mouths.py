"""data/teacher_video → data/mouths: grey mouth crops, 96 x 96 pixels at 25 fps, one row per frame."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from learn2talk_core.run.clip_map import Backend, map_clips
from learn2talk_core.run.config import shared
from learn2talk_core.run.paths import MOUTHS, TEACHER_VIDEO
from learn2talk_core.run.progress import progress
from learn2talk_core.run.stage import run
from learn2talk_core.video.landmarks import follow_face, mediapipe_faces, mouth_crops
from learn2talk_core.video.mouths import write_mouths
from learn2talk_core.video.talking_video import TalkingVideo, VideoClip, open_talking_video

VIDEO, OUT = TEACHER_VIDEO, MOUTHS
CHUNK = 8  # clips per job
FindMouths = Callable[[VideoClip], np.ndarray]  # video → uint8 (T, 96, 96) grey


@dataclass(frozen=True)
class Params:
    locate: Literal["known", "landmarks"]
    workers: int
    parallel: Backend = shared()


def main(params: Params) -> str:
    clips = open_talking_video(VIDEO, made_by="dvc repro teacher_video").clips
    crops = map_clips(
        cut_mouths, clips, partial(finder, params.locate),
        backend=params.parallel, workers=params.workers, chunk=CHUNK, name=lambda clip: clip.id,
    )  # fmt: skip
    pictures = write_mouths(OUT, progress(crops, "mouths", total=len(clips), unit="clip"))
    return f"{pictures} mouths of {len(clips)} clips"


def finder(locate: Literal["known", "landmarks"]) -> FindMouths:
    """The function that finds the mouths, for one job."""
    video = open_talking_video(VIDEO)
    return video.mouths if locate == "known" else by_landmarks(video)


def cut_mouths(find: FindMouths, clip: VideoClip) -> tuple[str, np.ndarray]:
    """The clip's id and mouth crops, as `write_mouths` expects them."""
    return clip.id, find(clip)


def by_landmarks(video: TalkingVideo) -> FindMouths:
    """For a teacher that moves the head: find the mouth in every frame."""
    find = mediapipe_faces()

    def mouths(clip: VideoClip) -> np.ndarray:
        frames = video.frames(clip)
        return np.stack(list(mouth_crops(frames, follow_face(frames, find, name=f"{VIDEO}, clip {clip.id}"))))

    return mouths


if __name__ == "__main__":
    run(main, Params)
