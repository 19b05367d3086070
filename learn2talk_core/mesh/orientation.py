"""Check that a face looks along +z with y up.

Any rotation is found by comparison with a known face of the same topology. The mesh alone shows only that z is up.
"""

from itertools import permutations, product

import numpy as np
from scipy.spatial.transform import Rotation

from learn2talk_core.run.errors import BadInput

LARGEST = 20.0  # degrees of rotation that are accepted
FLAT = 1e-3  # smallest ratio of singular values at which a mesh can be told from its mirror image
OPEN = 0.2  # length of the sum of a mask's normals, relative to its area; 0.06 for heads that are open at the neck
DENSER = 0.05  # of the size: distance from the middle of a head's surface to the mean of its vertices; measured: 0.14
EXPECTED = "a head whose left is x and up is y, and which looks along z, as in the model"
FIX = "Export it with y up and z out of the face, not mirrored."
DEEPER = 0.9  # height over depth below which a head may have z up; measured: 0.82 for a head, 0.3 to 0.6 for masks
AXES = [
    np.eye(3)[list(order)] * signs for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
]  # all rotations and reflections that map axes onto axes


def refuse_rotated(where: object, positions: np.ndarray, known: np.ndarray) -> None:
    """Refuse a face that is rotated by more than `LARGEST`, or mirrored; scale and position do not matter.

    Args:
        where: the file or parameter that the error names.
        positions: (V, 3) the face, with the vertices in the order of `known`.
        known: (V, 3) a face that looks along +z with y up. It may be another person's.

    Raises:
        BadInput: the face is rotated or mirrored; the message describes how.
    """
    turn = _turn(known, positions)
    if _degrees(turn, np.eye(3)) <= LARGEST:
        return
    nearest = min(AXES, key=lambda axes: _degrees(turn, axes))
    aligned = _degrees(turn, nearest) <= LARGEST
    found = "mirrored" if np.linalg.det(turn) < 0 else _rotation(nearest if aligned else turn)
    if aligned:
        left, up, front = (_axis(direction) for direction in nearest.T)
        found += f": left is {left}, up is {up}, the face looks along {front}"
    raise BadInput(
        where,
        expected=EXPECTED,
        found=f"one that is {found}",
        fix=FIX,
    )


def refuse_z_up(where: object, positions: np.ndarray, faces: np.ndarray) -> None:
    """Refuse a face of any topology whose mesh shows that z is up: it is clearly deeper than high, and looks along y.

    A mask looks where its triangles do; a head, where its vertices are dense, as they are around eyes and mouth. A mesh
    that shows neither is accepted, and so are all other rotations.

    Args:
        where: the file that the error names.
        positions: (V, 3) the face.
        faces: (F, 3).

    Raises:
        BadInput: the face looks along y.
    """
    if not len(faces):
        return
    _, height, depth = np.ptp(positions[np.unique(faces)], axis=0)
    side, up, front = _look(positions.astype(np.float64), faces)
    if height < DEEPER * depth and abs(up) > 2 * max(abs(side), abs(front)):
        raise BadInput(
            where,
            expected=EXPECTED,
            found=f"one that looks along {'-' if up < 0 else ''}y and is {height / depth:.2f} times as high as deep",
            fix=FIX,
        )


def _look(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The direction (3,) in which a face looks, of any length; zero if its mesh does not show it."""
    corners = positions[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    if not areas.sum() > 0:
        return np.zeros(3)
    total = normals.sum(axis=0) / areas.sum()
    if np.linalg.norm(total) > OPEN:
        return np.asarray(total)
    used = positions[np.unique(faces)]
    denser = (used.mean(axis=0) - np.average(corners.mean(axis=1), axis=0, weights=areas)) / np.ptp(used, axis=0).max()
    return np.asarray(denser if np.linalg.norm(denser) > DENSER else np.zeros(3))


def _turn(known: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rotation or reflection (3, 3) of the similarity that best maps `known` onto `positions`."""
    a, b = (points.astype(np.float64) - points.mean(axis=0) for points in (known, positions))
    u, strength, vt = np.linalg.svd(b.T @ a)
    if strength[2] <= FLAT * strength[0] and np.linalg.det(u @ vt) < 0:
        u[:, 2] *= -1
    return u @ vt


def _degrees(turn: np.ndarray, other: np.ndarray) -> float:
    """Angle between two rotations in degrees; 180 or more if only one of them is a reflection."""
    between = turn.T @ other
    if np.linalg.det(between) < 0:
        return 180.0 + _degrees(-turn, other)
    return float(np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))))


def _rotation(turn: np.ndarray) -> str:
    vector = Rotation.from_matrix(turn).as_rotvec(degrees=True)
    angle = float(np.linalg.norm(vector))
    main = int(np.abs(vector).argmax())
    if abs(vector[main]) > angle * np.cos(np.radians(LARGEST)):
        return f"rotated by {np.copysign(angle, vector[main]):.0f}° about {'xyz'[main]}"
    return f"rotated by {angle:.0f}° about ({', '.join(f'{part:.2f}' for part in vector / angle)})"


def _axis(direction: np.ndarray) -> str:
    main = int(np.abs(direction).argmax())
    return ("-" if direction[main] < 0 else "") + "xyz"[main]
