"""A dark mouth cavity for faces that have none, such as FLAME's and BIWI's meshes.

Through their open lips a camera sees the background, or the back of the head. The cavity is a curtain behind the lips:
its upper edge follows the upper lip, its lower edge the lower lip, so that it opens and closes with them, and closed
lips hide it.
"""

from dataclasses import dataclass

import numpy as np

BEHIND = 12.0  # mm from the inner edge of the lips to the curtain
OVERLAP = 6.0  # mm by which it reaches above the upper and below the lower edge; lips are taller
CORNER = (11.0, 6.0)  # mm: how much farther it reaches at each end, outwards and back, to the corners of the mouth
DEEP = 5.0  # mm behind the edge of the lips, where a mouth of its own would begin
MOUTH_DEPTH = 115.0  # mm to which it would reach
CAVITY_COLOUR = (0.30, 0.11, 0.11)  # albedo, RGB


@dataclass(frozen=True)
class Cavity:
    """Vertices that follow vertices of the face.

    Attributes:
        anchors: (K,) int64, the vertex of the face that each follows.
        offsets: (K, 3) float32, its distance from that vertex, in the unit of the face.
        faces: (G, 3) int32, numbered by position in `anchors`, facing +z.
    """

    anchors: np.ndarray
    offsets: np.ndarray
    faces: np.ndarray


def cavity_behind(template: np.ndarray, faces: np.ndarray, lip_pairs: np.ndarray, mm_per_unit: float) -> Cavity | None:
    """The cavity of a face at rest; None if it has a mouth of its own, or fewer than two lip pairs.

    Args:
        template: (V, 3), x to its left, y up, z out of the face.
        faces: (F, 3) of the whole mesh.
        lip_pairs: (P, 2), see `Topology`.
    """
    if len(lip_pairs) < 2 or has_mouth(template * mm_per_unit, faces, lip_pairs):
        return None
    pairs = lip_pairs[np.argsort(template[lip_pairs].mean(axis=1)[:, 0])]
    pairs = np.concatenate([pairs[:1], pairs, pairs[-1:]])  # the ends, moved to the corners
    offsets = np.zeros((len(pairs), 2, 3))
    offsets[:, 0], offsets[:, 1] = (0, OVERLAP, -BEHIND), (0, -OVERLAP, -BEHIND)
    outwards, back = CORNER
    offsets[0] -= (outwards, 0, back)
    offsets[-1] += (outwards, 0, -back)
    upper, lower = np.arange(len(pairs) * 2).reshape(-1, 2).T
    left = np.stack([upper[:-1], lower[:-1], lower[1:]], axis=1)
    right = np.stack([upper[:-1], lower[1:], upper[1:]], axis=1)
    return Cavity(
        anchors=pairs.ravel(),
        offsets=(offsets.reshape(-1, 3) / mm_per_unit).astype(np.float32),
        faces=np.concatenate([left, right]).astype(np.int32),
    )


def has_mouth(face: np.ndarray, faces: np.ndarray, lip_pairs: np.ndarray) -> bool:
    """Whether most rays between the lips, straight back along z, meet a surface that faces them behind the lips.

    Args:
        face: (V, 3) in millimetres.
    """
    middles = face[lip_pairs].mean(axis=1)
    a, b, c = face[faces].transpose(1, 2, 0)  # (3, F) each
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    area = ux * vy - uy * vx
    facing = area > 1e-9
    met = 0
    for x, y, z in middles:
        px, py = x - a[0], y - a[1]
        with np.errstate(divide="ignore", invalid="ignore"):  # triangles seen edge-on
            s, t = (px * vy - py * vx) / area, (ux * py - uy * px) / area
            depth = z - (a[2] + s * uz + t * vz)
            inside = facing & (s >= 0) & (t >= 0) & (s + t <= 1)
            met += bool((inside & (depth > DEEP) & (depth < MOUTH_DEPTH)).any())
    return 2 * met > len(middles)
