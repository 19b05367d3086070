"""Projection of vertices into the image.

World axes: x to the speaker's left (right in the image), y up, z out of the face. Pixel axes: x right, y down, pixel
(row, column) covers [column, column + 1] × [row, row + 1], so that its centre lies at + 0.5.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from learn2talk_core.run.device import sent


@dataclass(frozen=True)
class Camera:
    """A camera in front of the face that looks at `target`. Lengths have the unit of the vertices.

    Attributes:
        target: (x, y, z) of the point at the centre of the image.
        extent: height of the visible area at the target.
        distance: from the camera to the target.
        yaw: rotation of the camera around the target in radians; positive shows the speaker's left.
        perspective: True for a pinhole camera, False for parallel rays (orthographic).
    """

    target: tuple[float, float, float]
    extent: float
    distance: float
    yaw: float = 0.0
    perspective: bool = True


def axes(camera: Camera) -> Tensor:
    """(3, 3) rows: the world directions of image right, image up, and from the target to the camera."""
    sin, cos = math.sin(camera.yaw), math.cos(camera.yaw)
    return torch.tensor([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]], dtype=torch.float64)


def project(camera: Camera, vertices: Tensor, height: int, width: int) -> Tensor:
    """World positions (..., 3) → (..., 3): pixel x, pixel y, and depth (distance in front of the camera)."""
    position = vertices - sent(torch.tensor(camera.target, dtype=vertices.dtype), vertices.device)
    if camera.yaw:
        position = position @ sent(axes(camera).to(vertices.dtype), vertices.device).T
    x, y, z = position.unbind(dim=-1)
    depth = camera.distance - z
    scale = height / camera.extent * (camera.distance / depth if camera.perspective else torch.ones_like(depth))
    return torch.stack([width / 2 + scale * x, height / 2 - scale * y, depth], dim=-1)
