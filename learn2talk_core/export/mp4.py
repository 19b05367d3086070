"""A video of the face, rendered on the CPU, with the sound."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import av
import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.geometry import suffixed
from learn2talk_core.export.picture import PICTURE, Picture
from learn2talk_core.render.camera import Camera
from learn2talk_core.report.face import head_camera, portrait_camera, portraits
from learn2talk_core.report.side_by_side import sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.video.video_file import write_video

DRAWN = 64  # frames drawn at a time


def write_mp4(stem: Path, animation: Animation, picture: Picture = PICTURE) -> list[Path]:
    """Write `STEM.mp4`.

    Raises:
        BadInput: the first picture is empty, since the camera does not see the face.
    """
    path = suffixed(stem, ".mp4")
    camera = camera_of(animation, picture)
    bar = progress(range(len(animation.states)), path.name, unit="frame")

    def drawn(start: int) -> np.ndarray:
        return portraits(
            animation.vertices(slice(start, start + DRAWN)),
            animation.topology,
            camera,
            picture.height,
            picture.width,
            supersample=1,
            background=picture.background,
            look=animation.look,
        )

    def pictures() -> Generator[np.ndarray]:
        with ThreadPoolExecutor(1) as ahead:  # draws one block while the last one is encoded
            coming = ahead.submit(drawn, 0)
            for start in range(0, len(animation.states), DRAWN):
                block, coming = coming.result(), ahead.submit(drawn, start + DRAWN)
                if start == 0 and (block[0] == block[0, 0, 0]).all():
                    fix = "Check the template: its unit, and that it looks along +z."
                    raise BadInput(path.name, expected="a picture of the face", found="an empty one", fix=fix)
                for one in block:
                    bar.update()
                    yield one

    with bar:
        audio = sound(animation.wave, len(animation.states), animation.fps)
        try:
            with closing(pictures()) as frames:
                write_video(path, frames, animation.fps, audio)
        except av.FFmpegError as error:  # PyAV fails again on closing, which hides why it could not write
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
    return [path]


def camera_of(animation: Animation, picture: Picture) -> Camera:
    """The camera that `picture` asks for; it only assumes that the face looks along +z."""
    name = picture.camera or ("face" if animation.look is None else "head")
    if name == "face" and "lips" in animation.topology.regions:
        own = animation.template
        if animation.follow is not None:
            own = own[animation.follow > 0.5]
        return portrait_camera(animation.topology, animation.template, own, picture.side)
    shown = animation.template
    if name != "bust" and animation.follow is not None:
        shown = shown[animation.follow > 0]
    return head_camera(shown, picture.side, picture.width / picture.height)
