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

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from learn2talk_core.render.rasterise import Fragments, array, corners
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
    edges = torch.full((len(image), 2, *image.shape[1:3]), -1, dtype=torch.int32)
    seen = array(fragments.pix_to_face), array(fragments.depth)
    over_frames(find_edges, len(image), array(screen), faces, neighbouring_faces(faces), *seen, edges.numpy())
    for axis in (0, 1):
        image = _Blend.apply(image, screen, edges, fragments.depth, faces, axis)
    return image


def neighbouring_faces(faces: np.ndarray) -> np.ndarray:
    """(F, 3) int32: the triangle on the other side of the edge from corner k to corner k + 1, -1 at a border."""
    return _neighbouring_faces(faces.astype(np.int32).tobytes())


@lru_cache(maxsize=16)  # the same few meshes are rendered again and again, and the search takes as long as two frames
def _neighbouring_faces(corners_of_faces: bytes) -> np.ndarray:
    faces = np.frombuffer(corners_of_faces, np.int32).reshape(-1, 3)
    edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2).astype(np.int64)
    stride = int(edges.max(initial=0)) + 1
    forwards, backwards = edges @ [stride, 1], edges @ [1, stride]
    order = np.argsort(forwards, kind="stable")
    place = np.minimum(np.searchsorted(forwards, backwards, sorter=order), max(len(edges) - 1, 0))
    found = order[place] if len(edges) else order
    return np.where(forwards[found] == backwards, found // 3, -1).astype(np.int32).reshape(-1, 3)


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, screen: Tensor, edges: Tensor, depth: Tensor, faces: np.ndarray, axis: int
    ) -> Tensor:
        result = image.detach().clone(memory_format=torch.contiguous_format)
        inputs = (array(image), array(screen), array(edges), array(depth), faces, axis)
        over_frames(blend_edges, len(image), *inputs, result.numpy())
        ctx.save_for_backward(image, screen, edges, depth)
        ctx.faces, ctx.axis = faces, axis
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, screen, edges, depth = ctx.saved_tensors
        to_image = gradients[0].clone(memory_format=torch.contiguous_format)
        to_screen = torch.zeros_like(screen, memory_format=torch.contiguous_format)
        inputs = (array(image), array(screen), array(edges), array(depth), ctx.faces, ctx.axis)
        over_frames(_blend_backward, len(image), array(gradients[0]), *inputs, to_image.numpy(), to_screen.numpy())
        return to_image, to_screen, None, None, None, None


@kernel
def find_edges(first, last, screen, faces, neighbours, pix_to_face, depth, edges):  # type: ignore[no-untyped-def]
    """The silhouette between each pixel centre and the next along an axis: `edges` (N, 2, H, W), filled with -1, gets
    three times the number of its triangle, plus k if it goes from corner k to corner k + 1."""
    facing, silhouettes = np.empty(len(faces), np.bool_), np.empty(3 * len(faces), np.int32)
    for n in range(first, last):
        _find_facing(screen[n], faces, facing)
        count = _find_silhouettes(neighbours, facing, silhouettes)
        for axis in (0, 1):
            _find_edges_along(
                axis,
                screen[n],
                faces,
                neighbours,
                facing,
                silhouettes[:count],
                pix_to_face[n],
                depth[n],
                edges[n, axis],
            )


@kernel
def _find_facing(screen, faces, facing):  # type: ignore[no-untyped-def]
    """`facing` (F,) bool: True for triangles that face the camera."""
    for face in range(len(faces)):
        i0, i1, i2 = corners(faces, face)
        x0, y0 = np.float64(screen[i0, 0]), np.float64(screen[i0, 1])
        x1, y1 = np.float64(screen[i1, 0]), np.float64(screen[i1, 1])
        x2, y2 = np.float64(screen[i2, 0]), np.float64(screen[i2, 1])
        facing[face] = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) < 0


@kernel
def _find_silhouettes(neighbours, facing, silhouettes):  # type: ignore[no-untyped-def]
    """The edges where the surface ends or turns away, as in `find_edges`; each once. Returns their number."""
    count = 0
    for face in range(len(neighbours)):
        for k in range(3):
            neighbour = neighbours[face, k]
            if neighbour < 0 or (neighbour > face and facing[np.uint32(neighbour)] != facing[face]):
                silhouettes[count] = 3 * face + k
                count += 1
    return count


@kernel
def _ends(faces, edge):  # type: ignore[no-untyped-def]
    """The two vertices of an edge that is numbered as in `find_edges`."""
    face, k = np.uint32(edge) // np.uint32(3), np.uint32(edge) % np.uint32(3)
    return np.uint32(faces[face, k]), np.uint32(faces[face, k + 1 if k < 2 else 0])


