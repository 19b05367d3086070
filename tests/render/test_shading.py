import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.render.shading import Light, shade, vertex_normals
from tests.render.meshes import bumpy_sphere, slope

LAMP = Light(direction=(0.5, 0.3, 0.8), ambient=0.3, diffuse=0.5, specular=0.2, shininess=5)


def in_torch(surface: Tensor, covered: Tensor, light: Light, background: tuple[float, ...], axes: Tensor) -> Tensor:
    normal = F.normalize(surface[..., :3], dim=-1)
    lamp = F.normalize(surface.new_tensor(light.direction) @ axes, dim=0)
    halfway = F.normalize(lamp + axes[2], dim=0)
    lambert, highlight = (normal @ lamp).clamp_min(0), (normal @ halfway).clamp_min(0) ** light.shininess
    colour = surface[..., 3:] * (light.ambient + light.diffuse * lambert)[..., None]
    colour = (colour + light.specular * highlight[..., None]).clamp(0, 1)
    return torch.where(covered[..., None], colour, surface.new_tensor(background))


def some_surface() -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    surface = torch.randn(2, 6, 5, 6, dtype=torch.float64, generator=rng)
    surface[..., 3:] = torch.rand(2, 6, 5, 3, dtype=torch.float64, generator=rng) * 1.4  # some pixels saturate
    covered = torch.rand(2, 6, 5, generator=rng) > 0.2
    axes = torch.tensor([[0.8, 0, -0.6], [0, 1, 0], [0.6, 0, 0.8]], dtype=torch.float64)
    return surface, covered, axes


def test_shading_and_its_gradient_equal_the_formula_in_torch():
    surface, covered, axes = some_surface()
    weights = torch.randn(2, 6, 5, 3, dtype=torch.float64)
    results = []
    for function in (shade, in_torch):
        variable = surface.clone().requires_grad_()
        image = function(variable, covered, LAMP, (0.1, 0.2, 0.3), axes)
        (image * weights).sum().backward()
        results.append((image.detach(), variable.grad))
    torch.testing.assert_close(results[0], results[1])
    assert ((results[0][0] == 1).any(), (results[0][1] == 0).any()) == (True, True)


def test_one_channel_works_as_three():
    surface, covered, axes = some_surface()
    grey = shade(surface[..., :4], covered, LAMP, (0.1,), axes)
    torch.testing.assert_close(grey, shade(surface, covered, LAMP, (0.1, 0.2, 0.3), axes)[..., :1])


def test_a_missing_normal_is_only_ambient():
    surface = torch.tensor([0.0, 0, 0, 0.5], dtype=torch.float64).reshape(1, 1, 1, 4).requires_grad_()
    image = shade(surface, torch.ones(1, 1, 1, dtype=torch.bool), LAMP, (0.0,), torch.eye(3, dtype=torch.float64))
    image.sum().backward()
    assert image.item() == pytest.approx(0.3 * 0.5)
    assert surface.grad.isfinite().all()


def test_normals_of_a_flat_and_of_a_round_surface():
    flat = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]])
    normals = vertex_normals(flat, np.array([[0, 1, 2], [1, 3, 2]], np.int32))
    torch.testing.assert_close(normals, torch.tensor([0.0, 0, 1]).expand(1, 4, 3))
    vertices, faces, _ = bumpy_sphere()
    ball = F.normalize(vertices, dim=-1)
    assert math.degrees(math.acos(float((vertex_normals(ball, faces) * ball).sum(-1).min()))) < 6


def test_normals_equal_a_sum_over_triangles():
    vertices, faces, _ = bumpy_sphere()
    expected = np.zeros(vertices.shape)
    for frame, positions in enumerate(vertices.numpy()):
        for face in faces:
            a, b, c = positions[face]
            expected[frame, face] += np.cross(b - a, c - a)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(vertex_normals(vertices, faces), expected, atol=1e-12)


def test_gradient_of_normals_is_the_finite_difference():
    vertices, faces, _ = bumpy_sphere()
    rng = torch.Generator().manual_seed(1)
    weights, direction = torch.randn(2, *vertices.shape, dtype=torch.float64, generator=rng)
    analytic, numeric = slope(
        lambda position: (vertex_normals(position, faces) * weights).sum(), vertices, direction, 1e-6
    )
    assert analytic == pytest.approx(numeric, rel=1e-6)


def test_vertices_without_a_triangle_have_no_normal():
    normals = vertex_normals(torch.rand(1, 5, 3), np.array([[0, 1, 2]], np.int32))
    assert (normals[0, 3:] == 0).all()
    assert normals.isfinite().all()
