"""How a mesh looks beyond a colour for each vertex: parts with a material each, and a texture."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Look:
    """Parts and texture of a mesh.

    Attributes:
        names: of the parts, such as skin, left_eye, teeth.
        part: (F,) uint8, the part of each triangle, as an index of `names`.
        uv: (F, 3, 2) float32 texture coordinates of each triangle's corners; v = 0 is the bottom of the texture.
        texture: (H, W, 3) uint8 sRGB, row 0 on top.
        encoded: the texture as the bytes of a JPEG.
    """

    names: tuple[str, ...]
    part: np.ndarray
    uv: np.ndarray
    texture: np.ndarray
    encoded: bytes
