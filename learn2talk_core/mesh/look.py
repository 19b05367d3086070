"""How a mesh looks beyond a colour for each vertex: parts with a material each, and a texture."""

from dataclasses import dataclass

import numpy as np

ROUGHNESS = {"left_eye": 0.15, "right_eye": 0.15, "teeth": 0.3, "tongue": 0.35, "hair": 0.7, "bust": 0.9}  # of parts
OTHER_ROUGHNESS = 0.55
TWO_SIDED = ("hair", "bust")  # parts whose inside can be seen


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


def split_at_seams(faces: np.ndarray, look: Look, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some triangles of a mesh as renderers take them: a vertex with several texture coordinates becomes several.

    Args:
        faces: (F, 3), all triangles of the mesh.
        look: of the mesh.
        triangles: (n,) numbers of the wanted ones.

    Returns:
        Texture coordinates (m, 2), v = 0 on top; the vertices' numbers in the mesh (m,); indices into both (3n,).
    """
    corners, uv = faces[triangles].reshape(-1), look.uv[triangles].reshape(-1, 2)
    keys = np.concatenate([corners[:, None], np.round(uv * 65535).astype(np.int64)], axis=1)
    _, first, indices = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return uv[first] * (1, -1) + (0, 1), corners[first], indices.reshape(-1)
