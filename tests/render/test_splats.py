"""The compiled splat renderer against a slow one in torch, finite differences and closed forms."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch import Tensor

from learn2talk_core.render.camera import Camera, project
from learn2talk_core.render.pinhole import Pinhole, orbiting, pinhole
from learn2talk_core.render.splats import (
    DILATION,
    FLAT,
    LEAST_LIGHT,
    LEAST_OPAQUE,
    MARGIN,
    MOST_OPAQUE,
    NEAR,
    REACH,
    Splats,
    _numbers,
    _project,
    _project_backward,
    draw_splats,
    spherical_harmonics,
)
from learn2talk_core.run.errors import BadInput

CAMERA = Camera(target=(0.02, -0.03, 0.05), extent=1.6, distance=3.0)
VIEW = orbiting(CAMERA, 37, 44, yaw=0.3, pitch=-0.2)
BACKGROUND = (0.9, 0.2, 0.5)


def cloud(count: int, seed: int, dtype: torch.dtype = torch.float64, spread: float = 0.6) -> Splats:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    splats = Splats(
        position=spread * normal(count, 3),
        scale=(0.7 * normal(count, 3) - 2.9).exp(),
        rotation=normal(count, 4),
        opacity=torch.sigmoid(2 * normal(count) + 1),
        colour=torch.rand(count, 3, generator=draw, dtype=torch.float64),
    )
    return Splats(*(part.to(dtype) for part in splats))


def slow(splats: Splats, view: Pinhole, background: tuple[float, ...], shift: Tensor | float = 0.0) -> Tensor:
    """The definition in the module's docstring, splat by splat over the whole image, with torch's own gradient."""
    turn, offset = torch.from_numpy(view.rotation), torch.from_numpy(view.translation)
    x, y, z = (splats.position @ turn.T + offset).unbind(-1)
    (fx, fy), (cx, cy) = view.focal, view.centre
    centre = torch.stack([fx * x / z + cx, fy * y / z + cy], -1) + shift
    u = (x / z).clamp((-MARGIN * view.width - cx) / fx, ((1 + MARGIN) * view.width - cx) / fx)
    v = (y / z).clamp((-MARGIN * view.height - cy) / fy, ((1 + MARGIN) * view.height - cy) / fy)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], -1).unflatten(-1, (2, 3))
    w, i, j, k = (splats.rotation / splats.rotation.norm(dim=-1, keepdim=True)).unbind(-1)
    cross = torch.stack([zero, -k, j, k, zero, -i, -j, i, zero], -1).unflatten(-1, (3, 3))  # [q]ₓ
    own = torch.eye(3, dtype=z.dtype) + 2 * w[:, None, None] * cross + 2 * cross @ cross  # Rodrigues
    covariance = own @ torch.diag_embed(splats.scale**2) @ own.mT
    flat = jacobian @ turn @ covariance @ turn.T @ jacobian.mT + DILATION * torch.eye(2, dtype=z.dtype)
    inverse = torch.linalg.inv(flat)
    rows, columns = torch.meshgrid(torch.arange(view.height) + 0.5, torch.arange(view.width) + 0.5, indexing="ij")
    pixels = torch.stack([columns, rows], -1).to(z.dtype)
    light, image, shut = torch.ones_like(pixels[..., 0]), torch.zeros(*pixels.shape[:2], 3, dtype=z.dtype), None
    for n in torch.argsort(z).tolist():
        if z[n] <= NEAR:
            continue
        d = pixels - centre[n]
        distance = torch.einsum("hwi,ij,hwj->hw", d, inverse[n], d)
        raw = splats.opacity[n] * torch.exp(-0.5 * distance)
        alpha = torch.where((distance <= REACH) & (raw >= LEAST_OPAQUE), raw.clamp_max(MOST_OPAQUE), 0)
        rest = light * (1 - alpha)
        ends = (rest < LEAST_LIGHT) & (alpha > 0)
        shut = ends if shut is None else shut | ends
        alpha = torch.where(shut, 0, alpha)
        image = image + (light * alpha)[..., None] * splats.colour[n]
        light = light * (1 - alpha)
    return image + light[..., None] * torch.tensor(background, dtype=z.dtype)


@pytest.mark.parametrize(("count", "spread"), [(1, 0.0), (60, 0.5), (400, 0.15)])
def test_image_and_gradients_equal_the_slow_twin(count, spread):
    ours, theirs = ([part.clone().requires_grad_() for part in cloud(count, 5, spread=spread)] for _ in range(2))
    shift, other = (torch.zeros(count, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    drawn = draw_splats(Splats(*ours), VIEW, BACKGROUND, shift=shift)
    expected = slow(Splats(*theirs), VIEW, BACKGROUND, other)
    assert drawn.visible.double().mean() > 0.7
    torch.testing.assert_close(drawn.image, expected, atol=1e-12, rtol=0)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (drawn.image * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, a, b in zip((*Splats._fields, "shift"), (*ours, shift), (*theirs, other), strict=True):
        assert b.grad.abs().max() > 1e-3
        torch.testing.assert_close(a.grad, b.grad, atol=1e-9, rtol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


def test_dense_clouds_stop_and_cap_as_the_twin():
    """Opaque layers: the transmittance limit and the cap on α both act."""
    splats = cloud(300, 8, spread=0.1)._replace(opacity=torch.full((300,), 0.999, dtype=torch.float64))
    drawn = draw_splats(splats, VIEW, BACKGROUND)
    torch.testing.assert_close(drawn.image, slow(splats, VIEW, BACKGROUND), atol=1e-12, rtol=0)
    assert LEAST_LIGHT <= drawn.light.min() < 100 * LEAST_LIGHT


@pytest.mark.parametrize("part", Splats._fields)
def test_gradients_equal_finite_differences(part):
    splats = cloud(12, 3, spread=0.3)._replace(opacity=torch.linspace(0.3, 0.8, 12, dtype=torch.float64))
    weights = torch.randn(VIEW.height, VIEW.width, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def loss(values: Tensor) -> Tensor:
        return (draw_splats(splats._replace(**{part: values}), VIEW, BACKGROUND).image * weights).sum()

    values = getattr(splats, part).clone().requires_grad_()
    loss(values).backward()
    # a step moves rims (of height α ≥ exp(−9/2) o or 1/255) over few pixels, so compare along many directions at once
    errors, sizes = [], []
    for seed in range(12):
        direction = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ahead, behind = (loss(values.detach() + step * direction) for step in (1e-7, -1e-7))
        errors.append(float((ahead - behind) / 2e-7 - (values.grad * direction).sum()))
        sizes.append(float((values.grad * direction).sum()))
    assert np.median(np.abs(errors)) < 1e-4 * np.median(np.abs(sizes))


def test_one_splat_in_closed_form():
    """A round splat in front of a camera on its axis: a Gaussian of variance (f σ / z)² + 0.3."""
    view = pinhole(Camera(target=(0, 0, 0), extent=1.0, distance=2.0), 21, 21)
    numbers = ([[0.0, 0, 0]], [[0.1, 0.1, 0.1]], [[2.0, 0, 0, 0]], [0.6], [[1.0, 1, 1]])
    splats = Splats(*(torch.tensor(some, dtype=torch.float64) for some in numbers))
    image = draw_splats(splats, view, (0.0, 0.0, 0.0)).image
    variance = (42 * 0.1 / 2) ** 2 + 0.3
    row, column = np.mgrid[:21, :21] - 10
    distance = (row**2 + column**2) / variance
    expected = np.where(distance <= 9, 0.6 * np.exp(-distance / 2), 0)
    np.testing.assert_allclose(image[..., 1], np.where(expected >= 1 / 255, expected, 0), atol=1e-12)


def test_float32_is_close_to_float64_and_threads_change_nothing(monkeypatch):
    exact, single = (cloud(500, 4, dtype, spread=0.4) for dtype in (torch.float64, torch.float32))
    image = draw_splats(single, VIEW, BACKGROUND).image
    assert image.dtype == torch.float32
    assert (image - draw_splats(exact, VIEW, BACKGROUND).image).abs().mean() < 1e-5
    parts = [part.requires_grad_() for part in single]
    gradients = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", threads)
        again = draw_splats(Splats(*parts), VIEW, BACKGROUND).image
        assert torch.equal(again, image)
        gradients.append(torch.autograd.grad(again.square().sum(), parts))
    for other in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], other, strict=True))


def test_splats_behind_the_camera_or_outside_have_no_effect():
    splats = cloud(40, 6)
    behind = cloud(3, 7)._replace(position=torch.from_numpy(VIEW.position + 0.5 * -VIEW.rotation[2]).repeat(3, 1))
    far = cloud(3, 7)._replace(position=torch.from_numpy(50 * VIEW.rotation[0]).repeat(3, 1))
    both = Splats(*(torch.cat(parts) for parts in zip(splats, behind, far, strict=True)))
    drawn = draw_splats(both, VIEW, BACKGROUND)
    assert not drawn.visible[40:].any()
    assert torch.equal(drawn.image, draw_splats(splats, VIEW, BACKGROUND).image)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_equal_scipy(degree):
    rng = np.random.default_rng(degree)
    direction = rng.normal(size=(50, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    polar, azimuth = np.arccos(direction[:, 2]), np.arctan2(direction[:, 1], direction[:, 0])
    basis = []
    for order in range(degree + 1):
        for m in range(-order, order + 1):
            value = sph_harm_y(order, abs(m), polar, azimuth)  # with the Condon–Shortley sign
            scale = 1 if m == 0 else np.sqrt(2)
            basis.append(scale * (value.imag if m < 0 else value.real))
    coefficients = 0.2 * rng.normal(size=(50, (degree + 1) ** 2, 3))
    expected = np.maximum(0.5 + np.einsum("kn,nkc->nc", np.array(basis), coefficients), 0)
    found = spherical_harmonics(torch.from_numpy(coefficients), torch.from_numpy(direction))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_pinhole_equals_the_mesh_camera():
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 3
    for camera in (CAMERA, replace(CAMERA, yaw=0.7)):
        view = pinhole(camera, 60, 80)
        local = points.numpy() @ view.rotation.T + view.translation
        pixels = local[:, :2] / local[:, 2:] * view.focal + view.centre
        expected = project(camera, points, 60, 80).numpy()
        np.testing.assert_allclose(np.concatenate([pixels, local[:, 2:]], 1), expected, atol=1e-9)
    assert orbiting(CAMERA, 60, 80, 0.0, pitch=0.5).position[1] > CAMERA.target[1]  # upwards
    target = orbiting(CAMERA, 60, 80, 0.4, pitch=0.5)
    np.testing.assert_allclose(target.rotation @ CAMERA.target + target.translation, [0, 0, 3], atol=1e-12)
    with pytest.raises(ValueError, match="expected perspective"):
        pinhole(replace(CAMERA, perspective=False), 60, 80)


def test_bad_splats_are_refused():
    splats = cloud(3, 0)
    with pytest.raises(BadInput, match="expected at least one splat, found none"):
        draw_splats(Splats(*(part[:0] for part in splats)), VIEW, BACKGROUND)
    with pytest.raises(BadInput, match="NaN or infinity in scale"):
        draw_splats(splats._replace(scale=splats.scale * float("nan")), VIEW, BACKGROUND)
    with pytest.raises(ValueError, match="splats: expected"):
        draw_splats(splats._replace(opacity=splats.opacity[:2]), VIEW, BACKGROUND)
    with pytest.raises(ValueError, match="backend: expected cpu or gsplat"):
        draw_splats(splats, VIEW, BACKGROUND, backend="metal")


def test_gsplat_is_only_needed_when_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(BadInput, match="the package gsplat"):
        draw_splats(cloud(3, 0), VIEW, BACKGROUND, backend="gsplat")
    stand_in = ModuleType("gsplat")
    stand_in.rasterization = None
    monkeypatch.setitem(sys.modules, "gsplat", stand_in)
    with pytest.raises(BadInput, match="tensors on a CUDA device for gsplat, found cpu"):
        draw_splats(cloud(3, 0), VIEW, BACKGROUND, backend="gsplat")
    broken = cloud(3, 0)._replace(opacity=torch.full((3,), torch.nan, dtype=torch.float64))
    with pytest.raises(BadInput, match="NaN or infinity in opacity"):
        draw_splats(broken, VIEW, BACKGROUND, backend="gsplat")


def rasterization(
    means, quats, scales, opacities, colors, viewmats, Ks, width, height, *, near_plane, backgrounds, packed
):
    """A stand-in with gsplat's arguments and results, drawn by the slow twin."""
    assert (near_plane, packed) == (NEAR, False)
    (fx, _, cx), (_, fy, cy), _ = Ks[0].tolist()
    view = Pinhole(viewmats[0, :3, :3].numpy(), viewmats[0, :3, 3].numpy(), (fx, fy), (cx, cy), height, width)
    splats = Splats(means, scales, quats, opacities, colors)
    image = slow(splats, view, backgrounds[0].tolist())
    light = slow(splats._replace(colour=torch.zeros_like(colors)), view, (1.0, 1.0, 1.0))
    radii = torch.tensor([[[3, 3]] * (len(means) - 1) + [[0, 3]]])
    return image[None], 1 - light[None, ..., :1], {"radii": radii}


