"""Which triangle each pixel centre sees, and where in it: a z-buffer with differentiable barycentrics.

It is divided like pytorch3d's `rasterize_meshes` and `interpolate_face_attributes` with blur radius 0 and one face per
pixel. Visibility is piecewise constant; `antialias` provides its derivative.

With screen corners x_i, y_i of depth z_i and a pixel centre p, e_i is twice the signed area of the triangle of p and
the two other corners. The barycentrics are

    b_i = u_i / (u_0 + u_1 + u_2),   u_i = e_i / z_i   (perspective-correct)   or   u_i = e_i   (affine)
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from learn2talk_core.run.over_frames import kernel, over_frames

NEAR = 1e-6  # triangles with a corner at this depth or nearer are not drawn (there is no clipping)
SMALLEST_AREA = 1e-12  # twice the area in square pixels


class Fragments(NamedTuple):
    """What is visible at each pixel centre.

    Attributes:
        pix_to_face: (N, H, W) int32 number of the triangle, -1 where there is none.
        barycentrics: (N, H, W, 3) weights of its corners, 0 where there is none. Differentiable in `screen`.
        depth: (N, H, W) depth of the surface, infinite where there is none. Not differentiable.
    """

    pix_to_face: Tensor
    barycentrics: Tensor
    depth: Tensor


def rasterise(
    screen: Tensor, faces: np.ndarray, height: int, width: int, *, perspective: bool = True, cull: bool = True
) -> Fragments:
    """Find the nearest triangle at each pixel centre.

    Args:
        screen: (N, V, 3) pixel x, pixel y (down) and depth, float32 or float64.
        faces: (F, 3) int32.
        perspective: perspective-correct barycentrics; False for affine ones.
        cull: skip back faces (clockwise in the image).
    """
    return Fragments(*_Rasterise.apply(screen, faces, height, width, perspective, cull))


def interpolate(attributes: Tensor, faces: np.ndarray, fragments: Fragments) -> Tensor:
    """Values at the vertices (N, V, K) → values at the pixels (N, H, W, K), 0 where there is no triangle."""
    return _Interpolate.apply(attributes, fragments.barycentrics, fragments.pix_to_face, faces)


class _Rasterise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, screen: Tensor, faces: np.ndarray, height: int, width: int, perspective: bool, cull: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        frames = len(screen)
        pix_to_face = torch.full((frames, height, width), -1, dtype=torch.int32)
        barycentrics = screen.new_zeros(frames, height, width, 3)
        depth = torch.full((frames, height, width), float("inf"), dtype=screen.dtype)
        outputs = (pix_to_face.numpy(), barycentrics.numpy(), depth.numpy())
        over_frames(_rasterise, frames, array(screen), faces, perspective, cull, *outputs)
        ctx.save_for_backward(screen, pix_to_face)
        ctx.faces, ctx.perspective = faces, perspective
        ctx.mark_non_differentiable(pix_to_face, depth)
        return pix_to_face, barycentrics, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        screen, pix_to_face = ctx.saved_tensors
        result = torch.zeros_like(screen, memory_format=torch.contiguous_format)
        arrays = (array(gradients[1]), array(screen), ctx.faces, ctx.perspective, pix_to_face.numpy(), result.numpy())
        over_frames(_rasterise_backward, len(screen), *arrays)
        return result, None, None, None, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attributes: Tensor, barycentrics: Tensor, pix_to_face: Tensor, faces: np.ndarray) -> Tensor:
        values = attributes.new_zeros(*pix_to_face.shape, attributes.shape[-1])
        inputs = (array(attributes), array(barycentrics), array(pix_to_face), faces)
        over_frames(_interpolate, len(values), *inputs, values.numpy())
        ctx.save_for_backward(attributes, barycentrics, pix_to_face)
        ctx.faces = faces
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        attributes, barycentrics, pix_to_face = ctx.saved_tensors
        to_attributes = torch.zeros_like(attributes, memory_format=torch.contiguous_format)
        to_barycentrics = torch.zeros_like(barycentrics, memory_format=torch.contiguous_format)
        inputs = (array(gradients[0]), array(attributes), array(barycentrics), array(pix_to_face), ctx.faces)
        over_frames(_interpolate_backward, len(attributes), *inputs, to_attributes.numpy(), to_barycentrics.numpy())
        return to_attributes, to_barycentrics, None, None


def array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as a contiguous array."""
    return tensor.detach().contiguous().numpy()


# The arithmetic below is in double precision whatever the type of the arrays: in scalar code it costs nothing, and e_i
# of an edge is then exactly the negative of e_i in the neighbouring triangle, so that no pixel between them is missed.