@kernel
def _find_edges_along(axis, screen, faces, neighbours, facing, silhouettes, pix_to_face, depth, edges):  # type: ignore[no-untyped-def]
    """`find_edges` in one frame and along one axis.

    A walk can end only where a silhouette passes between this pixel centre and the next, and not behind both; to start
    only there avoids most walks.
    """
    lines, pixels = (depth.shape[1], depth.shape[0]) if axis else depth.shape
    for edge in silhouettes:
        a, b = _ends(faces, edge)
        line_a, line_b = np.float64(screen[a, 1 - axis]), np.float64(screen[b, 1 - axis])
        nearest = min(screen[a, 2], screen[b, 2])
        first = int(np.ceil(max(min(line_a, line_b), 0.0) - 0.5))
        last = int(np.floor(min(max(line_a, line_b), np.float64(lines)) - 0.5))
        for line in range(first, last + 1):
            t = (line + 0.5 - line_a) / (line_b - line_a)
            along = screen[a, axis] + t * (np.float64(screen[b, axis]) - screen[a, axis])
            if not 0.5 <= along < pixels - 0.5:
                continue
            row, column = (int(along - 0.5), line) if axis else (line, int(along - 0.5))
            row2, column2 = row + axis, column + 1 - axis
            face, face2 = pix_to_face[row, column], pix_to_face[row2, column2]
            if face == face2 or edges[row, column] >= 0 or nearest > max(depth[row, column], depth[row2, column2]):
                continue
            start, direction = (row if axis else column) + 0.5, 1.0
            if not depth[row, column] <= depth[row2, column2]:
                face, face2, start, direction = face2, face, start + 1, -1.0
            edges[row, column] = _silhouette(
                screen, faces, neighbours, facing, face, face2, axis, start, line + 0.5, direction
            )


@kernel
def _silhouette(screen, faces, neighbours, facing, face, goal, axis, start, line, direction):  # type: ignore[no-untyped-def]
    """Walk one pixel over the surface, from the centre at `start` in triangle `face`, in `direction` along `axis`.

    `line` is the centre's coordinate on the other axis. Returns the edge where the surface ends, -1 if it does not.
    """
    for _ in range(LONGEST_WALK):
        alpha, side = -np.inf, -1
        for k in range(3):
            a, b = faces[face, k], faces[face, k + 1 if k < 2 else 0]
            line_a, line_b = np.float64(screen[a, 1 - axis]), np.float64(screen[b, 1 - axis])
            if (line_a < line) == (line_b < line):
                continue
            t = (line - line_a) / (line_b - line_a)
            along = screen[a, axis] + t * (np.float64(screen[b, axis]) - screen[a, axis])
            if (along - start) * direction > alpha:
                alpha, side = (along - start) * direction, k
        if side < 0 or alpha > 1:
            break
        neighbour = neighbours[face, side]
        if neighbour < 0 or facing[neighbour] != facing[face]:
            a, b = faces[face, side], faces[face, side + 1 if side < 2 else 0]
            steep = abs(screen[b, 1 - axis] - screen[a, 1 - axis]) >= abs(screen[b, axis] - screen[a, axis])
            return 3 * face + side if steep else -1
        if neighbour == goal:
            break
        face = neighbour
    return -1


@kernel
def _crossing(row, column, axis, screen, faces, edge, depth):  # type: ignore[no-untyped-def]
    """Where `edge` crosses the segment from this pixel centre to the next one along `axis`.

    Returns alpha in 0..1, the vertices a and b of the edge, the position of the crossing between them (0 at a, 1 at b),
    and True if this pixel is the nearer of the two.
    """
    a, b = _ends(faces, edge)
    start, line = (row + 0.5, column + 0.5) if axis else (column + 0.5, row + 0.5)
    this_is_nearer = depth[row, column] <= depth[row + axis, column + 1 - axis]
    line_a, line_b = np.float64(screen[a, 1 - axis]), np.float64(screen[b, 1 - axis])
    share = (line - line_a) / (line_b - line_a)
    along = screen[a, axis] + share * (np.float64(screen[b, axis]) - screen[a, axis])
    alpha = along - start if this_is_nearer else start + 1 - along
    return max(alpha, 0.0), a, b, share, this_is_nearer


@kernel
def blend_edges(first, last, image, screen, edges, depth, faces, axis, result):  # type: ignore[no-untyped-def]
    """Blend along one axis across the silhouettes that `find_edges` found; `result` is a copy of the image."""
    height, width = depth.shape[1:]
    for n in range(first, last):
        frame, frame_depth = screen[n], depth[n]
        for row in range(height):
            for column in range(width):
                edge = edges[n, axis, row, column]
                if edge < 0:
                    continue
                alpha, _, _, _, this_is_nearer = _crossing(row, column, axis, frame, faces, edge, frame_depth)
                near, far = (row, column), (row + axis, column + 1 - axis)
                if not this_is_nearer:
                    near, far = far, near
                blended = far if alpha > 0.5 else near
                for k in range(image.shape[3]):
                    step = image[n, near[0], near[1], k] - image[n, far[0], far[1], k]
                    result[n, blended[0], blended[1], k] += (alpha - 0.5) * step


@kernel
def _blend_backward(  # type: ignore[no-untyped-def]
    first, last, gradient, image, screen, edges, depth, faces, axis, to_image, to_screen
):
    height, width = depth.shape[1:]
    for n in range(first, last):
        frame, frame_depth = screen[n], depth[n]
        for row in range(height):
            for column in range(width):
                edge = edges[n, axis, row, column]
                if edge < 0:
                    continue
                alpha, a, b, share, this_is_nearer = _crossing(row, column, axis, frame, faces, edge, frame_depth)
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
                slope = (np.float64(frame[b, axis]) - frame[a, axis]) / (
                    np.float64(frame[b, 1 - axis]) - frame[a, 1 - axis]
                )
                to_screen[n, a, axis] += to_alpha * (1 - share)
                to_screen[n, b, axis] += to_alpha * share
                to_screen[n, a, 1 - axis] -= to_alpha * (1 - share) * slope
                to_screen[n, b, 1 - axis] -= to_alpha * share * slope
