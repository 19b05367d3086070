from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.mesh.transfer import (
    Correspondence,
    find_correspondence,
    load_correspondence,
    save_correspondence,
)
from learn2talk_core.run.errors import BadInput

TURN, SCALE = Rotation.from_euler("xyz", [4, -6, 3], degrees=True).as_matrix(), 7.0


def head() -> tuple[np.ndarray, np.ndarray]:
    face = load_face()
    return face.neutral.astype(np.float64), face.faces


@pytest.fixture(scope="module")
def finer() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The embedded head with each triangle split into four, shuffled, rotated, scaled and moved, so the correspondence
    is known. Returns vertices, triangles, and for each vertex the two old ones of which it is the midpoint."""
    old, faces = head()
    new, new_faces = trimesh.remesh.subdivide(old, faces)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges = np.unique(edges, axis=0)
    middle = {tuple(np.round((old[a] + old[b]) / 2, 9)): (a, b) for a, b in edges}
    middle |= {tuple(np.round(point, 9)): (i, i) for i, point in enumerate(old)}
    parents = np.array([middle[tuple(np.round(point, 9))] for point in new])
    order = np.random.default_rng(0).permutation(len(new))
    rank = np.argsort(order)
    placed = SCALE * new[order] @ TURN.T + [1.0, -2.0, 3.0]
    return placed, rank[new_faces], parents[order]


def test_a_mesh_follows_itself() -> None:
    old, faces = head()
    jaw = load_face().unit["jawOpen"]
    found = find_correspondence(old, faces, old, faces)
    assert found.scale == pytest.approx(1, abs=1e-4)
    error = np.linalg.norm(found.move(jaw) - jaw, axis=1)
    assert np.quantile(error, 0.99) < 0.01 * np.abs(jaw).max()


def test_another_topology_turned_and_scaled_moves_as_the_first(finer: tuple) -> None:
    old, faces = head()
    new, new_faces, parents = finer
    found = find_correspondence(old, faces, new, new_faces)
    assert found.scale == pytest.approx(SCALE, rel=0.01)
    for name in ("jawOpen", "mouthFunnel"):
        unit = load_face().unit[name]
        expected = SCALE * unit[parents].mean(axis=1) @ TURN.T
        error = np.linalg.norm(found.move(unit) - expected, axis=1)
        size = np.linalg.norm(expected, axis=1).max()
        assert np.quantile(error, 0.95) < 0.05 * size
        np.testing.assert_array_equal(found.move(np.stack([unit, 2 * unit]))[0], found.move(unit))


def test_what_is_far_away_stays() -> None:
    old, faces = head()
    shoulder = old[:3] - [0, 0.5, 0]
    new = np.concatenate([old, shoulder])
    new_faces = np.concatenate([faces, [[len(old), len(old) + 1, len(old) + 2]]])
    found = find_correspondence(old, faces, new, new_faces)
    assert not found.move(np.ones((len(old), 3)))[-3:].any()


@pytest.mark.parametrize("wide", [1.5, 2.4])
def test_shoulders_do_not_make_a_head_larger(wide: float) -> None:
    old, faces = head()
    below, width = old[:, 1].min(), wide * np.ptp(old[:, 0])
    x, y, z = np.meshgrid(np.linspace(-0.5, 0.5, 40) * width, below - np.linspace(0, 0.1, 10), np.linspace(-0.1, 0, 20))
    shoulders = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    found = find_correspondence(old, faces, np.concatenate([old, shoulders]), faces)
    assert found.scale == pytest.approx(1, rel=0.01)
    jaw = load_face().unit["jawOpen"]
    error = np.linalg.norm(found.move(jaw)[: len(old)] - jaw, axis=1)
    assert np.quantile(error, 0.99) < 0.05 * np.abs(jaw).max()


def test_regions_and_colours_come_along(finer: tuple) -> None:
    old, faces = head()
    new, new_faces, parents = finer
    found = find_correspondence(old, faces, new, new_faces)
    lips = np.flatnonzero(load_face().mask["lips"] > 0.5)
    colours = np.zeros((len(old), 3), np.float32)
    colours[lips, 0] = 1
    topology = found.topology(Topology(faces, {"lips": lips}, lips[:10].reshape(5, 2), colours), new_faces)
    own = np.isin(parents, lips).all(axis=1)
    given = np.zeros(len(new), bool)
    given[topology.regions["lips"]] = True
    assert (given & own).sum() > 0.9 * own.sum()
    assert topology.colours[own, 0].mean() > 0.9
    assert topology.colours.shape == new.shape
    assert len(topology.lip_pairs) > 0


def test_a_file_keeps_it_and_another_one_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = Correspondence(rng.integers(0, 9, (5, 3)), rng.random((5, 3), np.float32), np.eye(3, dtype=np.float32), 9)
    path = tmp_path / "head.npz"
    save_correspondence(path, found)
    again = load_correspondence(path, 9, 5)
    np.testing.assert_array_equal(again.corners, found.corners)
    np.testing.assert_array_equal(again.move(np.ones((9, 3))), found.move(np.ones((9, 3))))
    with pytest.raises(BadInput, match="expected a correspondence from 9 to 6 vertices, found one from 9 to 5"):
        load_correspondence(path, 9, 6)
    path.write_text("no")
    with pytest.raises(BadInput, match="expected a correspondence of two meshes, found"):
        load_correspondence(path, 9, 5)
