import pytest
import torch

from learn2talk_core.avatar.binding import take, triangle_frames
from learn2talk_core.avatar.density import Pull, densify, prune, turned
from learn2talk_core.run.errors import BadInput
from tests.avatar.scene import octahedron, some_splats


def frames():
    vertices, faces = octahedron()
    return triangle_frames(torch.from_numpy(vertices), torch.from_numpy(faces).long())


def test_small_splats_are_cloned_and_large_ones_split_in_the_triangles_frame():
    torch.manual_seed(0)
    splats = some_splats(400, 8)
    scale = torch.tensor([0.02, 0.01, 0.005]).log().repeat(400, 1)
    scale[200:] = torch.tensor([1.5, 0.1, 0.02]).log()  # in sizes of triangles of 13 cm
    splats = splats._replace(scale=scale, position=torch.zeros(400, 3))
    pull = torch.where(torch.arange(400) % 2 == 0, 1e-3, 1e-5)
    grown, past = densify(splats, frames(), pull, threshold=2e-4, extent=5.0, most=10_000)
    assert len(grown.position) == 400 + 100 + 100  # each split adds one: two halves for one splat
    assert set(torch.unique(past).tolist()) == {-1, *(n for n in range(400) if n < 200 or n % 2)}
    old = past >= 0
    for a, b in zip(take(grown, old), take(splats, past[old]), strict=True):
        assert torch.equal(a, b)
    new = take(grown, ~old)
    clones, halves = take(new, torch.arange(100)), take(new, torch.arange(100, 300))
    assert torch.equal(clones.triangle, torch.arange(0, 200, 2) % 8)
    assert torch.equal(halves.triangle, torch.arange(200, 400, 2).repeat(2) % 8)
    torch.testing.assert_close(halves.scale.exp(), scale[200].exp().repeat(200, 1) / 1.6)
    # the halves lie as the splat's own Gaussian does, along its own axes
    back = torch.nn.functional.normalize(halves.rotation, dim=1) * torch.tensor([1.0, -1, -1, -1])
    torch.testing.assert_close(turned(back, halves.position).std(0), scale[200].exp(), rtol=0.2, atol=0)


def test_the_limit_takes_the_most_pulled_first():
    splats = some_splats(50, 8)
    pull = torch.linspace(0, 1, 50)
    grown, past = densify(splats, frames(), pull, threshold=1e-4, extent=1e6, most=53)
    assert len(grown.position) == 53
    assert torch.equal(take(grown, past < 0).position, splats.position[[49, 48, 47]])


def test_protected_triangles_keep_their_most_opaque_splat():
    splats = some_splats(40, 8)
    splats = splats._replace(opacity=torch.linspace(-9, -6, 40))  # all nearly transparent
    protected = torch.arange(8) < 3
    stays = prune(splats, frames(), protected, least=0.005, extent=1.0, large=False)
    assert stays.nonzero()[:, 0].tolist() == [32, 33, 34]  # the last ones of triangles 0, 1, 2
    opaque = splats._replace(opacity=torch.full((40,), 2.0))
    assert prune(opaque, frames(), protected, least=0.005, extent=1.0, large=False).all()
    huge = opaque._replace(scale=torch.full((40, 3), 2.0))
    assert prune(huge, frames(), protected, least=0.005, extent=1.0, large=True).sum() == 15  # ties stay: 3 triangles


def test_zero_splats_left_is_an_error():
    splats = some_splats(10, 8)._replace(opacity=torch.full((10,), -20.0))
    with pytest.raises(BadInput, match="found zero splats left"):
        prune(splats, frames(), torch.zeros(8, dtype=torch.bool), least=0.005, extent=1.0, large=False)


def test_pull_is_a_mean_over_the_pictures_weighted_by_the_pull():
    """Pictures in which the splat is hidden, or that it lies outside of, do not lower it."""
    pull = Pull.none(3)
    for hidden in range(4):
        shift = torch.tensor([[3.0, 4.0], [1.0, 0.0], [9.0, 9.0]]) if hidden == 0 else torch.zeros(3, 2)
        pull.add(shift, torch.tensor([True, True, False]), width=4)
    assert pull.mean.tolist() == [10.0, 2.0, 0.0]
    pull.add(torch.tensor([[0.0, 2.5], [1.0, 0.0], [9.0, 9.0]]), torch.tensor([True, False, False]), width=4)
    assert pull.mean.tolist() == pytest.approx([(10.0**2 + 5.0**2) / 15.0, 2.0, 0.0])
