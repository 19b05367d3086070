"""The second backend, tested with the real pytorch3d if it is installed, and always with a stand-in.

The stand-in has the signatures and conventions of pytorch3d 0.7.9, which the golden fragments verify, and rasterises on
the CPU: it tests everything around that call.
"""

import importlib.util
import sys
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from learn2talk_core.render.camera import Camera
from learn2talk_core.render.pytorch3d_backend import to_ndc
from learn2talk_core.render.rasterise import rasterise
from learn2talk_core.render.render import render
from learn2talk_core.run.errors import BadInput
from tests.render.meshes import GOLDEN, barycentrics, bumpy_sphere

CAMERA = Camera(target=(0.02, -0.03, 0.0), extent=1.6, distance=3.0)


@dataclass
class StandInMeshes:
    verts: Tensor
    faces: Tensor


def stand_in_rasterize_meshes(
    meshes: StandInMeshes,
    image_size: tuple[int, int],
    blur_radius: float,
    faces_per_pixel: int,
    perspective_correct: bool,
    clip_barycentric_coords: bool,
    cull_backfaces: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    assert (blur_radius, faces_per_pixel, clip_barycentric_coords) == (0.0, 1, False)
    height, width = image_size
    half = min(height, width) / 2
    x, y, depth = meshes.verts.unbind(-1)
    screen = torch.stack([width / 2 - half * x, height / 2 - half * y, depth], -1)
    faces = meshes.faces[0].numpy().astype(np.int32)
    found = rasterise(screen, faces, height, width, perspective=perspective_correct, cull=cull_backfaces)
    seen = found.pix_to_face >= 0
    packed = found.pix_to_face.long() + len(faces) * torch.arange(len(screen))[:, None, None]
    weights = barycentrics(screen, faces, found.pix_to_face, perspective_correct)
    missing = torch.tensor(-1.0, dtype=screen.dtype)
    return (
        torch.where(seen, packed, -1)[..., None],
        torch.where(seen, found.depth, missing)[..., None],
        torch.where(seen[..., None], weights, missing)[..., None, :],
        torch.where(seen, 0.0, -1.0)[..., None],
    )


def stand_in_interpolate(pix_to_face: Tensor, barycentrics: Tensor, attributes: Tensor) -> Tensor:
    values = (attributes[pix_to_face.clamp_min(0)] * barycentrics[..., None]).sum(dim=-2)
    return torch.where(pix_to_face[..., None] >= 0, values, 0.0)


@pytest.fixture(params=["stand-in", "real"])
def pytorch3d(request, monkeypatch) -> str:
    if request.param == "real":
        if importlib.util.find_spec("pytorch3d") is None:
            pytest.skip("pytorch3d is not installed")
        return "real"
    names = ["", ".ops", ".renderer", ".renderer.mesh", ".renderer.mesh.rasterize_meshes", ".structures"]
    modules = {f"pytorch3d{name}": ModuleType(f"pytorch3d{name}") for name in names}
    modules["pytorch3d.ops"].interpolate_face_attributes = stand_in_interpolate
    modules["pytorch3d.renderer.mesh.rasterize_meshes"].rasterize_meshes = stand_in_rasterize_meshes
    modules["pytorch3d.structures"].Meshes = StandInMeshes
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return "stand-in"


@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (40, 24)])
def test_image_and_gradients_equal_the_cpu_backend(pytorch3d, perspective, height, width):
    results = []
    for backend in ("cpu", "pytorch3d"):
        vertices, faces, colours = bumpy_sphere(torch.float32)
        vertices.requires_grad_()
        colours.requires_grad_()
        camera = replace(CAMERA, perspective=perspective, yaw=0.3)
        image = render(vertices, faces, colours, camera, height, width, smooth=False, backend=backend)
        (image * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
        results.append([image.detach(), vertices.grad, colours.grad])
    for cpu, other in zip(*results, strict=True):
        assert cpu.shape == other.shape
        assert (cpu - other).norm() < 5e-3 * cpu.norm()
    assert (results[0][0] - results[1][0]).abs().max() < 1e-3


def test_texture_supersampling_and_own_colours_work_too(pytorch3d):
    vertices, faces, colours = bumpy_sphere(torch.float32)
    options = {"texture": lambda values: values[..., :1] ** 2, "supersample": 2, "background": (0.3,), "smooth": False}
    own = torch.stack([colours, 1 - colours])
    cpu, other = (
        render(vertices, faces, own, CAMERA, 16, 20, backend=name, **options) for name in ("cpu", "pytorch3d")
    )
    torch.testing.assert_close(other, cpu, atol=1e-3, rtol=0)


def test_ndc_is_that_of_the_golden_fragments():
    golden = torch.from_numpy(np.load(GOLDEN / "sphere_32.npz")["verts"])
    pixels = torch.stack([(1 - golden[..., 0]) * 16, (1 - golden[..., 1]) * 16, golden[..., 2]], -1)
    torch.testing.assert_close(to_ndc(pixels, 32, 32), golden)


def test_ndc_of_a_wide_image_has_its_shorter_side_from_minus_one_to_one():
    corners = torch.tensor([[0.0, 0.0, 1.0], [40.0, 20.0, 1.0]])  # top left, bottom right
    torch.testing.assert_close(to_ndc(corners, 20, 40), torch.tensor([[2.0, 1.0, 1.0], [-2.0, -1.0, 1.0]]))


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
    for name in ("pytorch3d", "pytorch3d.ops"):
        monkeypatch.setitem(sys.modules, name, None)
    vertices, faces, colours = bumpy_sphere(torch.float32)
    with pytest.raises(BadInput, match=r"expected the package pytorch3d.* Install it .*, or choose backend=\"cpu\""):
        render(vertices, faces, colours, CAMERA, 8, 8, backend="pytorch3d")
