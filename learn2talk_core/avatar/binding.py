"""Splats that are bound to the triangles of a mesh and move with it.

After Qian et al. 2024, "GaussianAvatars: Photorealistic Head Avatars with Rigged 3D Gaussians", §3.2. A triangle
a, b, c has its centroid as origin, the axes x = (b − a) / |b − a|, y its normal and z = x × y, and the size
k = (|b − a| + |(c − a) · z|) / 2. With R = [x y z] a splat with local position p, rotation q and scale s is at
k R p + origin, with the rotation R q and the scale k s.

Unlike the paper, spherical harmonics are evaluated in the triangle's axes: when the head turns, what they hold of the
light turns with it, as the colours of a texture do.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.render.pinhole import Pinhole
from learn2talk_core.render.splats import Splats, spherical_harmonics

START_OPACITY = 0.1


class TriangleFrames(NamedTuple):
    """Frames of F triangles: origin (F, 3), rotation (F, 3, 3) with the axes as columns, size (F,)."""

    origin: Tensor
    rotation: Tensor
    size: Tensor


class BoundSplats(NamedTuple):
    """N splats in the frames of their triangles, as they are optimised.

    Attributes:
        position: (N, 3) in sizes of the triangle.
        scale: (N, 3) logarithm of the standard deviations, in sizes of the triangle.
        rotation: (N, 4) quaternion w, x, y, z.
        opacity: (N,) before the sigmoid.
        base: (N, 1, 3) spherical harmonics of degree 0.
        rest: (N, 0, 3, 8 or 15, 3) those of the higher degrees.
        triangle: (N,) int64.
    """

    position: Tensor
    scale: Tensor
    rotation: Tensor
    opacity: Tensor
    base: Tensor
    rest: Tensor
    triangle: Tensor


def one_per_triangle(triangles: int, degree: int = 3) -> BoundSplats:
    """A grey splat in the middle of each triangle, as large as the triangle."""
    rotation = torch.zeros(triangles, 4)
    rotation[:, 0] = 1
    return BoundSplats(
        position=torch.zeros(triangles, 3),
        scale=torch.zeros(triangles, 3),
        rotation=rotation,
        opacity=torch.full((triangles,), float(np.log(START_OPACITY / (1 - START_OPACITY)))),
        base=torch.zeros(triangles, 1, 3),
        rest=torch.zeros(triangles, (degree + 1) ** 2 - 1, 3),
        triangle=torch.arange(triangles),
    )


def triangle_frames(vertices: Tensor, faces: Tensor) -> TriangleFrames:
    """Frames of the triangles `faces` (F, 3) between `vertices` (V, 3); differentiable."""
    a, b, c = vertices[faces].unbind(dim=1)
    x = F.normalize(b - a, dim=-1, eps=1e-12)
    y = F.normalize(torch.linalg.cross(x, c - a), dim=-1, eps=1e-12)
    z = torch.linalg.cross(x, y)
    size = ((b - a).norm(dim=-1) + ((c - a) * z).sum(-1).abs()) / 2
    return TriangleFrames((a + b + c) / 3, torch.stack([x, y, z], dim=-1), size)


def in_world(
    bound: BoundSplats, frames: TriangleFrames, view: Pinhole, *, degree: int = 3, local: bool = True
) -> Splats:
    """The splats in the world, with their colours as `view` sees them.

    Args:
        bound: the splats.
        frames: of the triangles.
        view: the camera.
        degree: of the spherical harmonics that are used.
        local: the harmonics are in the triangle's axes; False for the world's, as in GaussianAvatars' own files.
    """
    rotation, size = frames.rotation[bound.triangle], frames.size[bound.triangle, None]
    offset = (rotation @ bound.position[..., None])[..., 0]
    position = size * offset + frames.origin[bound.triangle]
    direction = F.normalize(position - position.new_tensor(view.position), dim=-1)
    if local:
        direction = (direction[:, None] @ rotation)[:, 0]
    harmonics = torch.cat([bound.base, bound.rest[:, : (degree + 1) ** 2 - 1]], dim=1)
    return Splats(
        position=position,
        scale=size * bound.scale.exp(),
        rotation=multiplied(quaternions(frames.rotation)[bound.triangle], F.normalize(bound.rotation, dim=-1)),
        opacity=bound.opacity.sigmoid(),
        colour=spherical_harmonics(harmonics, direction),
    )


def quaternions(rotation: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) → unit quaternions (..., 4) w, x, y, z; from the largest component, so that it is
    accurate everywhere (Shepperd 1978, "Quaternion from rotation matrix")."""
    r = rotation
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    xy, yz, zx = r[..., 0, 1] + r[..., 1, 0], r[..., 1, 2] + r[..., 2, 1], r[..., 2, 0] + r[..., 0, 2]
    wx, wy, wz = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    rows = [
        [1 + xx + yy + zz, wx, wy, wz],
        [wx, 1 + xx - yy - zz, xy, zx],
        [wy, xy, 1 - xx + yy - zz, yz],
        [wz, zx, yz, 1 - xx - yy + zz],
    ]  # 4 q qᵀ
    products = torch.stack([torch.stack(row, -1) for row in rows], -2)
    largest = products.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = torch.take_along_dim(products, largest[..., None, None], dim=-2)[..., 0, :]
    return F.normalize(row, dim=-1)


def multiplied(p: Tensor, q: Tensor) -> Tensor:
    """Product of quaternions (..., 4): first q turns, then p."""
    (a, b, c, d), (w, x, y, z) = p.unbind(-1), q.unbind(-1)
    parts = [a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y]
    parts += [a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w]
    return torch.stack(parts, dim=-1)


def take(bound: BoundSplats, chosen: Tensor) -> BoundSplats:
    """Some of the splats, by a mask or by numbers."""
    return BoundSplats(*(part[chosen] for part in bound))
