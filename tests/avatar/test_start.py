import numpy as np
import torch

from learn2talk_core.avatar.binding import in_world, one_per_triangle, triangle_frames
from learn2talk_core.avatar.start import covered_pixels, start_counts, start_splats
from learn2talk_core.avatar.views import View
from learn2talk_core.render.pinhole import orbiting
from tests.avatar.scene import FRONT, octahedron


def test_one_splat_each_is_the_papers_start() -> None:
    vertices, faces = octahedron()
    start = start_splats(vertices, faces, np.ones(len(faces), np.int64), 2)
    for a, b in zip(start, one_per_triangle(len(faces), 2), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_many_splats_are_spread_over_their_triangle() -> None:
    """In the world: inside the triangle, in its plane, about its middle, as apart as a splat is wide."""
    vertices, faces = octahedron()
    counts = np.array([200, 1, 3, 1, 1, 1, 1, 1])
    start = start_splats(vertices, faces, counts, 0)
    assert torch.bincount(start.triangle).tolist() == counts.tolist()
    frames = triangle_frames(torch.from_numpy(vertices), torch.from_numpy(faces).long())
    world = in_world(start, frames, orbiting(FRONT, 32, 32, 0.0), degree=0)
    a, b, c = vertices[faces[0]].astype(np.float64)
    points = world.position[:200].numpy().astype(np.float64)
    shares = np.linalg.lstsq(np.stack([b - a, c - a], 1), (points - a).T, rcond=None)[0]
    assert shares.min() > 0
    assert shares.sum(axis=0).max() < 1
    np.testing.assert_allclose(points, a + shares.T @ np.stack([b - a, c - a]), atol=1e-6)
    np.testing.assert_allclose(points.mean(axis=0), (a + b + c) / 3, atol=0.02 * np.linalg.norm(b - a))
    apart = np.linalg.norm(points[:, None] - points, axis=2) + 10 * np.eye(200)
    size = float(frames.size[0])
    assert apart.min() > 0.2 * size / np.sqrt(200)
    torch.testing.assert_close(world.scale[:200], torch.full((200, 3), size / 200**0.5))


def test_pixels_are_counted_where_a_triangle_is_seen_largest() -> None:
    vertices, faces = octahedron()
    views = [
        View(time, 0, orbiting(FRONT, side, side, yaw), "train") for time, side, yaw in ((0, 64, 0.2), (1, 32, 0.2))
    ]
    most = covered_pixels(views, lambda time: (1.0 if time == 0 else 0.5) * vertices, faces)
    single = [covered_pixels([view], lambda time: (1.0 if time == 0 else 0.5) * vertices, faces) for view in views]
    assert most.tolist() == np.maximum(*single).tolist()
    # by hand: the corners of the triangle in pixels, and its area
    camera = views[0].camera
    local = vertices @ camera.rotation.T + camera.translation
    corners = (local[:, :2] / local[:, 2:] * camera.focal + camera.centre)[faces]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area = (ay * bx - ax * by) / 2  # positive where the triangle faces the camera
    np.testing.assert_allclose(single[0], np.maximum(area, 0), atol=0.06 * area.max())
    assert (single[0] == 0).any()


def test_only_protected_triangles_start_with_more_and_leave_room() -> None:
    seen, protected = np.array([9, 9, 1, 0, 100]), np.array([True, False, True, True, True])
    assert start_counts(seen, protected, 1000).tolist() == [5, 1, 1, 1, 50]
    few = start_counts(seen, protected, 22)  # 110 pixels, 11 splats: one for ten pixels
    assert few.tolist() == [1, 1, 1, 1, 10]
