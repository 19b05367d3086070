"""The renderer in plain torch, for vertices on any device: same picture and same gradients as the CPU's kernels.

Every pixel tests every triangle, and every walk of `antialias` takes its longest number of steps, so that nothing waits
for the device. On CUDA both searches are compiled by torch into single kernels which keep nothing per pixel and
triangle in memory. The searches find numbers of triangles and vertices; what has a gradient is computed from these.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.render.antialias import LONGEST_WALK, neighbouring_faces
from learn2talk_core.render.camera import Camera, axes, project
from learn2talk_core.render.rasterise import NEAR, SMALLEST_AREA
from learn2talk_core.render.shading import Light
from learn2talk_core.run.device import sent
from learn2talk_core.run.progress import log

ANY_TRIANGLE = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 0.0, 1.0))
MOST_TESTS = 1 << 24  # of pixels against triangles at a time where they are kept in memory: 128 MB for each term


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
    smooth: bool,
) -> Tensor:
    """The same as `learn2talk_core.render.render.render`."""
    device = vertices.device
    triangles = sent(torch.as_tensor(faces, dtype=torch.int64), device)
    screen = project(camera, vertices, height, width)
    pix_to_face, depth = visible_faces(screen, triangles, height, width, camera.perspective)
    barycentrics = barycentrics_of(screen, triangles, pix_to_face, camera.perspective)
    at_vertices = torch.cat([smooth_normals(vertices, triangles), colours.expand(len(vertices), -1, -1)], dim=-1)
    at_corners = _at(at_vertices, triangles[pix_to_face.clamp_min(0)])
    surface = (at_corners * barycentrics[..., None]).sum(dim=-2)
    albedo = surface[..., 3:] if texture is None else texture(surface[..., 3:])
    shaded = lambert_blinn(surface[..., :3], albedo, light, axes(camera))
    behind = sent(torch.tensor(background, dtype=shaded.dtype), device)
    image = torch.where(pix_to_face[..., None] >= 0, shaded, behind)
    if not smooth:
        return image
    neighbours = sent(torch.as_tensor(neighbouring_faces(faces), dtype=torch.int64), device)
    for axis in (0, 1):
        image = _antialias(image, screen, triangles, neighbours, pix_to_face, depth, axis)
    return image


def smooth_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """(N, V, 3) → (N, V, 3): as `shading.vertex_normals`."""
    a, b, c = (vertices.index_select(1, triangles[:, corner]) for corner in range(3))
    of_faces = torch.linalg.cross(b - a, c - a)
    sums = torch.zeros_like(vertices)
    for corner in range(3):
        sums = sums.index_add(1, triangles[:, corner], of_faces)
    return F.normalize(sums, dim=-1, eps=1e-30)


def lambert_blinn(normals: Tensor, albedo: Tensor, light: Light, axes: Tensor) -> Tensor:
    """As `shading.shade`, for covered pixels: Lambert and Blinn-Phong. Normals (..., 3) of any length."""
    towards_light = F.normalize(torch.tensor(light.direction, dtype=torch.float64) @ axes, dim=0)
    halfway = F.normalize(towards_light + axes[2], dim=0)
    towards_light, halfway = (sent(x.to(normals.dtype), normals.device) for x in (towards_light, halfway))
    normals = F.normalize(normals, dim=-1, eps=1e-30)
    lambert = (normals @ towards_light).clamp_min(0)[..., None]
    highlight = (normals @ halfway).clamp_min(0)[..., None] ** light.shininess
    return (albedo * (light.ambient + light.diffuse * lambert) + light.specular * highlight).clamp(0, 1)


@torch.no_grad()
def visible_faces(
    screen: Tensor, triangles: Tensor, height: int, width: int, perspective: bool
) -> tuple[Tensor, Tensor]:
    """`pix_to_face` (int64) and `depth` of `rasterise.Fragments`, with back faces skipped."""
    # In double precision products of single-precision coordinates are exact, so that e_i of an edge is the negative of
    # e_i in the neighbouring triangle, and no pixel between them is missed, even where multiply and add are fused.
    corners = _at(screen.double(), triangles.expand(len(screen), -1, -1))  # (N, F, 3, 3)
    (ax, bx, cx), (ay, by, cy) = corners[..., 0].unbind(-1), corners[..., 1].unbind(-1)
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)  # negative if counter-clockwise, because y points down
    z = corners[..., 2]
    drawn = (area < -SMALLEST_AREA) & (z > NEAR).all(dim=-1)
    # The nearest triangle has the largest 1 / depth, or in the affine case -depth. Both are linear in e_i, so that
    # nothing is divided for a pixel and a triangle.
    weights = (1 / z if perspective else -z) / area[..., None]
    search = _searcher(screen.device.type, _nearest_faces, _nearest_in_parts)
    nearness, face = search(corners[..., :2], torch.where(drawn[..., None], weights, torch.nan), height, width)
    depth = torch.where(face < 0, torch.inf, 1 / nearness if perspective else -nearness)
    return face.unflatten(1, (height, width)), depth.unflatten(1, (height, width)).to(screen.dtype)


@cache
def _searcher(device: str, search: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """On CUDA `search`, compiled; elsewhere, and if it cannot be compiled, `plain`, which computes the same."""
    if device != "cuda":
        return plain
    chosen = [torch.compile(search, dynamic=True)]

    def run(*given: Any) -> Any:
        try:
            return chosen[0](*given)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # no Triton, or no C compiler for its launcher
            if chosen[0] is plain:
                raise
            log.warning("rendering is not compiled, and slow: %s", str(error).strip().splitlines()[0])
            chosen[0] = plain
            return plain(*given)

    return run


def _nearest_in_parts(corners: Tensor, weights: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """`_nearest_faces`, of a few frames at a time, for as much memory as `MOST_TESTS`."""
    step = max(1, MOST_TESTS // max(1, height * width * corners.shape[1]))
    parts = zip(corners.split(step), weights.split(step), strict=True)
    nearness, face = zip(*(_nearest_faces(*part, height, width) for part in parts), strict=True)
    return torch.cat(nearness), torch.cat(face)


def _nearest_faces(corners: Tensor, weights: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The nearest triangle at each pixel.

    Args:
        corners: (N, F, 3, 2) float64 pixels.
        weights: (N, F, 3) of e_0, e_1, e_2; NaN for triangles that are not drawn.

    Returns:
        Their largest weighted sum, and the number of its triangle (-1: none), (N, height · width).
    """
    pixel = torch.arange(height * width, device=corners.device)[:, None]
    x = corners[:, None, ..., 0] - (pixel % width + 0.5)[..., None]  # (N, H·W, F, 3)
    y = corners[:, None, ..., 1] - (pixel // width + 0.5)[..., None]
    (x0, x1, x2), (y0, y1, y2), (w0, w1, w2) = (c.unbind(-1) for c in (x, y, weights[:, None]))
    e0, e1, e2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
    nearness = e0 * w0 + e1 * w1 + e2 * w2
    inside = (e0 <= 0) & (e1 <= 0) & (e2 <= 0) & (nearness == nearness)
    nearest, face = torch.where(inside, nearness, -torch.inf).max(dim=-1)
    return nearest, torch.where(nearest > -torch.inf, face, -1)


def barycentrics_of(screen: Tensor, triangles: Tensor, pix_to_face: Tensor, perspective: bool) -> Tensor:
    """(N, H, W, 3) `barycentrics` of `rasterise.Fragments`, differentiable in `screen`."""
    covered = pix_to_face >= 0
    height, width = pix_to_face.shape[1:]
    corners = _at(screen.double(), triangles[pix_to_face.clamp_min(0)])  # (N, H, W, 3, 3)
    # A pixel without a triangle gets one that makes no NaN, and passes no gradient on.
    anything = sent(corners.new_tensor(ANY_TRIANGLE, device="cpu"), corners.device)
    corners = torch.where(covered[..., None, None], corners, anything)
    rows, columns = (torch.arange(n, device=screen.device) + 0.5 for n in (height, width))
    (x0, x1, x2), (y0, y1, y2) = (
        (corners[..., 0] - columns[:, None]).unbind(-1),
        (corners[..., 1] - rows[:, None, None]).unbind(-1),
    )
    u = torch.stack([x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0], dim=-1)
    if perspective:
        u = u / corners[..., 2]
    found = u / u.sum(dim=-1, keepdim=True)
    return torch.where(covered[..., None], found, 0.0).to(screen.dtype)


def _antialias(
    image: Tensor,
    screen: Tensor,
    triangles: Tensor,
    neighbours: Tensor,
    pix_to_face: Tensor,
    depth: Tensor,
    axis: int,
) -> Tensor:
    """One axis of `antialias.antialias`: 0 blends along rows, 1 along columns."""
    along = 2 - axis  # the image's dimension of the walk
    length = image.shape[along] - 1
    if length < 1:
        return image
    this_nearer = depth.narrow(along, 0, length) <= depth.narrow(along, 1, length)
    with torch.no_grad():
        found, edge, start, line = _silhouettes(screen, triangles, neighbours, pix_to_face, this_nearer, axis)
    ends = _at(screen.double(), edge)  # (N, h, w, 2, 3)
    a_line, b_line = ends[..., 1 - axis].unbind(-1)
    a_along, b_along = ends[..., axis].unbind(-1)
    share = (line - a_line) / torch.where(found, b_line - a_line, 1.0)
    crossing = (1 - share) * a_along + share * b_along
    alpha = torch.where(this_nearer, crossing - start, start - crossing)
    alpha = torch.where(found, alpha.clamp_min(0), 0.5).to(image.dtype)[..., None]  # at ½ nothing is blended
    this, following = image.narrow(along, 0, length), image.narrow(along, 1, length)
    step = (alpha - 0.5) * torch.where(this_nearer[..., None], this - following, following - this)
    to_this = this_nearer[..., None] != (alpha > 0.5)  # the nearer pixel gives way, or the farther one is covered
    none = torch.zeros_like(step.narrow(along, 0, 1))
    to_this_step, to_following_step = torch.where(to_this, step, 0.0), torch.where(to_this, 0.0, step)
    return image + torch.cat([to_this_step, none], dim=along) + torch.cat([none, to_following_step], dim=along)


def _silhouettes(
    screen: Tensor, triangles: Tensor, neighbours: Tensor, pix_to_face: Tensor, this_nearer: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Walk between all neighbouring pixel centres at once, as `antialias._silhouette` does between two of them.

    Returns:
        found: (N, h, w) bool: a silhouette lies between this pixel centre and the next along `axis`.
        edge: (N, h, w, 2) its vertices, 0 where there is none.
        start: (N, h, w) coordinate along `axis` of the centre that sees the nearer surface.
        line: coordinate on the other axis.
    """
    along = 2 - axis
    length = pix_to_face.shape[along] - 1
    here, there = pix_to_face.narrow(along, 0, length), pix_to_face.narrow(along, 1, length)
    face, goal = torch.where(this_nearer, here, there), torch.where(this_nearer, there, here)
    height, width = here.shape[1:]
    row = torch.arange(height, device=screen.device).double()[:, None] + 0.5
    column = torch.arange(width, device=screen.device).double()[None] + 0.5
    line, first = (column, row) if axis else (row, column)
    direction = torch.where(this_nearer, 1.0, -1.0).double()
    start = first + (~this_nearer)
    screen = screen.double()
    a, b, c = (screen.index_select(1, triangles[:, corner])[..., :2] for corner in range(3))
    facing = ((b - a)[..., 0] * (c - a)[..., 1] - (c - a)[..., 0] * (b - a)[..., 1]) < 0  # (N, F)
    walking = (face != goal) & (face >= 0)
    face = face.clamp_min(0)
    found, edge = torch.zeros_like(walking), torch.zeros((*face.shape, 2), dtype=torch.int64, device=screen.device)
    state = walking, face, found, edge
    step = _searcher(screen.device.type, _walk_step, _walk_step)
    for _ in range(LONGEST_WALK):
        state = step(*state, screen[..., :2], facing, triangles, neighbours, goal, line, start, direction, axis)
    _, _, found, edge = state
    return found, edge, start, line.expand_as(start)


def _walk_step(
    walking: Tensor,
    face: Tensor,
    found: Tensor,
    edge: Tensor,
    screen: Tensor,
    facing: Tensor,
    triangles: Tensor,
    neighbours: Tensor,
    goal: Tensor,
    line: Tensor,
    start: Tensor,
    direction: Tensor,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every walk leaves its triangle: into the next one, to the other centre, or over a silhouette, which is noted."""
    corners = triangles[face]  # (N, h, w, 3)
    position = _at(screen, corners)
    position_along, position_line = position[..., axis], position[..., 1 - axis]
    next_along, next_line = position_along.roll(-1, -1), position_line.roll(-1, -1)
    crosses = (position_line < line[..., None]) != (next_line < line[..., None])
    t = (line[..., None] - position_line) / torch.where(crosses, next_line - position_line, 1.0)
    crossing = (position_along + t * (next_along - position_along) - start[..., None]) * direction[..., None]
    alpha, side = torch.where(crosses, crossing, -torch.inf).max(dim=-1)
    walking = walking & (alpha <= 1) & (alpha > -torch.inf)
    side = side[..., None]
    neighbour = neighbours[face].gather(-1, side)[..., 0]
    turned = facing.gather(1, neighbour.clamp_min(0).flatten(1)) != facing.gather(1, face.flatten(1))
    ends = walking & ((neighbour < 0) | turned.view_as(face))
    rise, run = (
        (after - before).gather(-1, side)[..., 0].abs()
        for after, before in ((next_line, position_line), (next_along, position_along))
    )
    steep = ends & (rise >= run)
    vertices = torch.cat([corners.gather(-1, side), corners.roll(-1, -1).gather(-1, side)], dim=-1)
    edge = torch.where(steep[..., None], vertices, edge)
    found = found | steep
    walking = walking & ~ends & (neighbour != goal)
    face = torch.where(walking, neighbour, face)
    return walking, face, found, edge


def _at(values: Tensor, numbers: Tensor) -> Tensor:
    """Values (N, V, K) of the vertices `numbers` (N, …) → (N, …, K); its gradient is added up without sorting."""
    index = numbers.flatten(1)[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, index).unflatten(1, numbers.shape[1:])