def test_gsplat_gets_camera_splats_and_shift(monkeypatch):
    """All but CUDA itself: picture, gradients and the shift's gradient are those of our own renderer."""
    stand_in = ModuleType("gsplat")
    stand_in.rasterization = rasterization
    monkeypatch.setitem(sys.modules, "gsplat", stand_in)
    monkeypatch.setattr("learn2talk_core.render.gsplat_backend._demand_cuda", lambda position: None)
    results = []
    for backend in ("cpu", "gsplat"):
        parts = [part.clone().requires_grad_() for part in cloud(30, 2, spread=0.3)]
        shift = torch.zeros(30, 2, dtype=torch.float64, requires_grad=True)
        drawn = draw_splats(Splats(*parts), VIEW, BACKGROUND, shift=shift, backend=backend)
        drawn.image.square().sum().backward()
        results.append((drawn, [part.grad for part in parts], shift.grad))
    (ours, gradients, moved), (theirs, others, moved_too) = results
    torch.testing.assert_close(ours.image, theirs.image)
    torch.testing.assert_close(ours.light, theirs.light)
    assert theirs.visible.tolist() == [True] * 29 + [False]
    for a, b in zip(gradients, others, strict=True):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-6)
    # the backend shifts centres in the world, which also changes J a little
    assert torch.nn.functional.cosine_similarity(moved.flatten(), moved_too.flatten(), dim=0) > 0.99


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gsplat_draws_the_same_picture_on_a_gpu():
    pytest.importorskip("gsplat", reason="gsplat is not installed")
    splats = cloud(400, 5, torch.float32, spread=0.3)
    pictures = []
    for device, backend in (("cpu", "cpu"), ("cuda", "gsplat")):
        parts = [part.to(device).requires_grad_() for part in splats]
        image = draw_splats(Splats(*parts), VIEW, BACKGROUND, backend=backend).image
        pictures.append((image.detach().cpu(), torch.autograd.grad(image.square().mean(), parts)))
    (ours, gradients), (theirs, others) = pictures
    assert (ours - theirs).abs().mean() < 2e-3  # gsplat ends a splat at the rim of a tile
    for a, b in zip(gradients, others, strict=True):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.cpu().flatten(), dim=0) > 0.98


