"""Transfer motion between meshes of different topology: each new vertex follows a point on the old surface.

The two are aligned by a similarity (Umeyama 1991, "Least-squares estimation of transformation parameters between two
point patterns", IEEE PAMI 13) in a trimmed ICP (Chetverikov et al. 2002). Then every vertex of the new mesh is bound to
the nearest point of the old surface with a similar normal, in barycentric coordinates (as in deformation transfer of
free-form displacements). A new vertex moves by the displacement of that point, rotated and scaled.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.untrusted.npz import read_npz

ROUNDS, KEPT = 60, 0.7  # of the ICP: maximum number of iterations, and share of (nearest) points that are kept
STARTS = (0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5)  # initial scales, relative to the ratio of the widths
SOME = 800  # old points used to choose among the initial scales
NEAREST = 24  # triangles that are examined for each vertex
REACH = 0.04  # of the old mesh's size: beyond this distance motion fades, to zero at twice the distance
SAME_WAY = 0.3  # smallest cosine between the normals


@dataclass(frozen=True)
class Correspondence:
    """Three vertices of the old mesh for each vertex of the new one, and how to rotate and scale their motion.

    Attributes:
        corners: (W, 3) int64 vertex numbers of the old mesh.
        weights: (W, 3) float32, barycentric; the sum is 1, or less where the old surface is far away.
        turn: (3, 3) float32, rotation times scale, old directions → new ones.
        count: number of vertices of the old mesh.
    """

    corners: np.ndarray
    weights: np.ndarray
    turn: np.ndarray
    count: int

    @property
    def scale(self) -> float:
        """New units per old unit."""
        return float(np.cbrt(np.linalg.det(self.turn.astype(np.float64))))

    def move(self, displacement: np.ndarray) -> np.ndarray:
        """Displacements (..., V, 3) of the old mesh → (..., W, 3) float32 of the new one."""
        carried = sum(displacement[..., self.corners[:, i], :] * self.weights[:, i, None] for i in range(3))
        return np.asarray(carried @ self.turn.T, np.float32)

    def topology(self, old: Topology, faces: np.ndarray) -> Topology:
        """The old mesh's regions, lip pairs and colours on the new one, whose triangles are `faces`.

        A vertex belongs to the regions of its corner with the largest weight. A lip pair is dropped unless new
        vertices follow both of its vertices.
        """
        heaviest = self.corners[np.arange(len(self.corners)), self.weights.argmax(axis=1)]
        near = self.weights.sum(axis=1) > 0.5
        regions = {name: np.flatnonzero(np.isin(heaviest, ids) & near) for name, ids in old.regions.items()}
        follower = {int(vertex): number for number, vertex in enumerate(heaviest) if near[number]}
        pairs = [(follower[a], follower[b]) for a, b in old.lip_pairs.tolist() if a in follower and b in follower]
        total = np.maximum(self.weights.sum(axis=1), 1e-6)[:, None]
        colours = sum(old.colours[self.corners[:, i]] * self.weights[:, i, None] for i in range(3)) / total
        colours = np.where(near[:, None], colours, np.median(old.colours, axis=0))
        pairs_array = np.array(pairs, np.int64).reshape(-1, 2)
        return Topology(faces=faces, regions=regions, lip_pairs=pairs_array, colours=colours.astype(np.float32))


def find_correspondence(
    old: np.ndarray, old_faces: np.ndarray, new: np.ndarray, new_faces: np.ndarray
) -> Correspondence:
    """Bind every vertex of a new mesh to the surface of an old one.

    Both must be faces at rest that look along +z with y up, to within about 20 degrees; position and size may differ.

    Args:
        old: (V, 3) the known face.
        old_faces: (F, 3).
        new: (W, 3) the other face.
        new_faces: (G, 3).
    """
    old, new = old.astype(np.float64), new.astype(np.float64)
    scale, rotation, offset = _aligned(old, new)
    placed = scale * old @ rotation.T + offset
    triangles = placed[old_faces]
    normals = _unit(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]))
    own = trimesh.Trimesh(new, new_faces, process=False).vertex_normals
    size = float(np.ptp(placed, axis=0).max())
    count = min(NEAREST, len(triangles))
    _, candidates = cKDTree(triangles.mean(axis=1)).query(new, k=count)
    candidates = np.asarray(candidates).reshape(len(new), count)
    points = np.repeat(new, count, axis=0)
    chosen = triangles[candidates.ravel()]
    closest = trimesh.triangles.closest_point(chosen, points)
    distance = np.linalg.norm(closest - points, axis=1).reshape(len(new), count)
    against = np.einsum("wkx,wx->wk", normals[candidates], own) < SAME_WAY
    best = np.argmin(distance + size * against, axis=1)
    row = np.arange(len(new))
    inside = closest.reshape(len(new), count, 3)[row, best]
    triangle = candidates[row, best]
    weights = np.nan_to_num(trimesh.triangles.points_to_barycentric(triangles[triangle], inside)).clip(0, 1)
    far = distance[row, best] / (REACH * size)
    fade = np.clip(2 - far, 0, 1)[:, None]
    weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9) * fade
    return Correspondence(
        corners=old_faces[triangle].astype(np.int64),
        weights=weights.astype(np.float32),
        turn=(scale * rotation).astype(np.float32),
        count=len(old),
    )


def save_correspondence(path: str | Path, found: Correspondence) -> None:
    """Write an `.npz`."""
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, corners=found.corners, weights=found.weights, turn=found.turn, count=np.int64(found.count))


def load_correspondence(path: str | Path, old_count: int, new_count: int) -> Correspondence:
    """Read a correspondence and check that it fits meshes with these numbers of vertices."""
    what, fix = "a correspondence of two meshes", "Delete it; it will be computed again."
    stored = read_npz(Path(path), expected=what, fix=fix, needed=("corners", "weights", "turn", "count"))
    kinds = [stored[name].dtype.kind for name in ("corners", "weights", "turn", "count")]
    if (
        not all(kind in right for kind, right in zip(kinds, ("iu", "f", "f", "iu"), strict=True))
        or stored["count"].size != 1
    ):
        raise BadInput(path, expected=what, found=f"arrays of the kinds {', '.join(kinds)}", fix=fix)
    found = Correspondence(stored["corners"], stored["weights"], stored["turn"], int(stored["count"].item()))
    shapes: Any = (found.corners.shape, found.weights.shape, found.turn.shape, found.count)
    expected = ((new_count, 3), (new_count, 3), (3, 3), old_count)
    in_range = found.corners.size == 0 or (found.corners.min() >= 0 and found.corners.max() < old_count)
    if shapes != expected or not in_range:
        text = f"a correspondence from {old_count} to {new_count} vertices"
        other = f"one from {found.count} to {len(np.atleast_1d(found.corners))}"
        raise BadInput(path, expected=text, found=other, fix="Give another file; it will be computed again.")
    return found


def _aligned(old: np.ndarray, new: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation (3, 3) and offset (3,) that map the old points onto the new ones."""
    # Some heads have necks and shoulders, so neither the heights nor the widths of two heads are comparable: crown and
    # face are aligned at several scales, and the one with the smallest distance is kept.
    width = float(np.ptp(new[:, 0]) / np.ptp(old[:, 0]))
    top_old, top_new = (points.max(axis=0) * [0, 1, 1] for points in (old, new))
    middle_old, middle_new = ((points.max(axis=0) + points.min(axis=0)) / 2 * [1, 0, 0] for points in (old, new))
    tree, some = cKDTree(new), old[:: max(1, len(old) // SOME)]
    tried = []
    for share in STARTS:
        offset = top_new + middle_new - share * width * (top_old + middle_old)
        tried.append(_icp(some, new, tree, (share * width, np.eye(3), offset)))
    return _icp(old, new, tree, min(tried, key=lambda found: found[0])[1])[1]


def _icp(
    old: np.ndarray, new: np.ndarray, tree: cKDTree, placing: tuple[float, np.ndarray, np.ndarray]
) -> tuple[float, tuple[float, np.ndarray, np.ndarray]]:
    """Mean squared distance in old units, and the refined scale, rotation and offset; `placing` is the start."""
    before = np.inf
    for _ in range(ROUNDS):
        scale, rotation, offset = placing
        distance, nearest = tree.query(scale * old @ rotation.T + offset)
        kept = np.argsort(distance)[: max(3, round(KEPT * len(old)))]
        error = float(np.square(distance[kept]).mean()) / scale**2
        if error > before * (1 - 1e-6) or error == 0:
            break
        before = error
        placing = _similarity(old[kept], new[nearest[kept]])
    return min(error, before), placing


def _similarity(old: np.ndarray, new: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Umeyama's closed form, Eqs. 38 to 43."""
    centre_old, centre_new = old.mean(axis=0), new.mean(axis=0)
    a, b = old - centre_old, new - centre_new
    u, strength, vt = np.linalg.svd(b.T @ a / len(old))
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((strength * sign).sum() / a.var(axis=0).sum())
    return scale, rotation, centre_new - scale * rotation @ centre_old


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
