import numpy as np

from scripts.make_face_data import QUANTUM, quantised, read_obj, read_target

OBJ = """
# a comment
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 0.5 1
g body
f 1/1 2/2 3/1 4/2
g helper
f 1/2 2/1 3/1
"""


def test_obj() -> None:
    mesh = read_obj(OBJ)
    np.testing.assert_array_equal(mesh.positions, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(mesh.texture, [[0, 0], [0.5, 1]])
    assert mesh.polygons == [[(0, 0), (1, 1), (2, 0), (3, 1)], [(0, 1), (1, 0), (2, 0)]]
    assert mesh.groups == ["body", "helper"]


def test_target() -> None:
    offsets = read_target("# a comment\n2 0 -.001 .5\n", 4)
    np.testing.assert_array_equal(offsets, [[0, 0, 0], [0, 0, 0], [0, -0.001, 0.5], [0, 0, 0]])


def test_quantisation_is_exact_to_half_a_step() -> None:
    offsets = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 5, 3))
    np.testing.assert_allclose(quantised(offsets) * QUANTUM, offsets, atol=QUANTUM / 2 + 1e-12)
