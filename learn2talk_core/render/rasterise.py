"""Which triangle each pixel centre sees, by a z-buffer, and values at the vertices interpolated there, differentiable.

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
    """What is visible at each pixel centre. Not differentiable.

    Attributes:
        pix_to_face: (N, H, W) int32 number of the triangle, -1 where there is none.
        depth: (N, H, W) depth of the surface, infinite where there is none.
    """

    pix_to_face: Tensor
    depth: Tensor


def rasterise(
    screen: Tensor, faces: np.ndarray, height: int, width: int, *, perspective: bool = True, cull: bool = True
) -> Fragments:
    """Find the nearest triangle at each pixel centre.

    Args:
        screen: (N, V, 3) pixel x, pixel y (down) and depth, float32 or float64.
        faces: (F, 3) int32.
        perspective: depth between the corners as a pinhole camera sees it; False for parallel rays.
        cull: skip back faces (clockwise in the image).
    """
    frames = len(screen)
    pix_to_face = torch.full((frames, height, width), -1, dtype=torch.int32)
    depth = torch.full((frames, height, width), float("inf"), dtype=screen.dtype)
    over_frames(_rasterise, frames, array(screen), faces, perspective, cull, pix_to_face.numpy(), depth.numpy())
    return Fragments(pix_to_face, depth)


def interpolate(
    attributes: Tensor, screen: Tensor, faces: np.ndarray, pix_to_face: Tensor, *, perspective: bool = True
) -> Tensor:
    """Values at the vertices (N, V, K) → values at the pixels (N, H, W, K), 0 where there is no triangle.

    Differentiable in `attributes` and `screen`.

    Args:
        attributes: the values.
        screen, faces: as given to `rasterise`, whose result has `pix_to_face`.
        perspective: perspective-correct barycentrics; False for affine ones.
    """
    return _Interpolate.apply(attributes, screen, pix_to_face, faces, perspective)


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, attributes: Tensor, screen: Tensor, pix_to_face: Tensor, faces: np.ndarray, perspective: bool
    ) -> Tensor:
        values = attributes.new_empty(*pix_to_face.shape, attributes.shape[-1])
        inputs = (array(attributes), array(screen), array(pix_to_face), faces, perspective)
        over_frames(_interpolate, len(values), *inputs, values.numpy())
        ctx.save_for_backward(attributes, screen, pix_to_face)
        ctx.faces, ctx.perspective = faces, perspective
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        attributes, screen, pix_to_face = ctx.saved_tensors
        to_attributes = torch.zeros_like(attributes, memory_format=torch.contiguous_format)
        to_screen = torch.zeros_like(screen, memory_format=torch.contiguous_format)
        inputs = (array(gradients[0]), array(attributes), array(screen), array(pix_to_face), ctx.faces, ctx.perspective)
        over_frames(_interpolate_backward, len(attributes), *inputs, to_attributes.numpy(), to_screen.numpy())
        return to_attributes, to_screen, None, None, None


def array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as a contiguous array."""
    return tensor.detach().contiguous().numpy()


# The arithmetic below is in double precision whatever the type of the arrays: in scalar code it costs nothing. Numbers
# of vertices are unsigned, because Numba tests signed ones for negative places.


@kernel
def corners(faces, face):  # type: ignore[no-untyped-def]
    return np.uint32(faces[face, 0]), np.uint32(faces[face, 1]), np.uint32(faces[face, 2])


@kernel
def _point(screen, i):  # type: ignore[no-untyped-def]
    return np.float64(screen[i, 0]), np.float64(screen[i, 1]), np.float64(screen[i, 2])


@kernel
def _rasterise(first, last, screen, faces, perspective, cull, pix_to_face, depth):  # type: ignore[no-untyped-def]
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        frame = screen[n]
        for face in range(len(faces)):
            i0, i1, i2 = corners(faces, face)
            x0, y0, z0 = _point(frame, i0)
            x1, y1, z1 = _point(frame, i1)
            x2, y2, z2 = _point(frame, i2)
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)  # negative if counter-clockwise, because y points down
            if not (area < -SMALLEST_AREA or (area > SMALLEST_AREA and not cull)):
                continue
            if not (z0 > NEAR and z1 > NEAR and z2 > NEAR):
                continue
            left = int(np.ceil(max(min(x0, x1, x2), 0.0) - 0.5))
            right = int(np.floor(min(max(x0, x1, x2), np.float64(width)) - 0.5))
            top = int(np.ceil(max(min(y0, y1, y2), 0.0) - 0.5))
            bottom = int(np.floor(min(max(y0, y1, y2), np.float64(height)) - 0.5))
            if left > right or top > bottom:
                continue
            # 1 / depth, or depth with parallel rays, is affine in x and y
            w0, w1, w2 = (1 / z0, 1 / z1, 1 / z2) if perspective else (z0, z1, z2)
            wx = ((w1 - w0) * (y2 - y0) - (w2 - w0) * (y1 - y0)) / area
            wy = ((w2 - w0) * (x1 - x0) - (w1 - w0) * (x2 - x0)) / area
            edges = _edge(x0, y0, x1, y1, area), _edge(x1, y1, x2, y2, area), _edge(x2, y2, x0, y0, area)
            for row in range(top, bottom + 1):
                start, end = left + 0.5, right + 0.5
                for edge_x, edge_y, slope, side in edges:
                    crossing = edge_x + (row + 0.5 - edge_y) * slope
                    if side < 0:
                        start = max(start, crossing)
                    elif side > 0:
                        end = min(end, crossing)
                for column in range(int(np.ceil(start - 0.5)), int(np.floor(end - 0.5)) + 1):
                    w = w0 + (column + 0.5 - x0) * wx + (row + 0.5 - y0) * wy
                    z = 1 / w if perspective else w
                    if z < depth[n, row, column]:
                        depth[n, row, column] = z
                        pix_to_face[n, row, column] = face


