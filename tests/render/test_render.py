import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from learn2talk_core.render.camera import Camera
from learn2talk_core.render.render import render
from learn2talk_core.render.shading import Light
from learn2talk_core.run.errors import BadInput
from tests.render.meshes import bumpy_sphere, slope

CAMERA = Camera(target=(0.02, -0.03, 0.0), extent=1.6, distance=3.0)


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch) -> int:
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", request.param)
    return request.param


def image_and_gradients(frames: int = 5) -> list[Tensor]:
    vertices, faces, colours = bumpy_sphere(torch.float32)
    vertices = (vertices[:1] * torch.linspace(0.8, 1.2, frames)[:, None, None]).requires_grad_()
    colours.requires_grad_()
    image = render(vertices, faces, colours, CAMERA, 48, 40)
    (image * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    return [image.detach(), vertices.grad, colours.grad]


def test_picture_of_a_sphere():
    vertices, faces, colours = bumpy_sphere()
    image = render(vertices, faces, colours, CAMERA, 64, 48, background=(1.0, 0.0, 0.5))
    assert image.shape == (2, 64, 48, 3)
    assert image.min() >= 0
    assert image.max() <= 1
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([1, 0, 0.5], dtype=torch.float64).expand(2, 3))
    radius = vertices.norm(dim=-1).mean()  # pixels covered, from the size of the disc
    covered = (image != image[:, :1, :1]).any(-1).sum() / 2
    assert covered == pytest.approx(float(torch.pi * (radius / 1.6 * 64) ** 2), rel=0.15)


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_gradients_are_the_finite_differences(perspective, smooth, yaw):
    vertices, faces, colours = bumpy_sphere()
    camera = replace(CAMERA, perspective=perspective, yaw=yaw)
    light = Light(direction=(-0.3, 0.6, 1), ambient=0.3, diffuse=0.5, specular=0.2, shininess=6)
    rng = torch.Generator().manual_seed(2)
    weights = torch.randn(2, 32, 32, 3, dtype=torch.float64, generator=rng)

    def loss(positions: Tensor, albedo: Tensor) -> Tensor:
        return (render(positions, faces, albedo, camera, 32, 32, light=light, smooth=smooth) * weights).sum()

    for _ in range(4):
        direction = torch.randn(vertices.shape, dtype=torch.float64, generator=rng)
        analytic, numeric = slope(lambda positions: loss(positions, colours), vertices, direction, 1e-8)
        assert analytic == pytest.approx(numeric, rel=1e-4)
        direction = torch.randn(colours.shape, dtype=torch.float64, generator=rng)
        analytic, numeric = slope(lambda albedo: loss(vertices, albedo), colours, direction, 1e-4)
        assert analytic == pytest.approx(numeric, rel=1e-7)


