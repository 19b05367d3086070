"""A pinhole camera anywhere in the world, as splats are drawn with."""

import math
from dataclasses import dataclass, replace

import numpy as np

from learn2talk_core.render.camera import Camera, axes


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera anywhere: a world position p is at R p + t in the camera's axes (x right, y down, z forward).

    Attributes:
        rotation: (3, 3) float64, R.
        translation: (3,) float64, t, in the unit of the world.
        focal: focal lengths along x and y in pixels.
        centre: pixel x and y of the principal point; the top left corner of the image is (0, 0).
        height, width: size of the image in pixels.
    """

    rotation: np.ndarray
    translation: np.ndarray
    focal: tuple[float, float]
    centre: tuple[float, float]
    height: int
    width: int

    @property
    def position(self) -> np.ndarray:
        """(3,) the camera's centre in the world."""
        return -self.rotation.T @ self.translation

    def project(self, vertices: np.ndarray) -> np.ndarray:
        """World positions (V, 3) -> (V, 3) float64: pixel x, pixel y (down), and depth."""
        local = vertices.astype(np.float64) @ self.rotation.T + self.translation
        return np.concatenate([local[:, :2] / local[:, 2:] * self.focal + self.centre, local[:, 2:]], axis=1)


def pinhole(camera: Camera, height: int, width: int) -> Pinhole:
    """The same perspective camera as a `Pinhole`."""
    if not camera.perspective:
        raise ValueError("camera: expected perspective, found parallel rays")
    rotation = np.diag([1.0, -1.0, -1.0]) @ axes(camera).numpy()
    position = np.array(camera.target) - camera.distance * rotation[2]
    focal = height / camera.extent * camera.distance
    return Pinhole(rotation, -rotation @ position, (focal, focal), (width / 2, height / 2), height, width)


def orbiting(camera: Camera, height: int, width: int, yaw: float, pitch: float = 0.0) -> Pinhole:
    """`camera` moved around its target, by angles in radians: `yaw` as its own, positive `pitch` upwards."""
    front = pinhole(replace(camera, yaw=camera.yaw + yaw), height, width)
    sin, cos = math.sin(pitch), math.cos(pitch)
    rotation = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ front.rotation
    position = np.array(camera.target) - camera.distance * rotation[2]
    return replace(front, rotation=rotation, translation=-rotation @ position)