@kernel
def _rasterise(first, last, screen, faces, perspective, cull, pix_to_face, barycentrics, depth):  # type: ignore[no-untyped-def]
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        for face in range(len(faces)):
            i0, i1, i2 = faces[face, 0], faces[face, 1], faces[face, 2]
            z0, z1, z2 = np.float64(screen[n, i0, 2]), np.float64(screen[n, i1, 2]), np.float64(screen[n, i2, 2])
            if not (z0 > NEAR and z1 > NEAR and z2 > NEAR):
                continue
            x0, y0 = np.float64(screen[n, i0, 0]), np.float64(screen[n, i0, 1])
            x1, y1 = np.float64(screen[n, i1, 0]), np.float64(screen[n, i1, 1])
            x2, y2 = np.float64(screen[n, i2, 0]), np.float64(screen[n, i2, 1])
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)  # negative if counter-clockwise, because y points down
            if not (area < -SMALLEST_AREA or (area > SMALLEST_AREA and not cull)):
                continue
            per_area, per_z0, per_z1, per_z2 = 1 / area, 1 / z0, 1 / z1, 1 / z2
            left = int(np.ceil(max(min(x0, x1, x2), 0.0) - 0.5))
            right = int(np.floor(min(max(x0, x1, x2), np.float64(width)) - 0.5))
            top = int(np.ceil(max(min(y0, y1, y2), 0.0) - 0.5))
            bottom = int(np.floor(min(max(y0, y1, y2), np.float64(height)) - 0.5))
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    x, y = column + 0.5, row + 0.5
                    u0 = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) * per_area
                    u1 = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) * per_area
                    u2 = ((x0 - x) * (y1 - y) - (x1 - x) * (y0 - y)) * per_area
                    if min(u0, u1, u2) < 0:
                        continue
                    if perspective:
                        u0, u1, u2 = u0 * per_z0, u1 * per_z1, u2 * per_z2
                    per_total = 1 / (u0 + u1 + u2)
                    z = per_total if perspective else u0 * z0 + u1 * z1 + u2 * z2
                    if z < depth[n, row, column]:
                        depth[n, row, column] = z
                        pix_to_face[n, row, column] = face
                        barycentrics[n, row, column, 0] = u0 * per_total
                        barycentrics[n, row, column, 1] = u1 * per_total
                        barycentrics[n, row, column, 2] = u2 * per_total


@kernel
def _rasterise_backward(first, last, gradient, screen, faces, perspective, pix_to_face, result):  # type: ignore[no-untyped-def]
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        for row in range(height):
            for column in range(width):
                face = pix_to_face[n, row, column]
                if face < 0:
                    continue
                i0, i1, i2 = faces[face, 0], faces[face, 1], faces[face, 2]
                x0, y0 = screen[n, i0, 0] - (column + 0.5), screen[n, i0, 1] - (row + 0.5)
                x1, y1 = screen[n, i1, 0] - (column + 0.5), screen[n, i1, 1] - (row + 0.5)
                x2, y2 = screen[n, i2, 0] - (column + 0.5), screen[n, i2, 1] - (row + 0.5)
                u0, u1, u2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
                z0, z1, z2 = 1.0, 1.0, 1.0
                if perspective:
                    z0, z1, z2 = (
                        np.float64(screen[n, i0, 2]),
                        np.float64(screen[n, i1, 2]),
                        np.float64(screen[n, i2, 2]),
                    )
                    u0, u1, u2 = u0 / z0, u1 / z1, u2 / z2
                total = u0 + u1 + u2
                # through b_i = u_i / total: dL/du_i = (dL/db_i - Σ_j b_j dL/db_j) / total
                g0, g1, g2 = gradient[n, row, column, 0], gradient[n, row, column, 1], gradient[n, row, column, 2]
                mean = (u0 * g0 + u1 * g1 + u2 * g2) / total
                g0, g1, g2 = (g0 - mean) / (total * z0), (g1 - mean) / (total * z1), (g2 - mean) / (total * z2)
                if perspective:  # through u_i = e_i / z_i
                    result[n, i0, 2] -= g0 * u0
                    result[n, i1, 2] -= g1 * u1
                    result[n, i2, 2] -= g2 * u2
                result[n, i0, 0] += g2 * y1 - g1 * y2
                result[n, i0, 1] += g1 * x2 - g2 * x1
                result[n, i1, 0] += g0 * y2 - g2 * y0
                result[n, i1, 1] += g2 * x0 - g0 * x2
                result[n, i2, 0] += g1 * y0 - g0 * y1
                result[n, i2, 1] += g0 * x1 - g1 * x0


@kernel
def _interpolate(first, last, attributes, barycentrics, pix_to_face, faces, values):  # type: ignore[no-untyped-def]
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        for row in range(height):
            for column in range(width):
                face = pix_to_face[n, row, column]
                if face < 0:
                    continue
                i0, i1, i2 = faces[face, 0], faces[face, 1], faces[face, 2]
                b0 = barycentrics[n, row, column, 0]
                b1 = barycentrics[n, row, column, 1]
                b2 = barycentrics[n, row, column, 2]
                for k in range(attributes.shape[2]):
                    values[n, row, column, k] = (
                        b0 * attributes[n, i0, k] + b1 * attributes[n, i1, k] + b2 * attributes[n, i2, k]
                    )


@kernel
def _interpolate_backward(  # type: ignore[no-untyped-def]
    first, last, gradient, attributes, barycentrics, pix_to_face, faces, to_attributes, to_barycentrics
):
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        for row in range(height):
            for column in range(width):
                face = pix_to_face[n, row, column]
                if face < 0:
                    continue
                i0, i1, i2 = faces[face, 0], faces[face, 1], faces[face, 2]
                b0 = barycentrics[n, row, column, 0]
                b1 = barycentrics[n, row, column, 1]
                b2 = barycentrics[n, row, column, 2]
                g0, g1, g2 = 0.0, 0.0, 0.0
                for k in range(attributes.shape[2]):
                    g = gradient[n, row, column, k]
                    g0 += g * attributes[n, i0, k]
                    g1 += g * attributes[n, i1, k]
                    g2 += g * attributes[n, i2, k]
                    to_attributes[n, i0, k] += b0 * g
                    to_attributes[n, i1, k] += b1 * g
                    to_attributes[n, i2, k] += b2 * g
                to_barycentrics[n, row, column, 0] = g0
                to_barycentrics[n, row, column, 1] = g1
                to_barycentrics[n, row, column, 2] = g2