def test_single_precision_gradient_is_close_to_double():
    gradients = []
    for dtype in (torch.float32, torch.float64):
        vertices, faces, colours = bumpy_sphere(dtype)
        vertices.requires_grad_()
        image = render(vertices, faces, colours, CAMERA, 40, 40)
        (image * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
        gradients.append(vertices.grad.double())
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[1].norm()


def test_image_follows_a_moving_outline_only_when_smooth():
    vertices, faces, _ = bumpy_sphere()
    black = torch.zeros(vertices.shape[1], 1, dtype=torch.float64)
    dark = Light(specular=0.0)

    def picture(shift: Tensor, smooth: bool) -> Tensor:
        return render(vertices[:1] + shift, faces, black, CAMERA, 32, 32, light=dark, background=(1.0,), smooth=smooth)

    target = picture(torch.tensor([0.03, 0, 0], dtype=torch.float64), smooth=True)
    for smooth in (True, False):
        shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        (picture(shift, smooth) - target).square().sum().backward()
        assert (shift.grad[0] < -0.1) if smooth else (shift.grad[0] == 0)


def test_same_bytes_every_time_for_any_number_of_threads(threads, monkeypatch):
    torch.use_deterministic_algorithms(True)
    try:
        found = image_and_gradients()
        again = image_and_gradients()
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    alone = image_and_gradients()
    for a, b, c in zip(found, again, alone, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes() == c.numpy().tobytes()


def test_several_python_threads_may_render_at_once(threads):
    expected = image_and_gradients()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: image_and_gradients(), range(8)):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_frames_of_a_batch_do_not_see_each_other():
    vertices, faces, colours = bumpy_sphere()
    together = render(vertices, faces, colours, CAMERA, 24, 24)
    alone = [render(frame[None], faces, colours, CAMERA, 24, 24) for frame in vertices]
    assert torch.equal(together, torch.cat(alone))
    own = torch.stack([colours, 1 - colours])
    assert torch.equal(render(vertices, faces, own, CAMERA, 24, 24)[0], together[0])


def test_supersampling_averages_a_larger_picture():
    vertices, faces, colours = bumpy_sphere()
    large = render(vertices, faces, colours, CAMERA, 60, 40)
    expected = torch.nn.functional.avg_pool2d(large.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(render(vertices, faces, colours, CAMERA, 30, 20, supersample=2), expected)


def test_texture_replaces_the_interpolated_colours():
    vertices, faces, colours = bumpy_sphere()
    plain = render(vertices, faces, colours, CAMERA, 24, 24)
    textured = render(vertices, faces, 2 * colours, CAMERA, 24, 24, texture=lambda values: values / 2)
    torch.testing.assert_close(textured, plain)


@pytest.mark.parametrize("case", ["no frames", "no faces", "behind"])
def test_nothing_to_see_is_background(case):
    vertices, faces, colours = bumpy_sphere()
    camera = CAMERA
    if case == "no frames":
        vertices = vertices[:0]
    elif case == "no faces":
        faces = faces[:0]
    else:
        camera = replace(camera, distance=-3.0)
    vertices.requires_grad_()
    image = render(vertices, faces, colours, camera, 8, 8, background=(0.25, 0.5, 0.75))
    image.sum().backward()
    assert (image == torch.tensor([0.25, 0.5, 0.75])).all()
    assert (vertices.grad == 0).all()


def test_wrong_input_is_named():
    vertices, faces, colours = bumpy_sphere()
    with pytest.raises(
        ValueError, match=r"vertices: expected \(frames, vertices, 3\) float32 or float64, found .*\(642, 3\)"
    ):
        render(vertices[0], faces, colours, CAMERA, 8, 8)
    with pytest.raises(ValueError, match=r"vertices: expected .* float32 or float64, found torch.float16"):
        render(vertices.half(), faces, colours.half(), CAMERA, 8, 8)
    with pytest.raises(ValueError, match=r"colours: expected \(V, C\) or \(N, V, C\) for \(2, 642\), found \(641, 3\)"):
        render(vertices, faces, colours[1:], CAMERA, 8, 8)
    with pytest.raises(ValueError, match=r"colours: expected torch.float64 on cpu, found torch.float32 on cpu"):
        render(vertices, faces, colours.float(), CAMERA, 8, 8)
    with pytest.raises(ValueError, match=r"faces: expected \(F, 3\) whole numbers, found float64 \(1280, 3\)"):
        render(vertices, faces.astype(np.float64), colours, CAMERA, 8, 8)
    with pytest.raises(ValueError, match=r"faces: expected vertex numbers 0 … 641, found 1 … 642"):
        render(vertices, faces + 1, colours, CAMERA, 8, 8)
    with pytest.raises(ValueError, match=r"background: expected 3 numbers, one per channel, found 1"):
        render(vertices, faces, colours, CAMERA, 8, 8, background=(0.5,))
    with pytest.raises(ValueError, match=r"backend: expected cpu, torch or pytorch3d, found opengl"):
        render(vertices, faces, colours, CAMERA, 8, 8, backend="opengl")


def test_vertices_on_another_device_are_refused():
    vertices, faces, colours = (x.to("meta") if isinstance(x, Tensor) else x for x in bumpy_sphere())
    with pytest.raises(BadInput, match=r"render: expected vertices on the CPU for the backend cpu, found .* on meta"):
        render(vertices, faces, colours, CAMERA, 8, 8, backend="cpu")


def test_a_forked_child_can_render():
    """A forked child must neither need nor wait for the threads of its parent."""
    program = """
import multiprocessing, torch
from tests.render.test_render import image_and_gradients
torch.set_num_threads(1)
here = image_and_gradients()[0].sum().item()
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert pool.apply(image_and_gradients)[0].sum().item() == here
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
