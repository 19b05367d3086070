"""Render a mesh, differentiable in vertices and colours."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.render import pytorch3d_backend, torch_backend
from learn2talk_core.render.antialias import antialias
from learn2talk_core.render.background import BACKGROUND
from learn2talk_core.render.camera import Camera, axes, project
from learn2talk_core.render.rasterise import interpolate, rasterise
from learn2talk_core.render.shading import LIGHT, Light, shade, vertex_normals
from learn2talk_core.run.errors import BadInput


def render(
    vertices: Tensor,
    faces: np.ndarray,
    colours: Tensor,
    camera: Camera,
    height: int,
    width: int,
    *,
    light: Light = LIGHT,
    background: tuple[float, ...] = BACKGROUND,
    texture: Callable[[Tensor], Tensor] | None = None,
    supersample: int = 1,
    smooth: bool = True,
    backend: str | None = None,
) -> Tensor:
    """Pictures of a mesh in motion.

    Args:
        vertices: (N, V, 3) float32 or float64, on the CPU for the backend `cpu`, on any device for the others.
        faces: (F, 3) whole numbers, counter-clockwise seen from outside; back faces are not drawn.
        colours: (V, C) or (N, V, C) albedo in 0..1; C is usually 3 (RGB) or 1 (grey).
        background: C numbers, one per channel.
        texture: maps the interpolated `colours` (N, H, W, C) to the albedo (N, H, W, C'), for detail finer than the
            mesh; `background` then has C' numbers.
        supersample: samples per pixel along x and along y; use 1 for training, 2 for pictures to look at.
        smooth: antialias the silhouettes. Without antialiasing, visibility has no gradient.
        backend: `cpu` (compiled kernels), `torch` (any device), or `pytorch3d` (CPU or CUDA, needs that package; no
            antialiasing); by default `cpu` for vertices on the CPU and `torch` for others.

    Returns:
        (N, height, width, C) in 0..1, row 0 on top.
    """
    faces = checked_faces(vertices, faces, colours)
    if texture is None and len(background) != colours.shape[-1]:
        raise ValueError(f"background: expected {colours.shape[-1]} numbers, one per channel, found {len(background)}")
    if backend is None:
        backend = "cpu" if vertices.device.type == "cpu" else "torch"
    if backend not in ("cpu", "torch", "pytorch3d"):
        raise ValueError(f"backend: expected cpu, torch or pytorch3d, found {backend}")
    if backend == "cpu" and vertices.device.type != "cpu":
        raise BadInput(
            "render",
            expected="vertices on the CPU for the backend cpu",
            found=f"vertices on {vertices.device}",
            fix='Move them with .cpu(), or choose backend="torch".',
        )
    rows, columns = height * supersample, width * supersample
    if backend == "cpu":
        image = _on_cpu(vertices, faces, colours, camera, rows, columns, light, background, texture, smooth)
    elif backend == "torch":
        image = torch_backend.render(
            vertices, faces, colours, camera, rows, columns, light, background, texture, smooth
        )
    else:
        image = pytorch3d_backend.render(vertices, faces, colours, camera, rows, columns, light, background, texture)
    if supersample > 1:
        image = image.unflatten(2, (width, supersample)).unflatten(1, (height, supersample)).mean(dim=(2, 4))
    return image


def _on_cpu(
    vertices: Tensor,
    faces: np.ndarray,
    colours: Tensor,
    camera: Camera,
    height: int,
    width: int,
    light: Light,
    background: tuple[float, ...],
    texture: Callable[[Tensor], Tensor] | None,
    smooth: bool,
) -> Tensor:
    screen = project(camera, vertices, height, width)
    fragments = rasterise(screen, faces, height, width, perspective=camera.perspective)
    at_vertices = torch.cat([vertex_normals(vertices, faces), colours.expand(len(vertices), -1, -1)], dim=-1)
    surface = interpolate(at_vertices, screen, faces, fragments.pix_to_face, perspective=camera.perspective)
    if texture is not None:
        surface = torch.cat([surface[..., :3], texture(surface[..., 3:])], dim=-1)
    image = shade(surface, fragments.pix_to_face >= 0, light, background, axes(camera))
    return antialias(image, screen, faces, fragments) if smooth else image


def checked_faces(vertices: Tensor, faces: np.ndarray, colours: Tensor) -> np.ndarray:
    if vertices.ndim != 3 or vertices.shape[-1] != 3 or vertices.dtype not in (torch.float32, torch.float64):
        found = f"{vertices.dtype} {tuple(vertices.shape)}"
        raise ValueError(f"vertices: expected (frames, vertices, 3) float32 or float64, found {found}")
    expected = [(vertices.shape[1],), tuple(vertices.shape[:2])]
    if colours.shape[:-1] not in expected:
        raise ValueError(f"colours: expected (V, C) or (N, V, C) for {expected[1]}, found {tuple(colours.shape)}")
    if colours.dtype != vertices.dtype or colours.device != vertices.device:
        raise ValueError(
            f"colours: expected {vertices.dtype} on {vertices.device}, found {colours.dtype} on {colours.device}"
        )
    faces = np.asarray(faces)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise ValueError(f"faces: expected (F, 3) whole numbers, found {faces.dtype} {faces.shape}")
    if faces.size and (faces.min() < 0 or faces.max() >= vertices.shape[1]):
        raise ValueError(
            f"faces: expected vertex numbers 0 … {vertices.shape[1] - 1}, found {faces.min()} … {faces.max()}"
        )
    return np.ascontiguousarray(faces, np.int32)
