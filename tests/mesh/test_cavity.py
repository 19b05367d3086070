"""The cavity behind the lips of a head that has lost its mouth, as FLAME's and BIWI's meshes have none."""

import dataclasses

import numpy as np
import pytest
import torch

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.cavity import cavity_behind, has_mouth
from learn2talk_core.mesh.topology import Topology, lip_gap, submesh
from learn2talk_core.render.mouth import mouth_view, render_mouth

FACE = load_face()
SKIN = np.flatnonzero(FACE.part["skin"] & (FACE.mask["inside_mouth"] < 0.5))


@pytest.fixture(scope="module")
def hollow() -> tuple[Topology, np.ndarray]:
    """The embedded head's outer skin alone, and how far its jaw opens the lips."""
    regions = {
        name: np.searchsorted(SKIN, ids[np.isin(ids, SKIN)])
        for name, ids in FACE.regions.items()
        if name in ("lips", "mouth_view")
    }
    pairs = np.searchsorted(SKIN, FACE.lip_pairs[np.isin(FACE.lip_pairs, SKIN).all(axis=1)])
    topology = Topology(submesh(FACE.faces, SKIN), regions, pairs, FACE.topology.colours[SKIN])
    opening = max(FACE.basis[:, SKIN], key=lambda unit: lip_gap(unit, pairs).mean())
    return topology, opening * 0.018 / lip_gap(opening, pairs).mean()


def test_a_head_with_a_mouth_gets_no_cavity(hollow: tuple[Topology, np.ndarray]) -> None:
    assert has_mouth(FACE.neutral * 1000, FACE.faces, FACE.lip_pairs)
    assert cavity_behind(FACE.neutral, FACE.faces, FACE.lip_pairs, 1000) is None
    topology, _ = hollow
    assert not has_mouth(FACE.neutral[SKIN] * 1000, topology.faces, topology.lip_pairs)
    assert cavity_behind(FACE.neutral[SKIN], topology.faces, topology.lip_pairs[:1], 1000) is None


def test_an_open_mouth_is_dark_and_a_closed_one_unchanged(hollow: tuple[Topology, np.ndarray]) -> None:
    """Against the same head without lip pairs, which gets no cavity, and, at rest, against the head with its mouth."""
    topology, opening = hollow
    template = FACE.neutral[SKIN]
    frames = template + np.array([0, 0.5, 1], np.float32)[:, None, None] * opening.astype(np.float32)

    def pictures(topology: Topology) -> np.ndarray:
        view = mouth_view(topology, template, 1000)
        return render_mouth(view, torch.from_numpy(frames[:, view.vertex_ids])).numpy()

    dark, bright = pictures(topology), pictures(dataclasses.replace(topology, lip_pairs=topology.lip_pairs[:0]))
    view = mouth_view(FACE.topology, FACE.neutral, 1000)
    whole = render_mouth(view, torch.from_numpy(FACE.neutral[None, view.vertex_ids])).numpy()
    assert np.abs(dark[0] - whole[0])[15:75, 15:73].mean() < 0.01
    shone = bright[:, 15:75, 15:73] > 0.9  # the background, through the mouth
    assert shone[2].sum() > 50
    assert (dark[:, 15:75, 15:73][shone] < 0.35).mean() > 0.98
    assert (dark <= bright + 0.02).all()


def test_the_cavity_has_a_gradient(hollow: tuple[Topology, np.ndarray]) -> None:
    """Opening the mouth darkens the picture: finite differences and the gradient agree on its sign and order."""
    topology, opening = hollow
    template = FACE.neutral[SKIN]
    view = mouth_view(topology, template, 1000)
    rest = torch.from_numpy(template[view.vertex_ids])[None].double()
    unit = torch.from_numpy(opening[view.vertex_ids])[None].double()

    def brightness(amount: torch.Tensor) -> torch.Tensor:
        return render_mouth(view, rest + amount * unit).sum()

    amount = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(brightness(amount), amount)
    step = 0.05
    with torch.no_grad():
        difference = (brightness(amount + step) - brightness(amount - step)) / (2 * step)
    assert gradient < 0
    assert gradient.item() == pytest.approx(difference.item(), rel=0.5)
