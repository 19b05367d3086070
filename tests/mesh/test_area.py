import numpy as np
import pytest

from learn2talk_core.mesh.area import centres_and_areas


def bumpy(frames: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A wavy sheet of 6 × 5 vertices whose triangles are acute and obtuse."""
    rng = np.random.default_rng(0)
    grid = np.arange(30).reshape(6, 5)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    x, y = np.meshgrid(np.arange(5.0), np.arange(6.0))
    vertices = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3) + 0.3 * rng.normal(size=(frames, 30, 3))
    return vertices, faces


def mixed_voronoi(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Sum over triangles and corners of the mixed cells of Meyer et al. 2003, Sect. 3.3, as in CodeTalker."""
    total = 0.0
    for face in faces:
        p = vertices[face].astype(np.float64)
        angles = []
        for i in range(3):
            u, v = p[(i + 1) % 3] - p[i], p[(i + 2) % 3] - p[i]
            angles.append(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))
        area = np.linalg.norm(np.cross(p[1] - p[0], p[2] - p[0])) / 2
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            if max(angles) > np.pi / 2:
                total += area / 2 if angles[i] > np.pi / 2 else area / 4
            else:
                opposite = ((p[j] - p[i]) @ (p[j] - p[i])) / np.tan(angles[k])
                total += (opposite + ((p[k] - p[i]) @ (p[k] - p[i])) / np.tan(angles[j])) / 8
    return total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_area_is_the_sum_of_mixed_voronoi_cells(dtype: type) -> None:
    vertices, faces = bumpy()
    centres, areas = centres_and_areas(vertices.astype(dtype), faces)
    np.testing.assert_allclose(areas, [mixed_voronoi(frame, faces) for frame in vertices], rtol=1e-6)
    np.testing.assert_allclose(centres, vertices.mean(axis=1), atol=1e-6)


def test_a_single_triangle() -> None:
    triangle = np.array([[[0, 0, 5], [3, 0, 5], [0, 4, 5]]], np.float32)
    centres, areas = centres_and_areas(triangle, np.array([[0, 1, 2]]))
    assert areas.tolist() == [6.0]
    np.testing.assert_allclose(centres, [[1, 4 / 3, 5]])


def test_far_from_the_origin_nothing_is_lost() -> None:
    vertices, faces = bumpy(1)
    _, near = centres_and_areas(vertices, faces)
    _, far = centres_and_areas(vertices + 1e6, faces)
    np.testing.assert_allclose(far, near, rtol=1e-8)
