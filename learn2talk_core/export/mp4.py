"""A video of the face from the front, rendered on the CPU, with the sound."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.geometry import suffixed
from learn2talk_core.render.camera import Camera
from learn2talk_core.report.face import portrait_camera, portraits
from learn2talk_core.report.side_by_side import sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.video.video_file import write_video

SIDE = 384  # pixels
DRAWN = 64  # frames drawn at a time


def write_mp4(stem: Path, animation: Animation) -> list[Path]:
    """Write `STEM.mp4`.

    Raises:
        BadInput: the first picture is empty, since the camera does not see the face.
    """
    path = suffixed(stem, ".mp4")
    topology = animation.topology
    camera = portrait_camera(topology, animation.template) if "lips" in topology.regions else _front(animation.template)
    bar = progress(range(len(animation.states)), path.name, unit="frame")

    def drawn(start: int) -> np.ndarray:
        return portraits(animation.vertices(slice(start, start + DRAWN)), topology, camera, SIDE, SIDE, supersample=1)

    def pictures() -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(1) as ahead:  # draws one block while the last one is encoded
            coming = ahead.submit(drawn, 0)
            for start in range(0, len(animation.states), DRAWN):
                block, coming = coming.result(), ahead.submit(drawn, start + DRAWN)
                if start == 0 and (block[0] == block[0, 0, 0]).all():
                    fix = "Check the template: its unit, and that it looks along +z."
                    raise BadInput(path.name, expected="a picture of the face", found="an empty one", fix=fix)
                for picture in block:
                    bar.update()
                    yield picture

    with bar:
        audio = sound(animation.wave, len(animation.states), animation.fps)
        try:
            write_video(path, pictures(), animation.fps, audio)
        except av.FFmpegError as error:  # PyAV fails again on closing, which hides why it could not write
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
    return [path]


def _front(template: np.ndarray) -> Camera:
    """A camera for a mesh without the region `lips`; it only assumes that the face looks along +z."""
    low, high = template.min(axis=0), template.max(axis=0)
    x, y, z = ((low + high) / 2).tolist()
    extent = 1.1 * float((high - low)[:2].max())
    return Camera(target=(x, y, z), extent=extent, distance=6 * extent)
