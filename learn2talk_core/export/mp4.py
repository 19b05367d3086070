"""A video of the face, rendered on the CPU, with the sound."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import ImageColor

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.geometry import suffixed
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.render import BACKGROUND
from learn2talk_core.report.face import head_camera, portrait_camera, portraits
from learn2talk_core.report.side_by_side import sound
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.video.video_file import write_video

SIDE = 384  # pixels
SMALLEST, LARGEST = 16, 4096
DRAWN = 64  # frames drawn at a time
CAMERAS = ("face", "head", "bust")


@dataclass(frozen=True)
class Picture:
    """How a video shows the face.

    Attributes:
        width, height: pixels, even.
        background: RGB in 0..1.
        camera: `face` from ear to ear, `head` with hair and chin, `bust` all that there is; None is `head` for a
            packaged character and `face` for other meshes.
        side: degrees by which the camera stands to the speaker's left.
    """

    width: int = SIDE
    height: int = SIDE
    background: tuple[float, float, float] = BACKGROUND
    camera: str | None = None
    side: float = 0.0


PICTURE = Picture()


def parse_picture(size: str | None, background: str | None, camera: str | None) -> Picture:
    """The options `--size 512` or `1280x720`, `--background white` or `#20242c`, `--camera head` or `head:30`."""
    width = height = SIDE
    if size is not None:
        match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", size.strip())
        width, height = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not all(SMALLEST <= side <= LARGEST and side % 2 == 0 for side in (width, height)):
            expected = f"512 or 1280x720: even numbers of pixels, {SMALLEST} … {LARGEST}"
            raise BadInput("--size", expected=expected, found=size, fix="Change it.")
    colour = BACKGROUND
    if background is not None:
        try:
            red, green, blue = ImageColor.getrgb(background)[:3]
        except ValueError:
            raise BadInput(
                "--background", expected="a colour such as white or #20242c", found=background, fix="Change it."
            ) from None
        colour = (red / 255, green / 255, blue / 255)
    name, side = camera, 0.0
    if camera is not None:
        name, colon, angle = camera.partition(":")
        try:
            side = float(angle) if colon else 0.0
        except ValueError:
            side = 360.0
        if name not in CAMERAS or not abs(side) <= 180:
            expected = f"one of {', '.join(CAMERAS)}, with an angle such as head:30"
            raise BadInput("--camera", expected=expected, found=camera, fix="Change it.")
    return Picture(width, height, colour, name, side)


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

    def pictures() -> Iterator[np.ndarray]:
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
            write_video(path, pictures(), animation.fps, audio)
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
