"""Small meshes and a direction-wise finite difference, shared by the tests of the renderer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.render.rasterise import interpolate

GOLDEN = Path(__file__).parents[1] / "golden" / "render"


def bumpy_sphere(dtype: torch.dtype = torch.float64) -> tuple[Tensor, np.ndarray, Tensor]:
    """Vertices (2, 642, 3) of two frames, about 0.6 in radius around the origin; faces; colours (642, 3) in 0..1."""
    with np.load(GOLDEN / "sphere_32.npz") as golden:
        vertices, faces, colours = golden["verts"].astype(np.float64), golden["faces"], golden["colour"]
    vertices = (vertices - vertices.mean(axis=1, keepdims=True)) * [-1, 1, -1]  # half a turn: x right, z to the camera
    colours = (colours - colours.min()) / np.ptp(colours)
    return torch.tensor(vertices, dtype=dtype), faces, torch.tensor(colours, dtype=dtype)


def triangle_soup(triangles: int, seed: int, size: float) -> tuple[Tensor, np.ndarray]:
    """Screen positions (1, 3 T, 3) of unconnected triangles somewhere around an image of `size` pixels, and faces."""
    rng = np.random.default_rng(seed)
    screen = np.concatenate([rng.uniform(-2, size + 2, (3 * triangles, 2)), rng.uniform(1, 3, (3 * triangles, 1))], 1)
    return torch.tensor(screen)[None], np.arange(3 * triangles, dtype=np.int32).reshape(-1, 3)


def rectangle(left: float, right: float, top: float, bottom: float, strips: int = 1) -> tuple[Tensor, np.ndarray]:
    """Screen positions of an upright rectangle of depth 1 that faces the camera, in `strips` vertical strips."""
    x = np.linspace(left, right, strips + 1)
    screen = np.stack([np.tile(x, 2), np.repeat([top, bottom], strips + 1), np.ones(2 * (strips + 1))], -1)
    a = np.arange(strips)
    b, c, d = a + 1, a + strips + 1, a + strips + 2
    faces = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).astype(np.int32)
    return torch.tensor(screen)[None], faces


def barycentrics(screen: Tensor, faces: np.ndarray, pix_to_face: Tensor, perspective: bool) -> Tensor:
    """(N, H, W, 3) weights of the corners of the triangle that each pixel sees, 0 where there is none."""
    corners = np.arange(faces.size, dtype=np.int32).reshape(-1, 3)
    ones = torch.eye(3, dtype=screen.dtype).repeat(len(screen), len(faces), 1)
    return interpolate(ones, screen[:, faces.reshape(-1)], corners, pix_to_face, perspective=perspective)


def slope(function: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor, step: float) -> tuple[float, float]:
    """Derivative of a scalar function along `direction`: by autograd, and by central differences."""
    variable = point.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(variable), variable)
    with torch.no_grad():
        difference = function(point + step * direction) - function(point - step * direction)
    return float((gradient * direction).sum()), float(difference) / (2 * step)
