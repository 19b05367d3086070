"""The geometry of the script; its result is tested in tests/animation/test_characters.py."""

from collections import Counter

import numpy as np

from scripts.make_characters import (
    Surface,
    clipped,
    closed_below,
    concave,
    cylindrical,
    divided,
    vertex_normals,
    welded,
)
from tests.render.meshes import bumpy_sphere


def area(positions: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = positions[faces].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def square() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    positions = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return positions, faces, positions[faces][..., :2]


def test_a_cut_runs_along_the_line_and_keeps_the_texture_in_place() -> None:
    positions, faces, uv = square()
    at, cut, placed = clipped(positions, faces, uv, positions @ (1, 1, 0) - 0.5)
    assert area(at, cut) == 1 - 0.5**3
    np.testing.assert_allclose(at[cut][..., :2], placed, atol=1e-12)
    normals = np.cross(at[cut[:, 1]] - at[cut[:, 0]], at[cut[:, 2]] - at[cut[:, 0]])
    assert (normals[:, 2] > 0).all(), "the side that faces outwards stays"


def test_nothing_and_everything_is_cut() -> None:
    positions, faces, uv = square()
    at, cut, _ = clipped(positions, faces, uv, np.ones(4))
    np.testing.assert_array_equal(at[cut], positions[faces])


def test_divided_triangles_cover_the_same_area() -> None:
    positions, faces, uv = square()
    at, parts, placed = divided(positions, faces, uv)
    assert len(parts) == 8
    assert len(at) == 9, "the middle of a shared edge is one vertex"
    np.testing.assert_allclose(area(at, parts), 1)
    np.testing.assert_allclose(at[parts][..., :2], placed)


def test_vertices_at_the_same_place_are_one_only_between_head_and_the_rest() -> None:
    positions, faces, uv = square()
    below = Surface(positions - (0, 1, 0), faces, uv, np.zeros(2))
    whole = Surface(positions, faces, uv, np.zeros(2)).joined(below)
    at, joined = welded(whole, 4)
    assert len(at) == 6
    np.testing.assert_allclose(at[joined], whole.positions[whole.faces])


def test_a_cylinders_coordinates_do_not_cross_the_seam() -> None:
    angle = np.linspace(0, 2 * np.pi, 25)[:-1]
    ring = np.stack([np.sin(angle), np.zeros(24), np.cos(angle) - 0.075], axis=1)
    at = np.concatenate([ring, ring + np.array([0, 1, 0])])
    k = np.arange(24)
    faces = np.stack([k, (k + 1) % 24, k + 24], axis=1)
    uv = cylindrical(at, faces, (0.1, 0.2, 0.5, 0.4), (0, 1))
    assert np.ptp(uv[..., 0], axis=1).max() < 0.5 / 20
    np.testing.assert_allclose([uv[..., 1].min(), uv[..., 1].max()], [0.2, 0.6])


def test_a_hollow_is_told_from_a_bump() -> None:
    vertices, faces, _ = (np.asarray(part) for part in bumpy_sphere())
    sphere = vertices[0] / np.linalg.norm(vertices[0], axis=1, keepdims=True)
    outside = Surface(sphere, faces, np.zeros((len(faces), 3, 2)), np.zeros(len(faces)))
    assert (concave(sphere, outside) < 0).all()
    inside = Surface(sphere, faces[:, ::-1], outside.uv, outside.part)
    assert (concave(sphere, inside) > 0).all()
    np.testing.assert_allclose(vertex_normals(sphere, faces), sphere, atol=0.05)


def test_a_bust_is_closed_below_and_its_neck_stays_open() -> None:
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(turn), np.zeros(12), np.sin(turn)], axis=1)
    tube = np.concatenate([ring, ring * 1.5 - (0, 1, 0)])  # neck above, edge below
    here, after = np.arange(12), np.roll(np.arange(12), -1)
    faces = np.concatenate([np.stack([here, after, here + 12], 1), np.stack([after, after + 12, here + 12], 1)])
    positions, closed = closed_below(tube, faces)
    np.testing.assert_array_equal(positions[:24], tube)
    membrane = positions[24:]
    distance = np.linalg.norm(membrane[:12, None] - tube[12:], axis=-1)
    assert sorted(distance.argmin(axis=1)) == list(range(12))
    assert distance.min(axis=1).max() == 0  # its own vertices at the sharp edge
    np.testing.assert_allclose(membrane[:, 1], -1, atol=1e-9)  # a flat edge has a flat membrane
    _, welded_faces = np.unique(positions.round(9), axis=0, return_inverse=True)
    ways = Counter(
        (a, b) for face in welded_faces.ravel()[closed].tolist() for a, b in zip(face, face[1:] + face[:1], strict=True)
    )
    assert max(ways.values()) == 1  # the triangles agree on which side is outside
    assert sum((b, a) not in ways for a, b in ways) == 12  # the neck
