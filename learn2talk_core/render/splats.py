"""Pictures of 3D Gaussians (splats), differentiable in everything that describes a splat.

After Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering", with the projection of Zwicker
et al. 2001, "EWA Splatting". A splat with centre p, standard deviations s along its axes, the columns of Q, and opacity
o is, in the camera's axes, at (x, y, z) = R p + t. With the Jacobian of the perspective projection

    J = [f_x / z, 0, −f_x x / z²;  0, f_y / z, −f_y y / z²],     A = J R Q diag(s),     Σ = A Aᵀ + 0.3 I   (pixels²)

it is a Gaussian in the image about the projected centre m. At a pixel centre its opacity is

    α = min(0.99, o exp(−½ dᵀ Σ⁻¹ d)),     d = pixel − m,

where dᵀ Σ⁻¹ d ≤ 9 and α ≥ 1/255, else 0. Splats are blended from front to back by the depth of their centres:

    C = Σ_i T_i α_i c_i + T background,     T_i = Π_{j<i} (1 − α_j),

up to the splat at which T would fall below 1e-4. The gradient is computed by the same pass from front to back: for a
gradient g of the pixel, what lies behind splat i contributes r_i = g·C − Σ_{j≤i} T_j α_j g·c_j, so that

    ∂/∂α_i = T_i g·c_i − r_i / (1 − α_i).
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from learn2talk_core.render import gsplat_backend
from learn2talk_core.render.pinhole import Pinhole
from learn2talk_core.render.rasterise import array
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.over_frames import kernel, over_frames

NEAR = 0.01  # splats whose centre is nearer are not drawn; unit of the world
DILATION = 0.3  # pixels², added to the variances in the image: no splat is thinner than a pixel
REACH = 9.0  # squared distance in standard deviations at which a splat ends
MOST_OPAQUE = 0.99
LEAST_OPAQUE = 1 / 255
LEAST_LIGHT = 1e-4  # transmittance at which blending stops
MARGIN = 0.15  # of the image; farther outside, J is that at the margin, since it is only a local approximation
TILE = 16  # pixels
FLAT = 12  # numbers per splat in the image: m (2), Σ⁻¹ (3), opacity, colour (3), largest dᵀ Σ⁻¹ d, half extents (2)


class Splats(NamedTuple):
    """N Gaussians in the world.

    Attributes:
        position: (N, 3).
        scale: (N, 3) standard deviations along the splat's axes, at least 0.
        rotation: (N, 4) quaternion w, x, y, z of any length but 0; it turns the splat's axes into the world's.
        opacity: (N,) in 0..1.
        colour: (N, 3) RGB; with spherical harmonics, as seen from the camera (`spherical_harmonics`).
    """

    position: Tensor
    scale: Tensor
    rotation: Tensor
    opacity: Tensor
    colour: Tensor


class SplatPicture(NamedTuple):
    """What `draw_splats` returns.

    Attributes:
        image: (H, W, 3), row 0 on top. Differentiable.
        light: (H, W) share of the background in each pixel, 0..1. Not differentiable.
        visible: (N,) bool, splats that reach into the image.
    """

    image: Tensor
    light: Tensor
    visible: Tensor


def draw_splats(
    splats: Splats,
    view: Pinhole,
    background: tuple[float, float, float],
    *,
    shift: Tensor | None = None,
    backend: str = "cpu",
) -> SplatPicture:
    """Draw one picture.

    Args:
        splats: float32 or float64, on the CPU for the backend `cpu`.
        view: the camera.
        background: RGB.
        shift: (N, 2) zeros, added to the centres in the image; its gradient is that of the centres in pixels.
        backend: `cpu`, or `gsplat` (CUDA; needs that package).

    Raises:
        BadInput: no splats, NaN or infinity in them, or a backend that is not installed.
    """
    count = len(splats.position)
    shapes = [tuple(part.shape) for part in splats]
    if shapes != [(count, 3), (count, 3), (count, 4), (count,), (count, 3)]:
        raise ValueError(f"splats: expected (N, 3), (N, 3), (N, 4), (N,), (N, 3), found {shapes}")
    if not count:
        raise BadInput("splats", expected="at least one splat", found="none", fix="Train the avatar again.")
    if backend not in ("cpu", "gsplat"):
        raise ValueError(f"backend: expected cpu or gsplat, found {backend}")
    for name, part in zip(Splats._fields, splats, strict=True):
        if not torch.isfinite(part).all():
            fix = "Lower the learning rates, or load an earlier avatar."
            raise BadInput("splats", expected="finite numbers", found=f"NaN or infinity in {name}", fix=fix)
    if backend == "gsplat":
        return SplatPicture(*gsplat_backend.draw_with_gsplat(*splats, view, background, shift, NEAR))
    moved = splats.position.new_zeros(count, 2) if shift is None else shift
    return SplatPicture(*_Draw.apply(*splats, moved, view, np.array(background, np.float64)))


def spherical_harmonics(coefficients: Tensor, direction: Tensor) -> Tensor:
    """Colour by direction: ½ + Σ coefficients · Y(direction), at least 0.

    Args:
        coefficients: (N, 1, 4, 9 or 16, 3), for degree 0 to 3, in the order of `harmonic_basis`.
        direction: (N, 3) of length 1, from the camera to the splat.
    """
    basis = harmonic_basis(direction, coefficients.shape[1])
    return (0.5 + torch.einsum("nk,nkc->nc", basis, coefficients)).clamp_min(0)


def harmonic_basis(direction: Tensor, count: int) -> Tensor:
    """The first `count` (1, 4, 9 or 16) real harmonics Y_lm, m from −l to l, with the Condon–Shortley sign, at unit
    directions (N, 3): (N, count)."""
    x, y, z = direction.unbind(-1)
    basis = [torch.full_like(x, 0.5 / math.sqrt(math.pi))]
    if count > 1:
        first = math.sqrt(3 / (4 * math.pi))
        basis += [-first * y, first * z, -first * x]
    if count > 4:
        second = 0.5 * math.sqrt(15 / math.pi)
        basis += [second * x * y, -second * y * z, 0.25 * math.sqrt(5 / math.pi) * (3 * z * z - 1)]
        basis += [-second * x * z, 0.5 * second * (x * x - y * y)]
    if count > 9:
        a, b, c = math.sqrt(35 / (32 * math.pi)), math.sqrt(105 / math.pi), math.sqrt(21 / (32 * math.pi))
        basis += [-a * y * (3 * x * x - y * y), 0.5 * b * x * y * z, -c * y * (5 * z * z - 1)]
        basis += [0.25 * math.sqrt(7 / math.pi) * z * (5 * z * z - 3), -c * x * (5 * z * z - 1)]
        basis += [0.25 * b * z * (x * x - y * y), -a * x * (x * x - 3 * y * y)]
    return torch.stack(basis, dim=-1)


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        position: Tensor,
        scale: Tensor,
        rotation: Tensor,
        opacity: Tensor,
        colour: Tensor,
        shift: Tensor,
        view: Pinhole,
        background: np.ndarray,
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = len(position)
        splats = [array(part) for part in (position, scale, rotation, opacity, colour, shift)]
        flat, depth = np.empty((count, FLAT)), np.empty(count, np.float32)
        over_frames(_project, count, *splats, *_numbers(view), flat, depth)
        visible = depth < np.inf
        order = np.nonzero(visible)[0]
        order = order[np.argsort(depth[order])]
        starts, entries = _bin(flat, order, view.height, view.width)
        tiles = _spread(np.diff(starts))
        image = torch.empty(view.height, view.width, 3, dtype=position.dtype)
        light = torch.empty(view.height, view.width, dtype=position.dtype)
        over_frames(_blend, len(tiles), tiles, starts, entries, flat, background, image.numpy(), light.numpy())
        ctx.save_for_backward(position, scale, rotation, opacity, colour, shift, image)
        ctx.view, ctx.flat, ctx.starts, ctx.entries, ctx.tiles = view, flat, starts, entries, tiles
        seen = torch.from_numpy(visible)
        ctx.mark_non_differentiable(light, seen)
        return image, light, seen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *splats, image = ctx.saved_tensors
        parts = np.zeros((len(ctx.entries), 9))
        scene = (ctx.tiles, ctx.starts, ctx.entries, ctx.flat, array(image), array(gradients[0]))
        over_frames(_blend_backward, len(ctx.tiles), *scene, parts)
        sums = np.zeros((len(splats[0]), 9))
        _add_up(ctx.entries, parts, sums)
        results = [torch.zeros_like(part, memory_format=torch.contiguous_format) for part in splats]
        arrays = [array(part) for part in splats[:3]]
        over_frames(
            _project_backward, len(sums), sums, ctx.flat, *arrays, *_numbers(ctx.view), *(r.numpy() for r in results)
        )
        return (*results, None, None)


def _numbers(view: Pinhole) -> tuple[np.ndarray, ...]:
    """The camera for the kernels: R, t, and f_x, f_y, c_x, c_y, width, height."""
    lens = np.array([*view.focal, *view.centre, view.width, view.height], np.float64)
    return np.ascontiguousarray(view.rotation, np.float64), np.ascontiguousarray(view.translation, np.float64), lens


def _spread(counts: np.ndarray) -> np.ndarray:
    """The tiles that have entries, or none, in an order in which each thread's share takes about the same time."""
    order = np.argsort(-counts, kind="stable")
    threads = max(1, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    return np.concatenate([order[first::threads] for first in range(threads)])


@kernel
def _turn(w, x, y, z):  # type: ignore[no-untyped-def]
    """The rotation matrix of a quaternion of length 1, as rows."""
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )


@kernel
def _dot3(p, q):  # type: ignore[no-untyped-def]
    return p[0] * q[0] + p[1] * q[1] + p[2] * q[2]


@kernel
def _jacobian(x, y, z, lens):  # type: ignore[no-untyped-def]
    """The four numbers of J that are not 0, and whether x / z and y / z are inside the margin."""
    left, right = (-MARGIN * lens[4] - lens[2]) / lens[0], ((1 + MARGIN) * lens[4] - lens[2]) / lens[0]
    top, bottom = (-MARGIN * lens[5] - lens[3]) / lens[1], ((1 + MARGIN) * lens[5] - lens[3]) / lens[1]
    u, v = min(max(x / z, left), right), min(max(y / z, top), bottom)
    return lens[0] / z, -lens[0] * u / z, lens[1] / z, -lens[1] * v / z, u == x / z, v == y / z


@kernel
def _footprint(p, s, q, turn, lens, x, y, z):  # type: ignore[no-untyped-def]
    """J R as two rows, Q as three rows, and A = J R Q diag(s) as two rows, for the splat at (x, y, z)."""
    j00, j02, j11, j12, _, _ = _jacobian(x, y, z, lens)
    per_length = 1 / np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    own = _turn(q[0] * per_length, q[1] * per_length, q[2] * per_length, q[3] * per_length)
    t0 = (j00 * turn[0, 0] + j02 * turn[2, 0], j00 * turn[0, 1] + j02 * turn[2, 1], j00 * turn[0, 2] + j02 * turn[2, 2])
    t1 = (j11 * turn[1, 0] + j12 * turn[2, 0], j11 * turn[1, 1] + j12 * turn[2, 1], j11 * turn[1, 2] + j12 * turn[2, 2])
    c0, c1, c2 = (own[0][0], own[1][0], own[2][0]), (own[0][1], own[1][1], own[2][1]), (own[0][2], own[1][2], own[2][2])
    a0 = (_dot3(t0, c0) * s[0], _dot3(t0, c1) * s[1], _dot3(t0, c2) * s[2])
    a1 = (_dot3(t1, c0) * s[0], _dot3(t1, c1) * s[1], _dot3(t1, c2) * s[2])
    return t0, t1, own, a0, a1, per_length


