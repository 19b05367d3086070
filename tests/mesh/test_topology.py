import numpy as np
import pytest
import torch

from learn2talk_core.mesh.topology import Topology, lip_gap, load_topology, save_topology, submesh
from learn2talk_core.run.errors import BadInput


def a_topology(faces: list[list[int]] | None = None) -> Topology:
    return Topology(
        faces=np.array(faces or [[0, 1, 2], [0, 2, 3], [3, 2, 4]], np.int32),
        regions={"mouth": np.array([1, 2, 4]), "lips": np.array([2])},
        lip_pairs=np.array([[1, 3], [2, 4]]),
        colours=np.random.default_rng(0).random((5, 3), np.float32),
    )


def test_what_is_saved_is_loaded_with_the_same_types(tmp_path):
    saved = a_topology()
    save_topology(tmp_path / "topology.npz", saved)
    loaded = load_topology(tmp_path / "topology.npz")
    np.testing.assert_array_equal(loaded.faces, saved.faces)
    np.testing.assert_array_equal(loaded.lip_pairs, saved.lip_pairs)
    np.testing.assert_array_equal(loaded.colours, saved.colours)
    assert loaded.regions.keys() == saved.regions.keys()
    np.testing.assert_array_equal(loaded.regions["mouth"], [1, 2, 4])
    assert (loaded.faces.dtype, loaded.regions["lips"].dtype, loaded.lip_pairs.dtype) == (np.int32, np.int64, np.int64)


def test_equal_topologies_give_equal_bytes(tmp_path):
    save_topology(tmp_path / "a.npz", a_topology())
    save_topology(tmp_path / "b.npz", a_topology())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_missing_broken_and_inconsistent_files_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.npz: expected a file, found nothing\. Make it first: dvc repro corpus"):
        load_topology(tmp_path / "none.npz")
    save_topology(tmp_path / "whole.npz", a_topology())
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:300])
    with pytest.raises(BadInput, match=r"half\.npz: expected a topology file"):
        load_topology(tmp_path / "half.npz")
    save_topology(tmp_path / "wrong.npz", a_topology(faces=[[0, 1, 5]]))
    with pytest.raises(BadInput, match=r"expected vertex numbers 0 … 4 in faces, found 0 … 5"):
        load_topology(tmp_path / "wrong.npz")


def test_submesh_equals_a_loop_over_the_triangles():
    rng = np.random.default_rng(1)
    faces = rng.integers(0, 30, (80, 3)).astype(np.int32)
    ids = np.sort(rng.choice(30, 18, replace=False))
    numbers = {int(vertex): position for position, vertex in enumerate(ids)}
    expected = [[numbers[v] for v in face] for face in faces.tolist() if all(v in numbers for v in face)]
    found = submesh(faces, ids)
    assert found.dtype == np.int32
    assert found.tolist() == expected


def test_submesh_of_nothing_is_empty():
    assert submesh(a_topology().faces, np.array([], np.int64)).shape == (0, 3)


def test_lip_gap_is_upper_minus_lower_for_arrays_and_tensors():
    vertices = np.zeros((2, 5, 3), np.float32)
    vertices[0, 1, 1], vertices[0, 3, 1] = 0.004, 0.001
    vertices[1, 2, 1], vertices[1, 4, 1] = -0.001, 0.001
    expected = [[0.003, 0.0], [0.0, -0.002]]
    np.testing.assert_allclose(lip_gap(vertices, a_topology().lip_pairs), expected, atol=1e-9)
    np.testing.assert_allclose(lip_gap(torch.from_numpy(vertices), a_topology().lip_pairs), expected, atol=1e-9)
