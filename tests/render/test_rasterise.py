import numpy as np
import pytest
import torch

from learn2talk_core.render.rasterise import interpolate, rasterise
from tests.render.meshes import GOLDEN, barycentrics, rectangle, slope, triangle_soup


@pytest.mark.parametrize("size", [32, 88])
@pytest.mark.parametrize(("name", "perspective"), [("affine", False), ("pc", True)])
def test_fragments_image_and_gradient_equal_pytorch3d(size, name, perspective):
    golden = np.load(GOLDEN / f"sphere_{size}.npz")
    vertices = torch.tensor(golden["verts"], requires_grad=True)  # pytorch3d's screen: +1 is left, +1 is top
    screen = torch.stack([(1 - vertices[..., 0]) * size / 2, (1 - vertices[..., 1]) * size / 2, vertices[..., 2]], -1)
    faces = golden["faces"]
    found = rasterise(screen, faces, size, size, perspective=perspective, cull=False)
    np.testing.assert_array_equal(found.pix_to_face, golden[f"{name}_pix_to_face"])
    seen = golden[f"{name}_pix_to_face"] >= 0
    # pytorch3d works in float32 and adds 1e-8 to the area of a triangle, which affects slivers
    weights = barycentrics(screen, faces, found.pix_to_face, perspective).detach()
    np.testing.assert_allclose(weights[seen], golden[f"{name}_bary"][seen], atol=2e-4)
    np.testing.assert_allclose(found.depth[seen], golden[f"{name}_zbuf"][seen], atol=5e-4)
    assert (weights[~seen] == 0).all()
    assert torch.isinf(found.depth[~torch.from_numpy(seen)]).all()
    colours = torch.tensor(golden["colour"]).expand(2, -1, -1)
    image = interpolate(colours, screen, faces, found.pix_to_face, perspective=perspective)
    np.testing.assert_allclose(image.detach(), golden[f"{name}_image"], atol=2e-4)
    weights = np.random.Generator(np.random.PCG64(7)).standard_normal(image.shape).astype(np.float32)
    (image * torch.from_numpy(weights)).sum().backward()
    expected = golden[f"{name}_grad_verts"]
    error = np.linalg.norm(vertices.grad.numpy() - expected) / np.linalg.norm(expected)
    assert error < (1e-4 if perspective else 4e-3)


def by_hand(
    screen: np.ndarray, faces: np.ndarray, size: int, perspective: bool, cull: bool
) -> tuple[torch.Tensor, ...]:
    """Triangle, barycentrics and depth, from three equations that are solved at every pixel for every triangle."""
    pix_to_face, weights_seen = np.full((size, size), -1), np.zeros((size, size, 3))
    depth = np.full((size, size), np.inf)
    for row, column in np.ndindex(size, size):
        for face, corners in enumerate(screen[faces]):
            system = np.stack([corners[:, 0], corners[:, 1], np.ones(3)])
            if cull and np.linalg.det(system) > 0:
                continue
            weights = np.linalg.solve(system, [column + 0.5, row + 0.5, 1.0])
            if weights.min() < 0:
                continue
            if perspective:
                weights = weights / corners[:, 2] / (weights / corners[:, 2]).sum()
            z = weights @ corners[:, 2]
            if z < depth[row, column]:
                pix_to_face[row, column], weights_seen[row, column], depth[row, column] = face, weights, z
    return torch.tensor(pix_to_face)[None], torch.tensor(weights_seen)[None], torch.tensor(depth)[None]


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("cull", [True, False])
def test_fragments_equal_a_naive_rasteriser(perspective, cull):
    screen, faces = triangle_soup(25, seed=3, size=14)
    found = rasterise(screen, faces, 14, 14, perspective=perspective, cull=cull)
    pix_to_face, weights, depth = by_hand(screen[0].numpy(), faces, 14, perspective, cull)
    assert 0.2 < (pix_to_face >= 0).double().mean() < 1
    torch.testing.assert_close(found.pix_to_face.long(), pix_to_face)
    torch.testing.assert_close(barycentrics(screen, faces, found.pix_to_face, perspective), weights)
    torch.testing.assert_close(found.depth, depth)


@pytest.mark.parametrize("perspective", [True, False])
def test_gradients_are_the_finite_differences(perspective):
    screen, faces = triangle_soup(8, seed=5, size=16)
    rng = torch.Generator().manual_seed(0)
    attributes = torch.randn(1, screen.shape[1], 4, dtype=torch.float64, generator=rng)
    weights = torch.randn(1, 16, 16, 4, dtype=torch.float64, generator=rng)

    def loss(position: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        fragments = rasterise(position, faces, 16, 16, perspective=perspective, cull=False)
        image = interpolate(values, position, faces, fragments.pix_to_face, perspective=perspective)
        return (image * weights).sum()

    for _ in range(5):
        direction = torch.randn(screen.shape, dtype=torch.float64, generator=rng)
        analytic, numeric = slope(lambda position: loss(position, attributes), screen, direction, 1e-6)
        assert analytic == pytest.approx(numeric, rel=1e-5)
        direction = torch.randn(attributes.shape, dtype=torch.float64, generator=rng)
        analytic, numeric = slope(lambda values: loss(screen, values), attributes, direction, 1e-3)
        assert analytic == pytest.approx(numeric, rel=1e-8)


def test_no_pixel_falls_between_two_triangles():
    screen, faces = rectangle(0.5, 15.5, 0.5, 15.5, strips=23)  # borders and many edges run through pixel centres
    inner = (screen[0, :, 0] > 1) & (screen[0, :, 0] < 15)
    screen[0, inner, 0] = (screen[0, inner, 0] * 2).round() / 2
    found = rasterise(screen.float(), faces, 16, 16)
    assert (found.pix_to_face >= 0).all()


def test_nearer_triangle_wins_whatever_the_order():
    screen, faces = rectangle(0, 4, 0, 4)
    both = torch.cat([screen, screen * torch.tensor([1, 1, 2.0])], dim=1)
    for order in (np.concatenate([faces, faces + 4]), np.concatenate([faces + 4, faces])):
        assert (rasterise(both, order, 4, 4).depth == 1).all()


def test_seen_from_behind_is_drawn_only_without_culling():
    screen, faces = rectangle(0, 4, 0, 4)
    turned = np.ascontiguousarray(faces[:, ::-1])
    assert (rasterise(screen, turned, 4, 4).pix_to_face == -1).all()
    assert (rasterise(screen, turned, 4, 4, cull=False).pix_to_face >= 0).all()


@pytest.mark.parametrize("case", ["behind", "degenerate", "nan", "infinite", "far away", "no faces", "no frames"])
def test_nothing_to_see_gives_an_empty_image_and_no_gradient(case):
    screen, faces = rectangle(0, 4, 0, 4)
    if case == "behind":
        screen[..., 2] = -1
    elif case == "degenerate":
        screen[..., 0] = 2.5
    elif case == "nan":
        screen[..., 0] = torch.nan
    elif case == "infinite":
        screen[..., :2] *= torch.inf
    elif case == "far away":
        screen[..., 0] += 1e30
    elif case == "no faces":
        faces = faces[:0]
    elif case == "no frames":
        screen = screen[:0]
    screen.requires_grad_()
    found = rasterise(screen, faces, 4, 4)
    image = interpolate(torch.ones_like(screen), screen, faces, found.pix_to_face)
    image.sum().backward()
    assert found.pix_to_face.shape == (len(screen), 4, 4)
    assert (found.pix_to_face == -1).all()
    assert (image == 0).all()
    assert (screen.grad == 0).all()