@kernel
def _project(first, last, position, scale, rotation, opacity, colour, shift, turn, offset, lens, flat, depth):  # type: ignore[no-untyped-def]
    for n in range(first, last):
        depth[n] = np.inf
        p = (np.float64(position[n, 0]), np.float64(position[n, 1]), np.float64(position[n, 2]))
        x, y, z = _dot3(turn[0], p) + offset[0], _dot3(turn[1], p) + offset[1], _dot3(turn[2], p) + offset[2]
        o = np.float64(opacity[n])
        if not (z > NEAR and o > LEAST_OPAQUE):
            continue
        s = (np.float64(scale[n, 0]), np.float64(scale[n, 1]), np.float64(scale[n, 2]))
        q = (
            np.float64(rotation[n, 0]), np.float64(rotation[n, 1]),
            np.float64(rotation[n, 2]), np.float64(rotation[n, 3]),
        )  # fmt: skip
        _, _, _, a0, a1, _ = _footprint(p, s, q, turn, lens, x, y, z)
        xx, xy, yy = _dot3(a0, a0) + DILATION, _dot3(a0, a1), _dot3(a1, a1) + DILATION
        area = xx * yy - xy * xy
        if not 0 < area < np.inf:
            continue
        reach = min(REACH, 2 * np.log(o / LEAST_OPAQUE))
        mx, my = lens[0] * x / z + lens[2] + shift[n, 0], lens[1] * y / z + lens[3] + shift[n, 1]
        wide, tall = np.sqrt(reach * xx), np.sqrt(reach * yy)
        if not (mx + wide > 0.5 and mx - wide < lens[4] - 0.5 and my + tall > 0.5 and my - tall < lens[5] - 0.5):
            continue
        depth[n] = z
        flat[n, 0], flat[n, 1] = mx, my
        flat[n, 2], flat[n, 3], flat[n, 4] = yy / area, -xy / area, xx / area
        flat[n, 5] = o
        for k in range(3):
            flat[n, 6 + k] = colour[n, k]
        flat[n, 9], flat[n, 10], flat[n, 11] = reach, wide, tall


