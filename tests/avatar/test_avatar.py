import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from learn2talk_core.avatar.avatar import as_bytes, avatar_on, draw_avatar, load_avatar, save_avatar
from learn2talk_core.avatar.baking import baked, turned_harmonics
from learn2talk_core.render.pinhole import orbiting
from learn2talk_core.render.splats import Splats, draw_splats, spherical_harmonics
from learn2talk_core.run.errors import BadInput
from tests.avatar.scene import FRONT, moving_octahedron, small_avatar
from tests.fake_device import DEVICE, fake_device

WHITE = (1.0, 1.0, 1.0)


def test_an_avatar_survives_its_folder(tmp_path):
    avatar = small_avatar()
    save_avatar(tmp_path, avatar)
    again = load_avatar(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.splats, avatar.splats, strict=True))
    np.testing.assert_array_equal(again.template, avatar.template)
    assert (again.degree, again.local, again.rig, again.mm_per_unit) == (1, True, "mesh", 1000.0)


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"avatar\.json"):
        load_avatar(tmp_path)
    save_avatar(tmp_path, small_avatar())
    about = json.loads((tmp_path / "avatar.json").read_text())
    (tmp_path / "avatar.json").write_text(json.dumps({**about, "harmonics": "none"}))
    with pytest.raises(BadInput, match="harmonics and rig of an avatar"):
        load_avatar(tmp_path)
    (tmp_path / "avatar.json").write_text(json.dumps(about))
    with np.load(tmp_path / "mesh.npz") as stored:
        arrays = dict(stored)
    np.savez(tmp_path / "mesh.npz", **{**arrays, "template": arrays["template"] * np.nan})
    with pytest.raises(BadInput, match="arrays that do not match"):
        load_avatar(tmp_path)
    np.savez(tmp_path / "mesh.npz", **{**arrays, "faces": arrays["faces"][:3]})
    with pytest.raises(BadInput, match="expected triangles 0 … 2, found 0 … 7"):
        load_avatar(tmp_path)


def test_another_mesh_is_refused():
    with pytest.raises(BadInput, match="a mesh of 6 vertices, which its splats are bound to"):
        draw_avatar(small_avatar(), np.zeros((7, 3), np.float32), orbiting(FRONT, 16, 16, 0.0))


def test_an_avatar_on_a_device_is_drawn_there(monkeypatch):
    """By a stand-in for gsplat, which takes tensors of the device only."""

    def rasterization(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **_):
        assert {part.device for part in (means, quats, scales, opacities, colors, viewmats, Ks)} == {DEVICE}
        splats = Splats(*(part.cpu() for part in (means, scales, quats, opacities, colors)))
        drawn = draw_splats(splats, view, WHITE)
        return (part.to(DEVICE) for part in (drawn.image[None], 1 - drawn.light[None, ..., None], drawn.visible[None]))

    def with_radii(*args, **kwargs):
        image, alpha, visible = rasterization(*args, **kwargs)
        return image, alpha, {"radii": visible}

    monkeypatch.setitem(sys.modules, "gsplat", ModuleType("gsplat"))
    sys.modules["gsplat"].rasterization = with_radii
    monkeypatch.setattr("learn2talk_core.render.gsplat_backend._demand_cuda", lambda position: None)
    view, vertices = orbiting(FRONT, 20, 24, 0.4), moving_octahedron().vertices(1)
    expected = as_bytes(draw_avatar(small_avatar(), vertices, view))
    with fake_device():
        there = avatar_on(small_avatar(), DEVICE)
        drawn = as_bytes(draw_avatar(there, vertices, view, backend="gsplat"))
    assert np.abs(drawn.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_turned_harmonics_have_the_same_colours(degree):
    draw = torch.Generator().manual_seed(degree)
    coefficients = 0.1 * torch.randn(9, (degree + 1) ** 2, 3, generator=draw, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(9, 3, 3, generator=draw, dtype=torch.float64))[0]
    rotation = rotation * rotation.det().sign()[:, None, None]
    direction = torch.nn.functional.normalize(torch.randn(9, 3, generator=draw, dtype=torch.float64), dim=1)
    local = (direction[:, None] @ rotation)[:, 0]
    expected = spherical_harmonics(coefficients, local)
    torch.testing.assert_close(spherical_harmonics(turned_harmonics(coefficients, rotation), direction), expected)


@pytest.mark.parametrize("degree", [0, 2])
def test_baked_splats_look_the_same(degree):
    avatar, vertices = small_avatar(degree=degree), moving_octahedron().vertices(2)
    view = orbiting(FRONT, 64, 64, 0.7, 0.3)
    flat = baked(avatar, vertices)
    direction = torch.nn.functional.normalize(flat.position - flat.position.new_tensor(view.position), dim=1)
    colour = spherical_harmonics(torch.cat([flat.base, flat.rest], 1), direction)
    ordinary = Splats(flat.position, flat.scale.exp(), flat.rotation, flat.opacity.sigmoid(), colour)
    expected = draw_avatar(avatar, vertices, view).image
    torch.testing.assert_close(draw_splats(ordinary, view, WHITE).image, expected, atol=1e-4, rtol=0)
