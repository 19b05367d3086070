"""The renderer in plain torch against the compiled kernels of the CPU, which have their own golden images and twins."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from learn2talk_core.render import torch_backend
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.rasterise import rasterise
from learn2talk_core.render.render import render
from learn2talk_core.render.torch_backend import MOST_TESTS, barycentrics_of, visible_faces
from tests.render.meshes import barycentrics, bumpy_sphere, slope, triangle_soup

CAMERA = Camera(target=(0.02, -0.03, 0.0), extent=1.6, distance=3.0)


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_image_and_gradients_equal_the_cpu_backend(perspective, smooth, height, width):
    results = []
    for backend in ("cpu", "torch"):
        vertices, faces, colours = bumpy_sphere()
        vertices.requires_grad_()
        colours.requires_grad_()
        camera = replace(CAMERA, perspective=perspective, yaw=0.3)
        image = render(vertices, faces, colours, camera, height, width, smooth=smooth, backend=backend)
        (image * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
        results.append([image.detach(), vertices.grad, colours.grad])
    for cpu, other in zip(*results, strict=True):
        torch.testing.assert_close(other, cpu, rtol=1e-6, atol=1e-9)


def test_single_precision_is_close_to_the_cpu_backend():
    images = []
    for backend in ("cpu", "torch"):
        vertices, faces, colours = bumpy_sphere(torch.float32)
        images.append(render(vertices, faces, colours, CAMERA, 48, 40, backend=backend))
        assert images[-1].dtype == torch.float32
    assert (images[0] - images[1]).abs().max() < 1e-4


@pytest.mark.parametrize("perspective", [True, False])
def test_fragments_of_a_triangle_soup_equal_the_kernel(perspective):
    screen, faces = triangle_soup(60, seed=4, size=20)
    expected = rasterise(screen, faces, 20, 24, perspective=perspective)
    triangles = torch.from_numpy(faces).long()
    pix_to_face, depth = visible_faces(screen, triangles, 20, 24, perspective)
    assert torch.equal(pix_to_face, expected.pix_to_face.long())
    torch.testing.assert_close(depth, expected.depth)
    found = barycentrics_of(screen, triangles, pix_to_face, perspective)
    weights = barycentrics(screen, faces, expected.pix_to_face, perspective)
    torch.testing.assert_close(found, weights, rtol=1e-9, atol=1e-9)


def test_pixels_on_a_shared_edge_are_not_missed():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(-1, 10), np.arange(-1, 10)), axis=-1).reshape(-1, 2) + 0.5  # edges on centres
    moved = grid + 0.3 * rng.normal(size=grid.shape).round(1)
    screen = torch.tensor(np.concatenate([moved, np.ones((121, 1))], axis=1), dtype=torch.float32)[None]
    corner = (np.arange(10)[:, None] * 11 + np.arange(10)).ravel()
    quads = np.stack([corner, corner + 1, corner + 11, corner + 12], axis=-1)
    triangles = torch.from_numpy(np.concatenate([quads[:, [0, 2, 1]], quads[:, [1, 2, 3]]]))
    pix_to_face, _ = visible_faces(screen, triangles, 8, 8, True)
    assert (pix_to_face >= 0).all()


def test_crossing_shared_and_degenerate_triangles_are_blended_as_by_the_kernel():
    rng = torch.Generator().manual_seed(0)
    vertices = torch.rand(4, 60, 3, dtype=torch.float64, generator=rng) * 2 - 1
    faces = torch.randint(0, 60, (100, 3), generator=rng).numpy().astype(np.int32)
    colours = torch.rand(60, 3, dtype=torch.float64, generator=rng)
    cpu, other = (render(vertices, faces, colours, CAMERA, 24, 24, backend=name) for name in ("cpu", "torch"))
    torch.testing.assert_close(other, cpu, rtol=1e-9, atol=1e-9)
    hard = render(vertices, faces, colours, CAMERA, 24, 24, backend="torch", smooth=False)
    assert not torch.equal(other, hard)


def test_gradients_are_the_finite_differences():
    vertices, faces, colours = bumpy_sphere()
    weights = torch.randn(2, 32, 32, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    direction = torch.randn(vertices.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(positions: Tensor) -> Tensor:
        return (render(positions, faces, colours, CAMERA, 32, 32, backend="torch") * weights).sum()

    analytic, numeric = slope(loss, vertices, direction, 1e-8)
    assert analytic == pytest.approx(numeric, rel=1e-4)


def test_texture_supersampling_and_own_colours_equal_the_cpu_backend():
    vertices, faces, colours = bumpy_sphere()
    options = {"texture": lambda values: values[..., :1] ** 2, "supersample": 2, "background": (0.3,)}
    own = torch.stack([colours, 1 - colours])
    cpu, other = (render(vertices, faces, own, CAMERA, 16, 20, backend=name, **options) for name in ("cpu", "torch"))
    torch.testing.assert_close(other, cpu, rtol=1e-9, atol=1e-9)


def test_one_pixel_and_nothing_to_see():
    vertices, faces, colours = bumpy_sphere()
    for height, width in ((1, 1), (1, 5), (5, 1)):
        cpu, other = (
            render(vertices, faces, colours, CAMERA, height, width, backend=name) for name in ("cpu", "torch")
        )
        torch.testing.assert_close(other, cpu, rtol=1e-9, atol=1e-9)
    away = (vertices + 50).requires_grad_()
    image = render(away, faces, colours, CAMERA, 8, 8, background=(0.1, 0.2, 0.3), backend="torch")
    assert torch.equal(image.detach(), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).expand(2, 8, 8, 3))
    image.sum().backward()
    assert torch.equal(away.grad, torch.zeros_like(away))


def test_many_frames_are_searched_in_parts(monkeypatch):
    screen, faces = triangle_soup(30, seed=1, size=12)
    screen = torch.cat([screen + torch.tensor([i / 7, 0, 0]) for i in range(5)])
    triangles = torch.from_numpy(faces).long()
    whole = visible_faces(screen, triangles, 12, 12, True)
    monkeypatch.setattr("learn2talk_core.render.torch_backend.MOST_TESTS", 2 * 30 * 144)
    parts = visible_faces(screen, triangles, 12, 12, True)
    assert MOST_TESTS > 5 * 30 * 144
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_the_searches_compile_as_one_graph_each(monkeypatch):
    """As on CUDA, with any sizes, but without Triton: torch traces and then calls its own operations."""

    def compiled(search, **options):
        return torch.compile(search, backend="aot_eager", fullgraph=True, dynamic=True)

    fast = cache(lambda _, search, plain: compiled(search))
    pictures = []
    for searcher in (torch_backend._searcher, fast):
        monkeypatch.setattr(torch_backend, "_searcher", searcher)
        for size in (12, 16):
            vertices, faces, colours = bumpy_sphere(torch.float32)
            vertices.requires_grad_()
            image = render(vertices, faces, colours, CAMERA, size, size + 2, backend="torch")
            image.square().sum().backward()
            pictures += [image.detach(), vertices.grad]
    for plain, other in zip(pictures[:4], pictures[4:], strict=True):
        torch.testing.assert_close(other, plain, rtol=1e-6, atol=1e-7)


def test_a_machine_that_cannot_compile_still_renders(monkeypatch, caplog):
    def broken(search, **options):
        def call(*given):
            raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\nMore")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    search = torch_backend._searcher.__wrapped__("cuda", lambda x: x, lambda x: x + 1)
    assert [search(1), search(2)] == [2, 3]
    assert caplog.messages == [
        "rendering is not compiled, and slow: Failed to find C compiler. Please specify via CC environment variable."
    ]
    wrong = torch_backend._searcher.__wrapped__("cuda", lambda x: x, broken(None))
    with pytest.raises(RuntimeError, match="Failed to find"):
        wrong(1)
    with pytest.raises(RuntimeError, match="Failed to find"):
        wrong(1)


def test_memory_that_is_not_enough_is_no_reason_to_try_what_needs_more(monkeypatch):
    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda search, **options: full)
    with pytest.raises(torch.OutOfMemoryError):
        torch_backend._searcher.__wrapped__("cuda", full, lambda: None)()
