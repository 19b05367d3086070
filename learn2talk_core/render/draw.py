"""Rendering for display: the same pictures as `render`, without gradients, in a fraction of the time.

Each thread renders one frame at a time in buffers that it reuses, and shades only visible pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F

from learn2talk_core.mesh.look import Look
from learn2talk_core.render.antialias import blend_edges, find_edges, neighbouring_faces
from learn2talk_core.render.background import BACKGROUND
from learn2talk_core.render.camera import Camera, axes, project
from learn2talk_core.render.rasterise import NEAR, SMALLEST_AREA
from learn2talk_core.render.render import checked_faces
from learn2talk_core.render.shading import LIGHT, Light, vertex_normals
from learn2talk_core.run.over_frames import kernel, over_frames

NO_UV, NO_TEXTURE = np.zeros((0, 3, 2), np.float32), np.zeros((1, 1, 3), np.uint8)
LANES = 8  # numbers per vertex: normal, colour, 1 and an unused one; eight fill a SIMD register


def draw(
    vertices: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray,
    camera: Camera,
    height: int,
    width: int,
    *,
    light: Light = LIGHT,
    background: tuple[float, float, float] = BACKGROUND,
    look: Look | None = None,
) -> np.ndarray:
    """Antialiased pictures of a mesh in motion, equal to `render`'s to one of 255 levels except for pixels on edges.

    Args:
        vertices: (N, V, 3).
        faces: (F, 3) whole numbers, counter-clockwise seen from outside; back faces are not drawn.
        colours: (V, 3) or (N, V, 3) RGB in 0..1.
        look: its texture is used instead of `colours`.

    Returns:
        uint8 (N, height, width, 3), row 0 on top.
    """
    positions, albedo = (torch.from_numpy(np.ascontiguousarray(some, np.float32)) for some in (vertices, colours))
    faces = checked_faces(positions, faces, albedo)
    screen = project(camera, positions, height, width).numpy()
    at_vertices = np.ones((*positions.shape[:2], LANES), np.float32)
    at_vertices[..., :3], at_vertices[..., 3:6] = vertex_normals(positions, faces), albedo
    directions = axes(camera)
    towards_light = F.normalize(torch.tensor(light.direction, dtype=torch.float64) @ directions, dim=0)
    halfway = F.normalize(towards_light + directions[2], dim=0)
    lamp = np.array([*towards_light, *halfway, light.ambient, light.diffuse, light.specular], np.float32)
    pictures = np.empty((len(positions), height, width, 3), np.uint8)
    scene = (screen, faces, neighbouring_faces(faces), camera.perspective, at_vertices)
    uv, texture = (NO_UV, NO_TEXTURE) if look is None else (look.uv, look.texture)
    surface = (uv, np.ascontiguousarray(texture), lamp, light.shininess)
    over_frames(_draw, len(pictures), *scene, *surface, np.array(background, np.float32), pictures)
    return pictures


@kernel
def _draw(  # type: ignore[no-untyped-def]
    first, last, screen, faces, neighbours, perspective, at_vertices, uv, texture, lamp, shininess, background, pictures
):
    height, width = pictures.shape[1:3]
    planes = np.zeros((len(faces), 3, LANES), np.float32)
    seen, depth = np.empty((1, height, width), np.int32), np.empty((1, height, width), np.float32)
    image, blended = np.empty((1, height, width, 3), np.float32), np.empty((1, height, width, 3), np.float32)
    edges = np.empty((1, 2, height, width), np.int32)
    for n in range(first, last):
        _find(screen[n], faces, perspective, at_vertices[n], uv, planes, seen[0], depth[0])
        textured = len(uv) > 0
        _colour(planes, perspective, textured, texture, lamp, shininess, background, seen[0], depth[0], image[0])
        edges[:] = -1
        find_edges(0, 1, screen[n : n + 1], faces, neighbours, seen, depth, edges)
        for axis in (0, 1):
            blended[:] = image
            blend_edges(0, 1, image, screen[n : n + 1], edges, depth, faces, axis, blended)
            image, blended = blended, image
        _to_bytes(image.reshape(-1), pictures[n].reshape(-1))


@kernel
def _find(screen, faces, perspective, at_vertices, uv, planes, seen, depth):  # type: ignore[no-untyped-def]
    """The nearest triangle at each pixel centre, -1 where there is none, and its depth there: -1 / z in perspective, z
    with parallel rays; smaller is nearer. This depth is affine in pixel x and y inside a triangle. So are the vertex
    values, in perspective after division by z: `planes` (F, 3, LANES) gets their coefficients of x, y and 1. With
    texture coordinates `uv`, these take the place of red and green.
    """
    height, width = seen.shape
    seen[:] = -1
    depth[:] = np.inf
    for face in range(len(faces)):
        a, b, c = np.uint32(faces[face, 0]), np.uint32(faces[face, 1]), np.uint32(faces[face, 2])
        (ax, ay, a1), (bx, by, b1), (cx, cy, c1) = _edge(screen, c, b), _edge(screen, a, c), _edge(screen, b, a)
        area = ay * bx - ax * by
        za, zb, zc = np.float64(screen[a, 2]), np.float64(screen[b, 2]), np.float64(screen[c, 2])
        if not SMALLEST_AREA < area < np.inf or not min(za, zb, zc) > NEAR:
            continue
        # a's weight at (x, y) is pa · (ax · x + ay · y + a1)
        pa, pb, pc = 1 / area, 1 / area, 1 / area
        if perspective:
            pa, pb, pc = pa / za, pb / zb, pc / zc
            za, zb, zc = -1.0, -1.0, -1.0
        za, zb, zc = za * pa, zb * pb, zc * pc
        zx, zy, z1 = ax * za + bx * zb + cx * zc, ay * za + by * zb + cy * zc, a1 * za + b1 * zb + c1 * zc
        fa, fb, fc = np.float32(ax * pa), np.float32(bx * pb), np.float32(cx * pc)
        ga, gb, gc = np.float32(ay * pa), np.float32(by * pb), np.float32(cy * pc)
        ha, hb, hc = np.float32(a1 * pa), np.float32(b1 * pb), np.float32(c1 * pc)
        for m in range(LANES):
            va, vb, vc = at_vertices[a, m], at_vertices[b, m], at_vertices[c, m]
            planes[face, 0, m] = fa * va + fb * vb + fc * vc
            planes[face, 1, m] = ga * va + gb * vb + gc * vc
            planes[face, 2, m] = ha * va + hb * vb + hc * vc
        if len(uv) > 0:
            for m in range(2):
                va, vb, vc = uv[face, 0, m], uv[face, 1, m], uv[face, 2, m]
                planes[face, 0, 3 + m] = fa * va + fb * vb + fc * vc
                planes[face, 1, 3 + m] = ga * va + gb * vb + gc * vc
                planes[face, 2, 3 + m] = ha * va + hb * vb + hc * vc
        ya, yb, yc = screen[a, 1], screen[b, 1], screen[c, 1]
        top = int(np.ceil(min(max(min(ya, yb, yc), np.float32(0)), np.float32(height)) - 0.5))
        bottom = int(np.floor(min(max(ya, yb, yc), np.float32(height)) - 0.5))
        ra, rb, rc = -1 / ax, -1 / bx, -1 / cx
        for row in range(top, bottom + 1):
            # Two triangles with a common edge compute bit-identical crossings, so no pixel is missed between them.
            y, left, right = row + 0.5, 0.0, np.float64(width)
            for slope, crossing in ((ax, (ay * y + a1) * ra), (bx, (by * y + b1) * rb), (cx, (cy * y + c1) * rc)):
                if slope > 0:
                    left = max(left, crossing)
                elif slope < 0:
                    right = min(right, crossing)
            for column in range(int(np.ceil(min(left, np.float64(width)) - 0.5)), int(np.floor(right - 0.5)) + 1):
                z = np.float32(zx * (column + 0.5) + (zy * y + z1))
                if z < depth[row, column]:
                    depth[row, column] = z
                    seen[row, column] = face


@kernel
def _edge(screen, a, b):  # type: ignore[no-untyped-def]
    """Twice the area of the triangle of a, b and a point, as coefficients of the point's x, y and 1; exactly the
    negative of the result for b and a."""
    ax, ay = np.float64(screen[a, 0]), np.float64(screen[a, 1])
    bx, by = np.float64(screen[b, 0]), np.float64(screen[b, 1])
    return ay - by, bx - ax, ax * by - ay * bx


@kernel
def _colour(  # type: ignore[no-untyped-def]
    planes, perspective, textured, texture, lamp, shininess, background, seen, depth, image
):
    """As `shading.shade`, row by row; `depth` becomes the distance in front of the camera."""
    height, width = seen.shape
    surface = np.zeros((width, LANES), np.float32)
    lit, shine, highlight = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    zero, one, tiny = np.float32(0), np.float32(1), np.float32(1e-30)
    for row in range(height):
        y = np.float32(row + 0.5)
        for column in range(width):
            face, x = seen[row, column], np.float32(column + 0.5)
            if face >= 0:
                for m in range(LANES):
                    surface[column, m] = planes[face, 0, m] * x + (planes[face, 1, m] * y + planes[face, 2, m])
        for column in range(width):
            nx, ny, nz = surface[column, 0], surface[column, 1], surface[column, 2]
            per_length = one / (np.sqrt(nx * nx + ny * ny + nz * nz) + tiny)
            lit[column] = max((nx * lamp[0] + ny * lamp[1] + nz * lamp[2]) * per_length, zero)
            shine[column] = max((nx * lamp[3] + ny * lamp[4] + nz * lamp[5]) * per_length, zero)
            highlight[column] = lamp[8]
        rest = shininess
        while rest > 0:  # highlight *= shine ** shininess, by repeated squaring
            if rest % 2:
                highlight *= shine
            shine *= shine
            rest //= 2
        for column in range(width):
            covered = seen[row, column] >= 0
            if textured and covered:
                _sample(texture, surface[column])
            brightness = (lamp[6] + lamp[7] * lit[column]) / surface[column, 6]
            for k in range(3):
                colour = min(surface[column, 3 + k] * brightness + highlight[column], one)
                image[row, column, k] = colour if covered else background[k]
            if perspective and covered:
                depth[row, column] = -one / depth[row, column]


@kernel
def _sample(texture, values):  # type: ignore[no-untyped-def]
    """Replace texture coordinates in `values` by the texture's colour (bilinear), times the 1 that was divided by z."""
    height, width = texture.shape[:2]
    x = min(max(values[3] / values[6] * np.float32(width) - np.float32(0.5), np.float32(0)), np.float32(width - 1))
    y = (np.float32(1) - values[4] / values[6]) * np.float32(height) - np.float32(0.5)
    y = min(max(y, np.float32(0)), np.float32(height - 1))
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    fx, fy = x - np.float32(left), y - np.float32(top)
    for k in range(3):
        above = (1 - fx) * texture[top, left, k] + fx * texture[top, right, k]
        below = (1 - fx) * texture[bottom, left, k] + fx * texture[bottom, right, k]
        values[3 + k] = ((1 - fy) * above + fy * below) / np.float32(255) * values[6]


@kernel
def _to_bytes(image, picture):  # type: ignore[no-untyped-def]
    for i in range(len(image)):
        picture[i] = np.uint8(np.int32(np.float32(255) * image[i] + np.float32(0.5)))