@kernel
def _span(centre, half, pixels):  # type: ignore[no-untyped-def]
    """First and last pixel whose centre is within `half` of `centre`; none if the last is before the first."""
    first = int(np.ceil(max(centre - half, 0.0) - 0.5))
    return max(first, 0), int(np.floor(min(centre + half, np.float64(pixels)) - 0.5))


@kernel
def _bin(flat, order, height, width):  # type: ignore[no-untyped-def]
    """The splats of each tile from front to back: those of tile i are entries[starts[i] : starts[i + 1]]."""
    across, down = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    starts = np.zeros(across * down + 1, np.int64)
    for n in order:
        left, right = _span(flat[n, 0], flat[n, 10], width)
        top, bottom = _span(flat[n, 1], flat[n, 11], height)
        if right < left or bottom < top:
            continue
        for row in range(top // TILE, bottom // TILE + 1):
            for column in range(left // TILE, right // TILE + 1):
                starts[row * across + column + 1] += 1
    for tile in range(across * down):
        starts[tile + 1] += starts[tile]
    entries, filled = np.empty(starts[-1], np.int32), starts[:-1].copy()
    for n in order:
        left, right = _span(flat[n, 0], flat[n, 10], width)
        top, bottom = _span(flat[n, 1], flat[n, 11], height)
        if right < left or bottom < top:
            continue
        for row in range(top // TILE, bottom // TILE + 1):
            for column in range(left // TILE, right // TILE + 1):
                tile = row * across + column
                entries[filled[tile]] = n
                filled[tile] += 1
    return starts, entries


@kernel
def _columns(splat, dy, left, right):  # type: ignore[no-untyped-def]
    """First and last of the columns left … right that a splat reaches in the row at a distance `dy` from its centre."""
    half = splat[3] * splat[3] * dy * dy - splat[2] * (splat[4] * dy * dy - splat[9])
    if half < 0:
        return 0, -1
    half = np.sqrt(half) / splat[2]
    middle = splat[0] - splat[3] * dy / splat[2] - 0.5
    return max(left, int(np.ceil(middle - half))), min(right, int(np.floor(middle + half)))


@kernel
def _blend(first, last, tiles, starts, entries, flat, background, image, light):  # type: ignore[no-untyped-def]
    height, width = light.shape
    across = (width + TILE - 1) // TILE
    through, colour = np.empty((TILE, TILE)), np.empty((TILE, TILE, 3))
    open_ = np.empty((TILE, TILE), np.bool_)
    for tile in tiles[first:last]:
        top, left = tile // across * TILE, tile % across * TILE
        bottom, right = min(top + TILE, height) - 1, min(left + TILE, width) - 1
        through[:], colour[:], open_[:] = 1, 0, True
        pixels = (bottom + 1 - top) * (right + 1 - left)
        for entry in range(starts[tile], starts[tile + 1]):
            splat = flat[entries[entry]]
            a, b, c = splat[2], splat[3], splat[4]
            high, low = _span(splat[1], splat[11], height)
            for row in range(max(high, top), min(low, bottom) + 1):
                dy = row + 0.5 - splat[1]
                start, end = _columns(splat, dy, left, right)
                for column in range(start, end + 1):
                    i, j = row - top, column - left
                    if not open_[i, j]:
                        continue
                    dx = column + 0.5 - splat[0]
                    alpha = min(splat[5] * np.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy)), MOST_OPAQUE)
                    rest = through[i, j] * (1 - alpha)
                    if rest < LEAST_LIGHT:
                        open_[i, j] = False
                        pixels -= 1
                        continue
                    weight = through[i, j] * alpha
                    colour[i, j, 0] += weight * splat[6]
                    colour[i, j, 1] += weight * splat[7]
                    colour[i, j, 2] += weight * splat[8]
                    through[i, j] = rest
            if pixels == 0:
                break
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                rest = through[row - top, column - left]
                light[row, column] = rest
                for k in range(3):
                    image[row, column, k] = colour[row - top, column - left, k] + rest * background[k]


@kernel
def _blend_backward(first, last, tiles, starts, entries, flat, image, gradient, parts):  # type: ignore[no-untyped-def]
    """For each entry, with h = −½ α ∂/∂α: Σ h (dx, dy, dx², dx dy, dy²), Σ α/o ∂/∂α, and the gradient of the colour."""
    height, width = image.shape[:2]
    across = (width + TILE - 1) // TILE
    through, behind = np.empty((TILE, TILE)), np.empty((TILE, TILE))
    open_ = np.empty((TILE, TILE), np.bool_)
    for tile in tiles[first:last]:
        top, left = tile // across * TILE, tile % across * TILE
        bottom, right = min(top + TILE, height) - 1, min(left + TILE, width) - 1
        through[:], open_[:] = 1, True
        pixels = (bottom + 1 - top) * (right + 1 - left)
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                total = 0.0
                for k in range(3):
                    total += np.float64(gradient[row, column, k]) * image[row, column, k]
                behind[row - top, column - left] = total
        for entry in range(starts[tile], starts[tile + 1]):
            splat = flat[entries[entry]]
            a, b, c = splat[2], splat[3], splat[4]
            high, low = _span(splat[1], splat[11], height)
            sx, sy, sxx, sxy, syy, so, s0, s1, s2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for row in range(max(high, top), min(low, bottom) + 1):
                dy = row + 0.5 - splat[1]
                start, end = _columns(splat, dy, left, right)
                for column in range(start, end + 1):
                    i, j = row - top, column - left
                    if not open_[i, j]:
                        continue
                    dx = column + 0.5 - splat[0]
                    density = np.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
                    alpha = min(splat[5] * density, MOST_OPAQUE)
                    rest = through[i, j] * (1 - alpha)
                    if rest < LEAST_LIGHT:
                        open_[i, j] = False
                        pixels -= 1
                        continue
                    weight = through[i, j] * alpha
                    g0, g1, g2 = gradient[row, column, 0], gradient[row, column, 1], gradient[row, column, 2]
                    along = g0 * splat[6] + g1 * splat[7] + g2 * splat[8]
                    s0 += weight * g0
                    s1 += weight * g1
                    s2 += weight * g2
                    behind[i, j] -= weight * along
                    to_alpha = through[i, j] * along - behind[i, j] / (1 - alpha)
                    through[i, j] = rest
                    if alpha < MOST_OPAQUE:
                        so += to_alpha * density
                        h = -0.5 * to_alpha * alpha
                        sx += h * dx
                        sy += h * dy
                        sxx += h * dx * dx
                        sxy += h * dx * dy
                        syy += h * dy * dy
            part = parts[entry]
            part[0], part[1], part[2], part[3], part[4], part[5] = sx, sy, sxx, sxy, syy, so
            part[6], part[7], part[8] = s0, s1, s2
            if pixels == 0:
                break


@kernel
def _add_up(entries, parts, sums):  # type: ignore[no-untyped-def]
    for entry in range(len(entries)):
        for k in range(9):
            sums[entries[entry], k] += parts[entry, k]


@kernel
def _project_backward(  # type: ignore[no-untyped-def]
    first, last, sums, flat, position, scale, rotation, turn, offset, lens,
    to_position, to_scale, to_rotation, to_opacity, to_colour, to_shift,
):  # fmt: skip
    for n in range(first, last):
        part = sums[n]
        if not (
            part[0] or part[1] or part[2] or part[3] or part[4] or part[5] or part[6] or part[7] or part[8]
        ):  # also all splats outside the image, of which `flat` knows nothing
            continue
        to_opacity[n] = part[5]
        for k in range(3):
            to_colour[n, k] = part[6 + k]
        a, b, c = flat[n, 2], flat[n, 3], flat[n, 4]
        mx, my = -2 * (a * part[0] + b * part[1]), -2 * (b * part[0] + c * part[1])
        to_shift[n, 0], to_shift[n, 1] = mx, my
        # Σ gets −Σ⁻¹ G Σ⁻¹ with G = Σ h d dᵀ
        k00, k01 = a * part[2] + b * part[3], a * part[3] + b * part[4]
        k10, k11 = b * part[2] + c * part[3], b * part[3] + c * part[4]
        v00, v01, v11 = -(k00 * a + k01 * b), -(k00 * b + k01 * c), -(k10 * b + k11 * c)
        p = (np.float64(position[n, 0]), np.float64(position[n, 1]), np.float64(position[n, 2]))
        x, y, z = _dot3(turn[0], p) + offset[0], _dot3(turn[1], p) + offset[1], _dot3(turn[2], p) + offset[2]
        s = (np.float64(scale[n, 0]), np.float64(scale[n, 1]), np.float64(scale[n, 2]))
        q = (
            np.float64(rotation[n, 0]), np.float64(rotation[n, 1]),
            np.float64(rotation[n, 2]), np.float64(rotation[n, 3]),
        )  # fmt: skip
        t0, t1, own, a0, a1, per_length = _footprint(p, s, q, turn, lens, x, y, z)
        # A gets 2 (gradient of Σ) A
        b0 = (2 * (v00 * a0[0] + v01 * a1[0]), 2 * (v00 * a0[1] + v01 * a1[1]), 2 * (v00 * a0[2] + v01 * a1[2]))
        b1 = (2 * (v01 * a0[0] + v11 * a1[0]), 2 * (v01 * a0[1] + v11 * a1[1]), 2 * (v01 * a0[2] + v11 * a1[2]))
        # Q diag(s) gets (J R)ᵀ b
        e0, e1, e2 = t0[0] * b0[0] + t1[0] * b1[0], t0[0] * b0[1] + t1[0] * b1[1], t0[0] * b0[2] + t1[0] * b1[2]
        e3, e4, e5 = t0[1] * b0[0] + t1[1] * b1[0], t0[1] * b0[1] + t1[1] * b1[1], t0[1] * b0[2] + t1[1] * b1[2]
        e6, e7, e8 = t0[2] * b0[0] + t1[2] * b1[0], t0[2] * b0[1] + t1[2] * b1[1], t0[2] * b0[2] + t1[2] * b1[2]
        to_scale[n, 0] = e0 * own[0][0] + e3 * own[1][0] + e6 * own[2][0]
        to_scale[n, 1] = e1 * own[0][1] + e4 * own[1][1] + e7 * own[2][1]
        to_scale[n, 2] = e2 * own[0][2] + e5 * own[1][2] + e8 * own[2][2]
        e0, e3, e6 = e0 * s[0], e3 * s[0], e6 * s[0]
        e1, e4, e7 = e1 * s[1], e4 * s[1], e7 * s[1]
        e2, e5, e8 = e2 * s[2], e5 * s[2], e8 * s[2]
        qw, qx, qy, qz = q[0] * per_length, q[1] * per_length, q[2] * per_length, q[3] * per_length
        dw = 2 * (qz * (e3 - e1) + qy * (e2 - e6) + qx * (e7 - e5))
        dx = 2 * (qy * (e1 + e3) + qz * (e2 + e6) + qw * (e7 - e5) - 2 * qx * (e4 + e8))
        dy = 2 * (qx * (e1 + e3) + qz * (e5 + e7) + qw * (e2 - e6) - 2 * qy * (e0 + e8))
        dz = 2 * (qx * (e2 + e6) + qy * (e5 + e7) + qw * (e3 - e1) - 2 * qz * (e0 + e4))
        along = qw * dw + qx * dx + qy * dy + qz * dz  # the length of the quaternion has no effect
        to_rotation[n, 0] = (dw - along * qw) * per_length
        to_rotation[n, 1] = (dx - along * qx) * per_length
        to_rotation[n, 2] = (dy - along * qy) * per_length
        to_rotation[n, 3] = (dz - along * qz) * per_length
        # J R gets b (Q diag(s))ᵀ, and J that times Rᵀ
        r0, r1, r2 = own[0], own[1], own[2]
        m0 = (r0[0] * s[0], r0[1] * s[1], r0[2] * s[2])
        m1 = (r1[0] * s[0], r1[1] * s[1], r1[2] * s[2])
        m2 = (r2[0] * s[0], r2[1] * s[1], r2[2] * s[2])
        w0 = (_dot3(b0, m0), _dot3(b0, m1), _dot3(b0, m2))
        w1 = (_dot3(b1, m0), _dot3(b1, m1), _dot3(b1, m2))
        g00, g02 = _dot3(w0, turn[0]), _dot3(w0, turn[2])
        g11, g12 = _dot3(w1, turn[1]), _dot3(w1, turn[2])
        j00, j02, j11, j12, inside_x, inside_y = _jacobian(x, y, z, lens)
        to_x, to_y = j00 * mx, j11 * my
        to_z = -(j00 * x * mx + j11 * y * my) / z - (j00 * g00 + j02 * g02 + j11 * g11 + j12 * g12) / z
        if inside_x:  # J₀₂ = −f x / z²
            to_x -= j00 / z * g02
            to_z -= j02 / z * g02
        if inside_y:
            to_y -= j11 / z * g12
            to_z -= j12 / z * g12
        for k in range(3):
            to_position[n, k] = turn[0, k] * to_x + turn[1, k] * to_y + turn[2, k] * to_z