@kernel
def _edge(xa, ya, xb, yb, area):  # type: ignore[no-untyped-def]
    """A point of the line through a and b, its slope dx / dy, and on which side it bounds the triangle: left if
    negative, right if positive, none if 0.

    The line does not depend on the order of a and b: two triangles with a common edge find the same crossings, so that
    no pixel is missed between them.
    """
    side = (yb - ya) * area
    if ya > yb:
        xa, ya, xb, yb = xb, yb, xa, ya
    return xa, ya, (xb - xa) / (yb - ya), side


@kernel
def _from_centre(frame, corner, row, column):  # type: ignore[no-untyped-def]
    """A corner's x and y relative to the centre of a pixel, and its z."""
    x, y, z = _point(frame, corner)
    return x - (column + 0.5), y - (row + 0.5), z


@kernel
def _interpolate(first, last, attributes, screen, pix_to_face, faces, perspective, values):  # type: ignore[no-untyped-def]
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        frame = screen[n]
        for row in range(height):
            for column in range(width):
                face = pix_to_face[n, row, column]
                if face < 0:
                    for k in range(attributes.shape[2]):
                        values[n, row, column, k] = 0
                    continue
                i0, i1, i2 = corners(faces, np.uint32(face))
                x0, y0, z0 = _from_centre(frame, i0, row, column)
                x1, y1, z1 = _from_centre(frame, i1, row, column)
                x2, y2, z2 = _from_centre(frame, i2, row, column)
                b0, b1, b2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
                if perspective:
                    b0, b1, b2 = b0 * (z1 * z2), b1 * (z2 * z0), b2 * (z0 * z1)
                per_total = 1 / (b0 + b1 + b2)
                b0, b1, b2 = b0 * per_total, b1 * per_total, b2 * per_total
                for k in range(attributes.shape[2]):
                    values[n, row, column, k] = (
                        b0 * attributes[n, i0, k] + b1 * attributes[n, i1, k] + b2 * attributes[n, i2, k]
                    )


@kernel
def _interpolate_backward(  # type: ignore[no-untyped-def]
    first, last, gradient, attributes, screen, pix_to_face, faces, perspective, to_attributes, to_screen
):
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        frame = screen[n]
        for row in range(height):
            for column in range(width):
                face = pix_to_face[n, row, column]
                if face < 0:
                    continue
                i0, i1, i2 = corners(faces, np.uint32(face))
                x0, y0, z0 = _from_centre(frame, i0, row, column)
                x1, y1, z1 = _from_centre(frame, i1, row, column)
                x2, y2, z2 = _from_centre(frame, i2, row, column)
                if perspective:
                    z0, z1, z2 = 1 / z0, 1 / z1, 1 / z2
                else:
                    z0, z1, z2 = 1.0, 1.0, 1.0
                b0, b1, b2 = (x1 * y2 - x2 * y1) * z0, (x2 * y0 - x0 * y2) * z1, (x0 * y1 - x1 * y0) * z2
                per_total = 1 / (b0 + b1 + b2)
                b0, b1, b2 = b0 * per_total, b1 * per_total, b2 * per_total
                g0, g1, g2 = 0.0, 0.0, 0.0  # dL/db_i
                for k in range(attributes.shape[2]):
                    g = gradient[n, row, column, k]
                    g0 += g * attributes[n, i0, k]
                    g1 += g * attributes[n, i1, k]
                    g2 += g * attributes[n, i2, k]
                    to_attributes[n, i0, k] += b0 * g
                    to_attributes[n, i1, k] += b1 * g
                    to_attributes[n, i2, k] += b2 * g
                # through b_i = u_i / total and u_i = e_i / z_i: dL/de_i = (dL/db_i - Σ_j b_j dL/db_j) / (total z_i)
                mean = b0 * g0 + b1 * g1 + b2 * g2
                g0, g1, g2 = (g0 - mean) * z0, (g1 - mean) * z1, (g2 - mean) * z2
                if perspective:  # dL/dz_i = -b_i (dL/db_i - Σ_j b_j dL/db_j) / z_i
                    to_screen[n, i0, 2] -= g0 * b0
                    to_screen[n, i1, 2] -= g1 * b1
                    to_screen[n, i2, 2] -= g2 * b2
                g0, g1, g2 = g0 * per_total, g1 * per_total, g2 * per_total
                to_screen[n, i0, 0] += g2 * y1 - g1 * y2
                to_screen[n, i0, 1] += g1 * x2 - g2 * x1
                to_screen[n, i1, 0] += g0 * y2 - g2 * y0
                to_screen[n, i1, 1] += g2 * x0 - g0 * x2
                to_screen[n, i2, 0] += g1 * y0 - g0 * y1
                to_screen[n, i2, 1] += g0 * x1 - g1 * x0
