"""Splats of one moment in the world, with their spherical harmonics in the world's axes."""

import math

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.avatar.avatar import Avatar
from learn2talk_core.avatar.binding import BoundSplats, multiplied, quaternions, triangle_frames
from learn2talk_core.render.splats import harmonic_basis

DIRECTIONS = 64  # at which harmonics are compared, more than the 16 unknowns


def baked(avatar: Avatar, vertices: np.ndarray) -> BoundSplats:
    """The splats with the mesh at `vertices` (V, 3), in the world: position and scale in its unit."""
    splats = avatar.splats
    frames = triangle_frames(torch.from_numpy(np.asarray(vertices, np.float32)), torch.from_numpy(avatar.faces).long())
    rotation, size = frames.rotation[splats.triangle], frames.size[splats.triangle, None]
    harmonics = torch.cat([splats.base, splats.rest], dim=1)
    if avatar.local and harmonics.shape[1] > 1:
        harmonics = turned_harmonics(harmonics, rotation)
    return splats._replace(
        position=size * (rotation @ splats.position[..., None])[..., 0] + frames.origin[splats.triangle],
        scale=size.clamp_min(1e-12).log() + splats.scale,
        rotation=multiplied(quaternions(rotation), torch.nn.functional.normalize(splats.rotation, dim=1)),
        base=harmonics[:, :1],
        rest=harmonics[:, 1:],
    )


def turned_harmonics(coefficients: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients (N, K, 3) in axes that are the columns of `rotation` (N, 3, 3) → those in the world's axes.

    Rotated harmonics of a degree are combinations of those of the same degree, so least squares over more directions
    than there are coefficients gives them exactly.
    """
    places = _directions().to(coefficients)
    count, size = coefficients.shape[:2]
    local = torch.einsum("sx,nxy->nsy", places, rotation)
    there = harmonic_basis(local.reshape(-1, 3), size).reshape(count, len(places), size)
    values = there @ coefficients
    return torch.linalg.pinv(harmonic_basis(places, size)) @ values


def _directions() -> Tensor:
    """(DIRECTIONS, 3) evenly on the sphere, a Fibonacci lattice."""
    number = torch.arange(DIRECTIONS) + 0.5
    z, angle = 1 - 2 * number / DIRECTIONS, math.pi * (1 + math.sqrt(5)) * number
    flat = (1 - z * z).sqrt()
    return torch.stack([flat * angle.cos(), flat * angle.sin(), z], dim=1)
