"""Silhouette antialiasing: makes the image a continuous function of the positions of the silhouettes.

After §3 "Antialiasing" of Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering". Where
two neighbouring pixel centres see different triangles, we look for the silhouette edge of the nearer surface that
crosses the segment between the centres, at a fraction `alpha` of a pixel from the centre that sees this surface. If the
edge is treated as a straight cut between the two centres, the nearer surface covers alpha - ½ of the farther pixel (if
alpha > ½), or leaves ½ - alpha of its own pixel to the other surface; the two colours are blended by that share. Hence
d image / d alpha is the difference of the colours, and alpha depends on the two vertices of the edge.

There are two differences from the paper. The paper examines only the edges of the visible triangle; our triangles are
often smaller than a pixel, so we walk over the surface, from triangle to triangle, until it ends or the other centre is
passed. And rows and columns are blended one after the other, each only across edges that make more than 45° with it: no
edge counts twice, and every result is a mean of input colours.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from learn2talk_core.render.rasterise import Fragments, array
from learn2talk_core.run.over_frames import kernel, over_frames

LONGEST_WALK = 16  # triangles; a longer walk would need slivers of 1/16 pixel


def antialias(image: Tensor, screen: Tensor, faces: np.ndarray, fragments: Fragments) -> Tensor:
    """Blend the colours across silhouettes.

    Args:
        image: (N, H, W, C), the colours at the pixel centres.
        screen: (N, V, 3) pixel x, pixel y, depth, as given to `rasterise`.
        faces: (F, 3) int32.
        fragments: the result of `rasterise`.
    """
    neighbours = neighbouring_faces(faces)
    for axis in (0, 1):
        image = _Antialias.apply(image, screen, faces, neighbours, fragments.pix_to_face, fragments.depth, axis)
    return image


def neighbouring_faces(faces: np.ndarray) -> np.ndarray:
    """(F, 3) int32: the triangle on the other side of the edge from corner k to corner k + 1, -1 at a border."""
    edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2).astype(np.int64)
    stride = int(edges.max(initial=0)) + 1
    forwards, backwards = edges @ [stride, 1], edges @ [1, stride]
    order = np.argsort(forwards, kind="stable")
    place = np.minimum(np.searchsorted(forwards, backwards, sorter=order), max(len(edges) - 1, 0))
    found = order[place] if len(edges) else order
    return np.where(forwards[found] == backwards, found // 3, -1).astype(np.int32).reshape(-1, 3)


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        screen: Tensor,
        faces: np.ndarray,
        neighbours: np.ndarray,
        pix_to_face: Tensor,
        depth: Tensor,
        axis: int,
    ) -> Tensor:
        result = image.detach().clone(memory_format=torch.contiguous_format)
        inputs = (array(image), array(screen), faces, neighbours, array(pix_to_face), array(depth), axis)
        over_frames(blend_edges, len(image), *inputs, result.numpy())
        ctx.save_for_backward(image, screen, pix_to_face, depth)
        ctx.faces, ctx.neighbours, ctx.axis = faces, neighbours, axis
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, screen, pix_to_face, depth = ctx.saved_tensors
        to_image = gradients[0].clone(memory_format=torch.contiguous_format)
        to_screen = torch.zeros_like(screen, memory_format=torch.contiguous_format)
        inputs = (array(image), array(screen), ctx.faces, ctx.neighbours, array(pix_to_face), array(depth), ctx.axis)
        over_frames(_antialias_backward, len(image), array(gradients[0]), *inputs, to_image.numpy(), to_screen.numpy())
        return to_image, to_screen, None, None, None, None, None


@kernel
def _facing(screen, faces):  # type: ignore[no-untyped-def]
    """(F,) bool: True for triangles that face the camera."""
    result = np.empty(len(faces), np.bool_)
    for face in range(len(faces)):
        i0, i1, i2 = faces[face, 0], faces[face, 1], faces[face, 2]
        x0, y0 = np.float64(screen[i0, 0]), np.float64(screen[i0, 1])
        x1, y1 = np.float64(screen[i1, 0]), np.float64(screen[i1, 1])
        x2, y2 = np.float64(screen[i2, 0]), np.float64(screen[i2, 1])
        result[face] = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) < 0
    return result


@kernel
def _candidates(screen, faces, neighbours, facing, depth, axis):  # type: ignore[no-untyped-def]
    """(H, W) True if a silhouette passes between this pixel centre and the next along `axis`, and not behind both.

    A walk can end only there, so this test avoids most walks.
    """
    result = np.zeros(depth.shape, np.bool_)
    lines, pixels = (depth.shape[1], depth.shape[0]) if axis else depth.shape
    for face in range(len(faces)):
        for k in range(3):
            neighbour = neighbours[face, k]
            if neighbour >= 0 and facing[neighbour] == facing[face]:
                continue
            a, b = faces[face, k], faces[face, k + 1 if k < 2 else 0]
            line_a, line_b = np.float64(screen[a, 1 - axis]), np.float64(screen[b, 1 - axis])
            nearest = min(screen[a, 2], screen[b, 2])
            first = int(np.ceil(max(min(line_a, line_b), 0.0) - 0.5))
            last = int(np.floor(min(max(line_a, line_b), np.float64(lines)) - 0.5))
            for line in range(first, last + 1):
                t = (line + 0.5 - line_a) / (line_b - line_a)
                along = screen[a, axis] + t * (np.float64(screen[b, axis]) - screen[a, axis])
                if 0.5 <= along < pixels - 0.5:
                    row, column = (int(along - 0.5), line) if axis else (line, int(along - 0.5))
                    if nearest <= max(depth[row, column], depth[row + axis, column + 1 - axis]):
                        result[row, column] = True
    return result


@kernel
def _silhouette(screen, faces, neighbours, facing, face, goal, axis, start, line, direction):  # type: ignore[no-untyped-def]
    """Walk one pixel over the surface, from the centre at `start` in triangle `face`, in `direction` along `axis`.

    `line` is the centre's coordinate on the other axis. Returns where the surface ends: alpha in 0..1 (or -1 if it does
    not end), the vertices a and b of the edge, and the position of the crossing between them (0 at a, 1 at b).
    """
    for _ in range(LONGEST_WALK):
        alpha, side, share = -np.inf, -1, 0.0
        for k in range(3):
            a, b = faces[face, k], faces[face, k + 1 if k < 2 else 0]
            line_a, line_b = np.float64(screen[a, 1 - axis]), np.float64(screen[b, 1 - axis])
            if (line_a < line) == (line_b < line):
                continue
            t = (line - line_a) / (line_b - line_a)
            along = screen[a, axis] + t * (np.float64(screen[b, axis]) - screen[a, axis])
            if (along - start) * direction > alpha:
                alpha, side, share = (along - start) * direction, k, t
        if side < 0 or alpha > 1:
            break
        neighbour = neighbours[face, side]
        if neighbour < 0 or facing[neighbour] != facing[face]:
            a, b = faces[face, side], faces[face, side + 1 if side < 2 else 0]
            steep = abs(screen[b, 1 - axis] - screen[a, 1 - axis]) >= abs(screen[b, axis] - screen[a, axis])
            return (max(alpha, 0.0) if steep else -1.0), a, b, share
        if neighbour == goal:
            break
        face = neighbour
    return -1.0, 0, 0, 0.0


@kernel
def _crossing(row, column, axis, screen, faces, neighbours, facing, pix_to_face, depth):  # type: ignore[no-untyped-def]
    """The silhouette between this pixel and the next one along `axis`: the result of `_silhouette`, and True if this
    pixel is the nearer of the two."""
    row2, column2 = row + axis, column + 1 - axis
    face, face2 = pix_to_face[row, column], pix_to_face[row2, column2]
    if face == face2:
        return -1.0, 0, 0, 0.0, True
    start, line = (row + 0.5, column + 0.5) if axis else (column + 0.5, row + 0.5)
    this_is_nearer = depth[row, column] <= depth[row2, column2]
    direction = 1.0
    if not this_is_nearer:
        face, face2, start, direction = face2, face, start + 1, -1.0
    alpha, a, b, share = _silhouette(screen, faces, neighbours, facing, face, face2, axis, start, line, direction)
    return alpha, a, b, share, this_is_nearer


@kernel
def blend_edges(first, last, image, screen, faces, neighbours, pix_to_face, depth, axis, result):  # type: ignore[no-untyped-def]
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        frame_screen, seen, frame_depth = screen[n], pix_to_face[n], depth[n]
        facing = _facing(frame_screen, faces)
        candidates = _candidates(frame_screen, faces, neighbours, facing, frame_depth, axis)
        for row in range(height - axis):
            for column in range(width - 1 + axis):
                if not candidates[row, column]:
                    continue
                alpha, _, _, _, this_is_nearer = _crossing(
                    row, column, axis, frame_screen, faces, neighbours, facing, seen, frame_depth
                )
                if alpha < 0:
                    continue
                near, far = (row, column), (row + axis, column + 1 - axis)
                if not this_is_nearer:
                    near, far = far, near
                blended = far if alpha > 0.5 else near
                for k in range(image.shape[3]):
                    step = image[n, near[0], near[1], k] - image[n, far[0], far[1], k]
                    result[n, blended[0], blended[1], k] += (alpha - 0.5) * step


@kernel
def _antialias_backward(  # type: ignore[no-untyped-def]
    first, last, gradient, image, screen, faces, neighbours, pix_to_face, depth, axis, to_image, to_screen
):
    height, width = pix_to_face.shape[1:]
    for n in range(first, last):
        frame_screen, seen, frame_depth = screen[n], pix_to_face[n], depth[n]
        facing = _facing(frame_screen, faces)
        candidates = _candidates(frame_screen, faces, neighbours, facing, frame_depth, axis)
        for row in range(height - axis):
            for column in range(width - 1 + axis):
                if not candidates[row, column]:
                    continue
                alpha, a, b, share, this_is_nearer = _crossing(
                    row, column, axis, frame_screen, faces, neighbours, facing, seen, frame_depth
                )
                if alpha < 0:
                    continue
                near, far = (row, column), (row + axis, column + 1 - axis)
                if not this_is_nearer:
                    near, far = far, near
                blended = far if alpha > 0.5 else near
                to_alpha = 0.0
                for k in range(image.shape[3]):
                    g = gradient[n, blended[0], blended[1], k]
                    to_alpha += g * (image[n, near[0], near[1], k] - image[n, far[0], far[1], k])
                    to_image[n, near[0], near[1], k] += (alpha - 0.5) * g
                    to_image[n, far[0], far[1], k] -= (alpha - 0.5) * g
                # alpha = ± ((1 - share) a_along + share b_along - start), share = (line - a_line) / (b_line - a_line)
                if not this_is_nearer:
                    to_alpha = -to_alpha
                slope = (np.float64(screen[n, b, axis]) - screen[n, a, axis]) / (
                    np.float64(screen[n, b, 1 - axis]) - screen[n, a, 1 - axis]
                )
                to_screen[n, a, axis] += to_alpha * (1 - share)
                to_screen[n, b, axis] += to_alpha * share
                to_screen[n, a, 1 - axis] -= to_alpha * (1 - share) * slope
                to_screen[n, b, 1 - axis] -= to_alpha * share * slope
