import numpy as np
import pytest
import torch
from torch import Tensor

from learn2talk_core.render.antialias import antialias, neighbouring_faces
from learn2talk_core.render.rasterise import rasterise
from tests.render.meshes import bumpy_sphere, rectangle, slope


def coverage(screen: Tensor, faces: np.ndarray, size: int, smooth: bool = True) -> Tensor:
    """(N, size, size) a white mesh on black."""
    fragments = rasterise(screen, faces, size, size)
    image = (fragments.pix_to_face >= 0)[..., None].to(screen.dtype)
    return (antialias(image, screen, faces, fragments) if smooth else image)[..., 0]


@pytest.mark.parametrize("strips", [1, 40])
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.48, 0.51, 0.99])
def test_upright_edges_cover_exactly_the_area_that_they_cover(strips, shift):
    left, right, top, bottom = 2 + shift, 7.3 + shift, 3.4 + shift, 8 + shift
    screen, faces = rectangle(left, right, top, bottom, strips)
    pixels = torch.arange(12, dtype=torch.float64)
    across = ((pixels + 1).clamp_max(right) - pixels.clamp_min(left)).clamp(0, 1)
    down = ((pixels + 1).clamp_max(bottom) - pixels.clamp_min(top)).clamp(0, 1)
    # two silhouettes meet in each corner pixel, and each is treated as a straight cut through the whole pixel
    away_from_corners = ~(((down > 0) & (down < 1))[:, None] & ((across > 0) & (across < 1)))
    error = (coverage(screen, faces, 12)[0] - down[:, None] * across).abs()
    assert error[away_from_corners].max() < 1e-12
    assert error.max() < 0.5


@pytest.mark.parametrize("degrees", [10, 30, 44, 60, 80])
def test_slanted_edges_cover_nearly_the_area_that_they_cover(degrees):
    screen, faces = rectangle(-6, 6, -6, 6)
    angle = np.deg2rad(degrees)
    turn = torch.tensor([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    screen = screen @ turn.T + torch.tensor([12.3, 11.9, 0])
    exact = coverage(screen * torch.tensor([16, 16, 1]), faces, 24 * 16, smooth=False)
    exact = exact.unflatten(2, (24, 16)).unflatten(1, (24, 16)).mean(dim=(2, 4))
    smooth_error = (coverage(screen, faces, 24) - exact).abs()
    hard_error = (coverage(screen, faces, 24, smooth=False) - exact).abs()
    assert smooth_error.sum() < 0.3 * hard_error.sum()
    assert abs(coverage(screen, faces, 24).sum() - 144) < 0.5


def test_triangles_smaller_than_a_pixel_do_not_matter():
    whole = coverage(*rectangle(2.31, 9.83, 3.1, 7.6, strips=1), 12)
    for strips in (7, 30, 100):
        torch.testing.assert_close(coverage(*rectangle(2.31, 9.83, 3.1, 7.6, strips), 12), whole)


def test_inside_of_a_surface_is_left_alone():
    screen, faces = rectangle(-1, 13, -1, 13, strips=9)
    fragments = rasterise(screen, faces, 12, 12)
    image = torch.rand(1, 12, 12, 3, dtype=torch.float64)
    assert torch.equal(antialias(image, screen, faces, fragments), image)


def test_nearer_surface_keeps_its_edge_over_a_farther_one():
    near, faces = rectangle(3.3, 8.3, -1, 13)
    far = rectangle(-1, 13, -1, 13)[0] * torch.tensor([1, 1, 2.0])
    screen, faces = torch.cat([far, near], dim=1), np.concatenate([faces, faces + 4])
    fragments = rasterise(screen, faces, 12, 12)
    image = torch.where(fragments.depth < 1.5, 1.0, 0.25)[..., None].double()
    row = antialias(image, screen, faces, fragments)[0, 5, :, 0]
    share = torch.tensor([0, 0, 0, 0.7, 1, 1, 1, 1, 0.3, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(row, 0.25 + 0.75 * share)


def test_results_are_means_of_colours():
    rng = torch.Generator().manual_seed(0)
    screen = torch.rand(4, 60, 3, dtype=torch.float64, generator=rng) * torch.tensor([16, 16, 1]) + torch.tensor(
        [0, 0, 1.0]
    )
    faces = torch.randint(0, 60, (100, 3), generator=rng).numpy().astype(np.int32)  # crossing, shared, degenerate
    fragments = rasterise(screen, faces, 16, 16)
    image = torch.rand(4, 16, 16, 3, dtype=torch.float64, generator=rng)
    smooth = antialias(image, screen, faces, fragments)
    assert not torch.equal(smooth, image)
    assert smooth.min() >= image.min()
    assert smooth.max() <= image.max()
    torch.testing.assert_close(antialias(torch.ones_like(image), screen, faces, fragments), torch.ones_like(image))


def test_gradients_are_the_finite_differences():
    sphere, faces, _ = bumpy_sphere()
    screen = sphere * 20 + torch.tensor([16.2, 15.7, 40.0])
    faces = np.ascontiguousarray(faces[:, ::-1])  # y points down here
    rng = torch.Generator().manual_seed(0)
    fragments = rasterise(screen, faces, 32, 32)
    image = torch.rand(2, 32, 32, 3, dtype=torch.float64, generator=rng)
    weights = torch.randn(image.shape, dtype=torch.float64, generator=rng)

    def loss(colours: Tensor, position: Tensor) -> Tensor:
        return (antialias(colours, position, faces, fragments) * weights).sum()

    for _ in range(5):
        direction = torch.randn(screen.shape, dtype=torch.float64, generator=rng)
        analytic, numeric = slope(lambda position: loss(image, position), screen, direction, 1e-6)
        assert abs(analytic) > 0.1
        assert analytic == pytest.approx(numeric, rel=1e-5)
        direction = torch.randn(image.shape, dtype=torch.float64, generator=rng)
        analytic, numeric = slope(lambda colours: loss(colours, screen), image, direction, 1e-3)
        assert analytic == pytest.approx(numeric, rel=1e-8)


def test_area_grows_with_the_gradient_of_the_area():
    screen, faces = rectangle(2.3, 9.8, 3.1, 7.6)
    screen.requires_grad_()
    coverage(screen, faces, 12).sum().backward()
    height, width = 7.6 - 3.1, 9.8 - 2.3
    to_x, to_y = screen.grad[0, :, 0], screen.grad[0, :, 1]
    assert float(to_x[[1, 3]].sum()) == pytest.approx(height, rel=0.15)  # the right side moves right
    assert float(to_y[[2, 3]].sum()) == pytest.approx(width, rel=0.15)  # the bottom moves down
    assert float(to_x.sum()) == pytest.approx(0, abs=1e-9)


def test_neighbours_equal_a_search_through_all_edges():
    _, faces, _ = bumpy_sphere()
    faces = faces[:300]  # with a border
    owner = {(int(f[k]), int(f[(k + 1) % 3])): number for number, f in enumerate(faces) for k in range(3)}
    expected = [[owner.get((int(f[(k + 1) % 3]), int(f[k])), -1) for k in range(3)] for f in faces]
    assert neighbouring_faces(faces).tolist() == expected
    assert neighbouring_faces(faces[:0]).shape == (0, 3)
