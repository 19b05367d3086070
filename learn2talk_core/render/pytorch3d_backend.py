"""The renderer based on pytorch3d, for CUDA and as an independent check.

It uses the same camera, conventions and formulas as the CPU backend without antialiasing, on any device: pytorch3d
rasterises and interpolates, the shading is plain torch. Install https://github.com/facebookresearch/pytorch3d by its
own instructions; nothing else in this project needs it.
"""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.render.camera import Camera, axes, project
from learn2talk_core.render.shading import Light
from learn2talk_core.render.torch_backend import lambert_blinn, smooth_normals
from learn2talk_core.run.errors import BadInput


def render(
    vertices: Tensor,
    faces: np.ndarray,
    colours: Tensor,
    camera: Camera,
    height: int,
    width: int,
    light: Light,
    background: tuple[float, ...],
    texture: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """The same as `learn2talk_core.render.render.render`, without antialiasing."""
    pytorch3d = _pytorch3d()
    triangles = torch.as_tensor(faces, dtype=torch.int64, device=vertices.device)
    screen = to_ndc(project(camera, vertices, height, width), height, width)
    pix_to_face, _, barycentrics, _ = pytorch3d.rasterize_meshes(
        pytorch3d.Meshes(verts=screen, faces=triangles.expand(len(vertices), -1, -1)),
        image_size=(height, width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=camera.perspective,
        clip_barycentric_coords=False,
        cull_backfaces=True,
    )
    at_vertices = torch.cat([smooth_normals(vertices, triangles), colours.expand(len(vertices), -1, -1)], dim=-1)
    at_corners = at_vertices[:, triangles].flatten(0, 1)  # (N F, 3, K), numbered as pytorch3d packs a batch
    surface = pytorch3d.interpolate_face_attributes(pix_to_face, barycentrics, at_corners)[..., 0, :]
    albedo = surface[..., 3:] if texture is None else texture(surface[..., 3:])
    covered = pix_to_face >= 0  # (N, H, W, 1)
    return torch.where(
        covered, lambert_blinn(surface[..., :3], albedo, light, axes(camera)), vertices.new_tensor(background)
    )


def to_ndc(screen: Tensor, height: int, width: int) -> Tensor:
    """Pixels → pytorch3d's screen: x left, y up, the shorter side of the image from -1 to 1, depth unchanged."""
    half = min(height, width) / 2
    return torch.stack([(width / 2 - screen[..., 0]) / half, (height / 2 - screen[..., 1]) / half, screen[..., 2]], -1)


def _pytorch3d() -> SimpleNamespace:
    try:
        from pytorch3d.ops import interpolate_face_attributes
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise BadInput(
            "render",
            expected="the package pytorch3d, which the backend pytorch3d needs",
            found=str(error),
            fix='Install it by the instructions of pytorch3d, or choose backend="cpu".',
        ) from error
    return SimpleNamespace(
        Meshes=Meshes, rasterize_meshes=rasterize_meshes, interpolate_face_attributes=interpolate_face_attributes
    )
