"""A small mesh with bound splats, and a folder of pictures of it."""

from pathlib import Path

import numpy as np
import torch

from learn2talk_core.avatar.avatar import Avatar, draw_avatar
from learn2talk_core.avatar.binding import BoundSplats, one_per_triangle
from learn2talk_core.avatar.views import MeshMotion, View, write_views
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.pinhole import orbiting
from tests.toy import sheet, topology

FRONT = Camera(target=(0.0, 0.0, 0.0), extent=0.3, distance=1.0)


def octahedron() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (6, 3) float32 and faces (8, 3) int32, a tenth of a metre in radius."""
    vertices = 0.1 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    return vertices, np.array(faces, np.int32)


def some_splats(count: int, triangles: int, seed: int = 0, degree: int = 1) -> BoundSplats:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    return BoundSplats(
        position=0.3 * normal(count, 3),
        scale=0.3 * normal(count, 3) - 1.2,
        rotation=normal(count, 4),
        opacity=normal(count) + 1,
        base=0.8 * normal(count, 1, 3),
        rest=0.2 * normal(count, (degree + 1) ** 2 - 1, 3),
        triangle=torch.arange(count) % triangles,
    )


def small_avatar(count: int = 80, degree: int = 1) -> Avatar:
    vertices, faces = octahedron()
    seen = np.zeros((3, 2), np.float32)
    return Avatar(some_splats(count, len(faces), degree=degree), vertices, faces, 1000.0, seen)


def moving_octahedron(moments: int = 4) -> MeshMotion:
    vertices, faces = octahedron()
    basis = np.zeros((2, 6, 3), np.float32)
    basis[0, 2, 1], basis[1, 0, 0] = 0.05, 0.04  # the top rises, the right corner moves out
    weights = np.random.default_rng(1).uniform(0, 1, (moments, 2)).astype(np.float32)
    return MeshMotion(vertices, faces, basis, weights, np.arange(8) < 2, 1000.0)


def write_small_views(folder: Path, size: int = 32, cameras: int = 5, moments: int = 4) -> MeshMotion:
    """Pictures that a known avatar draws; the last moment is of the split `test`, the last camera of `val`."""
    motion, avatar = moving_octahedron(moments), small_avatar()
    views = []
    for time in range(moments):
        for number in range(cameras):
            split = "test" if time == moments - 1 else "val" if number == cameras - 1 else "train"
            camera = orbiting(FRONT, size, size, yaw=1.2 * number, pitch=0.3 * (number % 3 - 1))
            views.append(View(time, number, camera, split))
    pictures = [
        np.rint(255 * draw_avatar(avatar, motion.vertices(view.time), view.camera).image.clamp(0, 1).numpy())
        for view in views
    ]
    write_views(folder, views, (picture.astype(np.uint8) for picture in pictures), motion, made_by="test")
    return motion


def sheet_avatar() -> Avatar:
    """Opaque small splats on the toy sheet, in the colours of its triangles."""
    faces, albedo = topology().faces, topology().colours
    splats = one_per_triangle(len(faces), degree=0)
    colour = torch.from_numpy(albedo[faces].mean(axis=1))
    splats = splats._replace(
        scale=torch.full_like(splats.scale, -1.0),
        opacity=torch.full_like(splats.opacity, 5.0),
        base=((colour - 0.5) / 0.28209479)[:, None],
    )
    return Avatar(splats, sheet(), faces, 1000.0, np.zeros((1, 1), np.float32))
