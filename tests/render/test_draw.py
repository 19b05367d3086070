from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.draw import draw
from learn2talk_core.render.render import render
from learn2talk_core.render.shading import Light
from tests.render.meshes import bumpy_sphere, triangle_soup

CAMERA = Camera(target=(0.02, -0.03, 0.0), extent=1.6, distance=3.0)
LIGHT = Light(direction=(-0.3, 0.6, 1), ambient=0.3, diffuse=0.5, specular=0.2, shininess=6)


def difference(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, camera: Camera, size: int) -> np.ndarray:
    """(N, H, W) difference between `draw` and `render` in levels of 255."""
    drawn = draw(vertices, faces, colours, camera, size, size, light=LIGHT, background=(1.0, 0.0, 0.5))
    positions, albedo = (torch.from_numpy(np.float32(some)) for some in (vertices, colours))
    image = render(positions, faces, albedo, camera, size, size, light=LIGHT, background=(1.0, 0.0, 0.5))
    assert (image != image[:, :1, :1]).any(-1).float().mean() > 0.2
    return np.abs(drawn - np.round(255 * image.numpy().astype(float))).max(axis=-1)


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_pictures_are_those_of_render(perspective: bool, yaw: float) -> None:
    vertices, faces, colours = bumpy_sphere()
    camera = replace(CAMERA, perspective=perspective, yaw=yaw)
    assert difference(vertices.numpy(), faces, colours.numpy(), camera, 96).max() <= 1


def test_the_embedded_head_is_that_of_render() -> None:
    face = load_face()
    open_mouth = face.neutral + 0.3 * face.unit["jawOpen"]
    camera = Camera(target=(0.0, -0.02, 0.05), extent=0.25, distance=1.0)
    levels = difference(np.stack([face.neutral, open_mouth]), face.faces, face.topology.colours, camera, 200)
    assert np.quantile(levels, 0.9999) <= 1, "a centre on an edge may fall to either side"


@pytest.mark.parametrize("perspective", [True, False])
def test_pictures_equal_a_naive_loop_inside_the_triangles(perspective: bool) -> None:
    size = 60
    soup, faces = triangle_soup(12, seed=3, size=size)
    corners = soup[0].numpy()
    colours = np.random.default_rng(0).uniform(0, 1, corners.shape)
    # from pixels back to the world, for a camera that looks at the origin with one unit per pixel
    camera = Camera(target=(0.0, 0.0, 0.0), extent=size, distance=3.0, perspective=perspective)
    scale = corners[:, 2:] / 3 if perspective else 1
    flat = np.concatenate([(corners[:, :2] - size / 2) * scale * [1, -1], 3 - corners[:, 2:]], axis=1)
    drawn = draw(flat[None], faces, colours, camera, size, size, light=LIGHT)[0]
    lamp = np.array(LIGHT.direction) / np.linalg.norm(LIGHT.direction)
    halfway = (lamp + np.eye(3)[2]) / np.linalg.norm(lamp + np.eye(3)[2])
    seen, expected = np.full((size, size), -1), np.zeros((size, size, 3))
    for row, column in np.ndindex(size, size):
        nearest = np.inf
        for number, face in enumerate(faces):
            weights = np.linalg.solve(np.c_[corners[face, :2], np.ones(3)].T, [column + 0.5, row + 0.5, 1])
            normal = np.cross(flat[face[1]] - flat[face[0]], flat[face[2]] - flat[face[0]])
            clockwise = np.linalg.det(np.c_[corners[face, :2], np.ones(3)]) > 0
            if clockwise or weights.min() < 0:
                continue
            if perspective:
                weights = weights / corners[face, 2] / (weights / corners[face, 2]).sum()
            if (z := weights @ corners[face, 2]) < nearest:
                nearest, seen[row, column] = z, number
                normal /= np.linalg.norm(normal)
                light = LIGHT.ambient + LIGHT.diffuse * max(0, normal @ lamp)
                shine = LIGHT.specular * max(0, normal @ halfway) ** LIGHT.shininess
                expected[row, column] = 255 * np.clip(weights @ colours[face] * light + shine, 0, 1)
    blocks = np.lib.stride_tricks.sliding_window_view(seen, (3, 3)).reshape(size - 2, size - 2, 9)
    inside = np.pad((blocks >= 0).all(-1) & (np.ptp(blocks, axis=-1) == 0), 1)
    assert inside.sum() > 200
    np.testing.assert_allclose(drawn[inside], expected[inside], atol=1)


def test_no_pixel_falls_between_two_triangles() -> None:
    """A white wall of small triangles, many with corners and edges on pixel centres."""
    rng, size = np.random.default_rng(1), 33
    x, y = np.meshgrid(np.linspace(-20, 20, 41), np.linspace(-20, 20, 41))
    vertices = np.stack([x, y, np.zeros_like(x)], -1)
    vertices[::2, ::2, :2] += rng.uniform(-0.4, 0.4, vertices[::2, ::2, :2].shape)
    a = np.arange(41 * 41).reshape(41, 41)[:-1, :-1].ravel()
    faces = np.concatenate([np.c_[a, a + 1, a + 42], np.c_[a, a + 42, a + 41]])
    camera = Camera(target=(0.0, 0.0, 0.0), extent=size, distance=100.0)
    white = np.ones((41 * 41, 3))
    light = Light(ambient=1.0, diffuse=0.0, specular=0.0)
    wall = draw(vertices.reshape(1, -1, 3), faces, white, camera, size, size, light=light, background=(0.0, 0.0, 0.0))
    assert (wall == 255).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_number_of_threads_and_frames_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces, colours = (np.asarray(some) for some in bumpy_sphere())
    moving = vertices[:1] * np.linspace(0.8, 1.2, 5)[:, None, None]
    alone = [draw(frame[None], faces, colours, CAMERA, 48, 40)[0] for frame in moving]
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
    np.testing.assert_array_equal(draw(moving, faces, colours, CAMERA, 48, 40), alone)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e30, -1e30])
def test_what_cannot_be_drawn_is_left_out(broken: float) -> None:
    vertices, faces, colours = (np.asarray(some) for some in bumpy_sphere())
    vertices = vertices[:1].copy()
    vertices[0, faces[0]] = broken
    picture = draw(vertices, faces, colours, CAMERA, 48, 40)
    whole = draw(vertices, faces[~np.isin(faces, faces[0]).any(axis=1)], colours, CAMERA, 48, 40)
    assert (picture != whole).any(-1).mean() < 0.1


def test_faces_of_vertices_that_are_not_there_are_refused() -> None:
    vertices, faces, colours = (np.asarray(some) for some in bumpy_sphere())
    with pytest.raises(ValueError, match=r"faces: expected vertex numbers 0 … 641, found 0 … 642"):
        draw(vertices, np.where(faces == 641, 642, faces), colours, CAMERA, 8, 8)
