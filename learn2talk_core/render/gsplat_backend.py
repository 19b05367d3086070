"""The splat renderer based on gsplat (Apache-2.0), for CUDA. Install it by its own instructions; nothing else needs it.

gsplat ends a splat where its 3 σ box ends, rounded up to tiles, not at 3 σ: at the rims the pictures differ by up to
1 % of a splat's colour.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.render.pinhole import Pinhole
from learn2talk_core.run.errors import BadInput


def draw_with_gsplat(
    position: Tensor,
    scale: Tensor,
    rotation: Tensor,
    opacity: Tensor,
    colour: Tensor,
    view: Pinhole,
    background: tuple[float, float, float],
    shift: Tensor | None,
    near: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `splats.draw_splats`; tensors on a CUDA device."""
    rasterization = _gsplat()
    _demand_cuda(position)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = view.rotation, view.translation
    (fx, fy), (cx, cy) = view.focal, view.centre
    numbers = matrix, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], [background]
    pose, lens, behind = (torch.from_numpy(np.array(some, np.float64)).to(position) for some in numbers)
    if shift is not None:  # gsplat has no such input; a shift by pixels is one of the centres across the view
        depth = position @ pose[2, :3] + pose[2, 3]
        across = torch.stack([shift[:, 0] / fx, shift[:, 1] / fy], dim=1) * depth[:, None]
        position = position + across @ pose[:2, :3]
    image, alpha, about = rasterization(
        position, rotation, scale, opacity, colour, pose[None], lens[None], view.width, view.height,
        near_plane=near, backgrounds=behind, packed=False,
    )  # fmt: skip
    visible = (about["radii"][0].reshape(len(position), -1) > 0).all(dim=1)
    return image[0], 1 - alpha[0, ..., 0].detach(), visible


def _demand_cuda(position: Tensor) -> None:
    if position.device.type != "cuda":
        fix = 'Move the avatar to a CUDA device, or choose backend="cpu".'
        raise BadInput("splats", expected="tensors on a CUDA device for gsplat", found=str(position.device), fix=fix)


def _gsplat() -> Any:
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise BadInput(
            "splats",
            expected="the package gsplat, which the backend gsplat needs",
            found=str(error),
            fix='Install it by the instructions of gsplat, or choose backend="cpu".',
        ) from error
    return rasterization
