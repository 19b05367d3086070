"""Shading: colour from normals and albedo.

Lambert's law and Blinn's highlight (Blinn 1977), with one distant white light and a distant viewer:

    colour = albedo · (ambient + diffuse · max(n·l, 0)) + specular · max(n·h, 0)^shininess,   h = (l + v) / |l + v|
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from learn2talk_core.render.rasterise import array
from learn2talk_core.run.over_frames import kernel, over_frames


@dataclass(frozen=True)
class Light:
    """A light that moves with the camera. If ambient + diffuse + specular ≤ 1, no pixel saturates.

    Attributes:
        direction: from the face to the light: image right, image up, towards the camera; any length but 0.
        ambient, diffuse: share of the albedo that is visible in shadow, and the share that full light adds.
        specular: brightness of the highlight.
        shininess: whole number; a higher one gives a smaller highlight.
    """

    direction: tuple[float, float, float] = (0.25, 0.5, 1.0)
    ambient: float = 0.38
    diffuse: float = 0.54
    specular: float = 0.08
    shininess: int = 16


LIGHT = Light()
TINY = 1e-30  # added to lengths of normals, which may be 0


def vertex_normals(vertices: Tensor, faces: np.ndarray) -> Tensor:
    """(N, V, 3) → (N, V, 3): mean of the normals of the triangles around a vertex, weighted by area, length 1."""
    return _VertexNormals.apply(vertices, faces)


def shade(surface: Tensor, covered: Tensor, light: Light, background: tuple[float, ...], axes: Tensor) -> Tensor:
    """Colour every pixel.

    Args:
        surface: (N, H, W, 3 + C) normal (any length) and albedo at each pixel.
        covered: (N, H, W) bool, False where the background shows.
        light: the light.
        background: C numbers, one per channel.
        axes: (3, 3) rows: the directions of image right, image up and towards the camera, in the space of the normals.

    Returns:
        (N, H, W, C) in 0..1.
    """
    towards_light = F.normalize(torch.tensor(light.direction, dtype=torch.float64) @ axes, dim=0)
    halfway = F.normalize(towards_light + axes[2], dim=0)
    strengths = (light.ambient, light.diffuse, light.specular, light.shininess)
    return _Shade.apply(
        surface, covered, towards_light.numpy(), halfway.numpy(), strengths, np.array(background, np.float64)
    )


class _VertexNormals(torch.autograd.Function):
    """The direction of the sum over the triangles around a vertex of (b - a) × (c - a)."""

    @staticmethod
    def forward(ctx: Any, vertices: Tensor, faces: np.ndarray) -> Tensor:
        normals = torch.zeros_like(vertices, memory_format=torch.contiguous_format)
        lengths = vertices.new_empty(vertices.shape[:2])
        over_frames(_vertex_normals, len(vertices), array(vertices), faces, normals.numpy(), lengths.numpy())
        ctx.save_for_backward(vertices, normals, lengths)
        ctx.faces = faces
        return normals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        vertices, normals, lengths = ctx.saved_tensors
        result = torch.zeros_like(vertices, memory_format=torch.contiguous_format)
        inputs = (array(vertices), ctx.faces, normals.numpy(), lengths.numpy(), result.numpy())
        over_frames(_vertex_normals_backward, len(vertices), array(gradients[0]), *inputs)
        return result, None


class _Shade(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, surface: Tensor, covered: Tensor, *constants: Any) -> Tensor:
        image = surface.new_empty(*surface.shape[:-1], surface.shape[-1] - 3)
        over_frames(_shade, len(image), array(surface), array(covered), *constants, image.numpy())
        ctx.save_for_backward(surface, covered)
        ctx.constants = constants
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        surface, covered = ctx.saved_tensors
        result = torch.empty_like(surface, memory_format=torch.contiguous_format)
        inputs = (array(gradients[0]), array(surface), array(covered), *ctx.constants[:3], result.numpy())
        over_frames(_shade_backward, len(surface), *inputs)
        return result, None, None, None, None, None


@kernel
def _sides(vertices, face):  # type: ignore[no-untyped-def]
    a, b, c = vertices[face[0]], vertices[face[1]], vertices[face[2]]
    return (
        (np.float64(b[0]) - a[0], np.float64(b[1]) - a[1], np.float64(b[2]) - a[2]),
        (np.float64(c[0]) - a[0], np.float64(c[1]) - a[1], np.float64(c[2]) - a[2]),
    )


@kernel
def _cross(p, q):  # type: ignore[no-untyped-def]
    return p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]


@kernel
def _vertex_normals(first, last, vertices, faces, normals, lengths):  # type: ignore[no-untyped-def]
    for n in range(first, last):
        for face in range(len(faces)):
            p, q = _sides(vertices[n], faces[face])
            normal = _cross(p, q)
            for corner in faces[face]:
                for k in range(3):
                    normals[n, corner, k] += normal[k]
        for i in range(vertices.shape[1]):
            length = np.sqrt(_dot(normals[n, i], normals[n, i]))
            lengths[n, i] = length
            for k in range(3):
                normals[n, i, k] /= max(length, TINY)


@kernel
def _vertex_normals_backward(first, last, gradient, vertices, faces, normals, lengths, result):  # type: ignore[no-untyped-def]
    to_sums = np.empty((vertices.shape[1], 3))
    for n in range(first, last):
        for i in range(vertices.shape[1]):  # the length of a sum has no effect
            along = _dot(gradient[n, i], normals[n, i])
            for k in range(3):
                to_sums[i, k] = (gradient[n, i, k] - along * normals[n, i, k]) / max(lengths[n, i], TINY)
        for face in range(len(faces)):
            i0, i1, i2 = faces[face, 0], faces[face, 1], faces[face, 2]
            g = (
                to_sums[i0, 0] + to_sums[i1, 0] + to_sums[i2, 0],
                to_sums[i0, 1] + to_sums[i1, 1] + to_sums[i2, 1],
                to_sums[i0, 2] + to_sums[i1, 2] + to_sums[i2, 2],
            )
            if g[0] == 0 and g[1] == 0 and g[2] == 0:  # not seen
                continue
            p, q = _sides(vertices[n], faces[face])
            to_p, to_q = _cross(q, g), _cross(g, p)  # g · (p × q) = p · (q × g) = q · (g × p)
            for k in range(3):
                result[n, i0, k] -= to_p[k] + to_q[k]
                result[n, i1, k] += to_p[k]
                result[n, i2, k] += to_q[k]


@kernel
def _shade(first, last, surface, covered, towards_light, halfway, strengths, background, image):  # type: ignore[no-untyped-def]
    ambient, diffuse, specular, shininess = strengths
    channels, height, width = image.shape[3], image.shape[1], image.shape[2]
    for n in range(first, last):
        for row in range(height):
            for column in range(width):
                if not covered[n, row, column]:
                    for k in range(channels):
                        image[n, row, column, k] = background[k]
                    continue
                x, y, z = surface[n, row, column, 0], surface[n, row, column, 1], surface[n, row, column, 2]
                per_length = 1 / (np.sqrt(x * x + y * y + z * z) + TINY)
                x, y, z = x * per_length, y * per_length, z * per_length
                lit = x * towards_light[0] + y * towards_light[1] + z * towards_light[2]
                shine = x * halfway[0] + y * halfway[1] + z * halfway[2]
                brightness = ambient + diffuse * max(lit, 0.0)
                highlight = specular * _power(max(shine, 0.0), shininess)
                for k in range(channels):
                    image[n, row, column, k] = min(
                        max(surface[n, row, column, 3 + k] * brightness + highlight, 0.0), 1.0
                    )


@kernel
def _shade_backward(first, last, gradient, surface, covered, towards_light, halfway, strengths, result):  # type: ignore[no-untyped-def]
    ambient, diffuse, specular, shininess = strengths
    channels, height, width = gradient.shape[3], gradient.shape[1], gradient.shape[2]
    for n in range(first, last):
        for row in range(height):
            for column in range(width):
                if not covered[n, row, column]:
                    for k in range(3 + channels):
                        result[n, row, column, k] = 0
                    continue
                x, y, z = surface[n, row, column, 0], surface[n, row, column, 1], surface[n, row, column, 2]
                per_length = 1 / (np.sqrt(x * x + y * y + z * z) + TINY)
                x, y, z = x * per_length, y * per_length, z * per_length
                lit = x * towards_light[0] + y * towards_light[1] + z * towards_light[2]
                shine = x * halfway[0] + y * halfway[1] + z * halfway[2]
                brightness = ambient + diffuse * max(lit, 0.0)
                steepness = specular * _power(max(shine, 0.0), shininess - 1)
                highlight = steepness * max(shine, 0.0)
                to_lit, to_shine = 0.0, 0.0
                for k in range(channels):
                    result[n, row, column, 3 + k] = 0
                    if 0 <= surface[n, row, column, 3 + k] * brightness + highlight <= 1:
                        g = gradient[n, row, column, k]
                        result[n, row, column, 3 + k] = g * brightness
                        if lit > 0:
                            to_lit += g * surface[n, row, column, 3 + k] * diffuse
                        if shine > 0:
                            to_shine += g * shininess * steepness
                # the length of the normal has no effect: only the component of the gradient perpendicular to it counts
                along = to_lit * lit + to_shine * shine
                for k, normal in enumerate((x, y, z)):
                    across = to_lit * towards_light[k] + to_shine * halfway[k] - along * normal
                    result[n, row, column, k] = across * per_length


@kernel
def _dot(p, q):  # type: ignore[no-untyped-def]
    return p[0] * q[0] + p[1] * q[1] + p[2] * q[2]


@kernel
def _power(base, exponent):  # type: ignore[no-untyped-def]
    """base ** exponent for whole exponents, by repeated squaring."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
