"""Centre and surface area of a moving mesh, frame by frame."""

import numba
import numpy as np


def centres_and_areas(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of all vertices and total area of all triangles in each frame, accumulated in float64.

    Args:
        vertices: (T, V, 3), in any unit.
        faces: (F, 3) vertex numbers.

    Returns:
        Centres (T, 3) in the unit of `vertices`, and areas (T,) in its square.
    """
    centres, areas = np.empty((len(vertices), 3)), np.empty(len(vertices))
    _measure(vertices, np.ascontiguousarray(faces, np.int32), centres, areas)
    return centres, areas


def recentre(vertices: np.ndarray, centres: np.ndarray, factors: np.ndarray) -> None:
    """(vertices - centre) · factor in place, in float64: vertices (T, V, 3), centres (T, 3) and factors (T, 3)."""
    _move(vertices, centres, factors)


@numba.njit(nogil=True, cache=True)
def _move(vertices, centres, factors):  # type: ignore[no-untyped-def]
    for t in range(len(vertices)):
        for v in range(vertices.shape[1]):
            for axis in range(3):
                vertices[t, v, axis] = (vertices[t, v, axis] - centres[t, axis]) * factors[t, axis]


@numba.njit(nogil=True, cache=True)
def _measure(vertices, faces, centres, areas):  # type: ignore[no-untyped-def]
    for t in range(len(vertices)):
        frame = vertices[t]
        x = y = z = 0.0
        for v in range(len(frame)):
            x += frame[v, 0]
            y += frame[v, 1]
            z += frame[v, 2]
        centres[t, 0], centres[t, 1], centres[t, 2] = x / len(frame), y / len(frame), z / len(frame)
        twice = 0.0
        for f in range(len(faces)):
            ux, uy, uz = _edge(frame, faces[f, 0], faces[f, 1])
            vx, vy, vz = _edge(frame, faces[f, 0], faces[f, 2])
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            twice += np.sqrt(nx * nx + ny * ny + nz * nz)
        areas[t] = twice / 2


@numba.njit(nogil=True, cache=True)
def _edge(frame, start, end):  # type: ignore[no-untyped-def]
    return (
        np.float64(frame[end, 0]) - frame[start, 0],
        np.float64(frame[end, 1]) - frame[start, 1],
        np.float64(frame[end, 2]) - frame[start, 2],
    )