def test_projection_and_its_gradient_equal_gsplat():
    """gsplat 1.5.3's own numbers (tests/golden/splats)."""
    with np.load(Path(__file__).parents[1] / "golden" / "splats" / "gsplat_projection.npz") as stored:
        golden = dict(stored)
    fx, fy, cx, cy, width, height = golden["lens"].tolist()
    view = Pinhole(golden["turn"], golden["move"], (fx, fy), (cx, cy), int(height), int(width))
    count = len(golden["position"])
    parts = [golden[name] for name in ("position", "scale", "rotation")]
    flat, depth = np.empty((count, FLAT)), np.empty(count, np.float32)
    _project(0, count, *parts, np.ones(count), np.ones((count, 3)), np.zeros((count, 2)), *_numbers(view), flat, depth)
    seen = depth < np.inf
    assert 30 < seen.sum() < count  # some are outside the image
    np.testing.assert_allclose(flat[seen, :2], golden["centre"][seen], rtol=1e-9)
    np.testing.assert_allclose(flat[seen, 2:5], golden["inverse"][seen], rtol=1e-6)
    np.testing.assert_allclose(depth[seen], golden["depth"][seen], rtol=1e-6)
    # the kernel takes Σ h (dx, dy, dx², dx dy, dy²): sums that are the gradients of centre and inverse covariance
    flat[~seen] = 1, 1, 2, 1, 2, *np.ones(FLAT - 5)
    a, b, c = flat[:, 2], flat[:, 3], flat[:, 4]
    mx, my = golden["to_centre"].T
    sums = np.zeros((count, 9))
    area = a * c - b * b
    sums[:, 0], sums[:, 1] = -(c * mx - b * my) / (2 * area), -(a * my - b * mx) / (2 * area)
    sums[:, 2:5] = golden["to_inverse"] * [1, 0.5, 1]
    sums[~seen] = 0
    results = [np.zeros((count, size)) for size in (3, 3, 4)]
    rest = [np.zeros(count), np.zeros((count, 3)), np.zeros((count, 2))]
    _project_backward(0, count, sums, flat, *parts, *_numbers(view), *results, *rest)
    for name, found in zip(("to_position", "to_scale", "to_rotation"), results, strict=True):
        np.testing.assert_allclose(found[seen], golden[name][seen], rtol=1e-5, atol=1e-8, err_msg=name)
