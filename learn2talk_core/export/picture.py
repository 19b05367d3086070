"""How a video shows the face. Options are read here before the libraries that draw it are loaded."""

import re
from dataclasses import dataclass

from PIL import ImageColor

from learn2talk_core.render.background import BACKGROUND
from learn2talk_core.run.errors import BadInput

SIDE = 384  # pixels
SMALLEST, LARGEST = 16, 4096
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
