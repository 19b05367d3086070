import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from learn2talk_core.mesh.orientation import refuse_rotated
from learn2talk_core.run.errors import BadInput
from tests.render.meshes import bumpy_sphere

FACE = np.asarray(bumpy_sphere()[0])[0].astype(np.float32) * [0.8, 1.2, 1.0]
TURN = {
    "z up": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "y and z swapped": [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
    "mirrored": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "x, y, z to y, z, x": [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    "45° about y": Rotation.from_euler("y", 45, degrees=True).as_matrix(),
    "-40° about (1, 1, 0)": Rotation.from_rotvec(np.array([-40, -40, 0]) / np.sqrt(2), degrees=True).as_matrix(),
    "nearly 180° about y": Rotation.from_euler("yx", [172, 5], degrees=True).as_matrix(),
}


def other(face: np.ndarray) -> np.ndarray:
    """Another person's face, at another position and in another unit."""
    noise = np.random.default_rng(0).normal(0, 0.05, face.shape)
    return (1000 * (face * [1.1, 1.0, 0.95] + noise) + [300, -40, 2000]).astype(np.float32)


@pytest.mark.parametrize(
    ("turn", "found"),
    [
        ("z up", r"rotated by 90° about x: left is x, up is z, the face looks along -y"),
        ("y and z swapped", r"mirrored: left is x, up is z, the face looks along y"),
        ("mirrored", r"mirrored: left is -x, up is y, the face looks along z"),
        ("x, y, z to y, z, x", r"rotated by 120° about \(-0.58, -0.58, -0.58\): left is z, up is x, the face looks"),
        ("45° about y", r"rotated by 4[3-7]° about y\. Export it"),
        ("-40° about (1, 1, 0)", r"rotated by \d\d° about \(-0.\d\d, -0.\d\d, -?0.0\d\)\. Export it"),
        ("nearly 180° about y", r"rotated by -?180° about y: left is -x, up is y, the face looks along -z\. Export"),
    ],
)
def test_a_rotated_face_is_refused_with_its_rotation(turn, found):
    turned = other(FACE) @ np.array(TURN[turn], np.float32).T
    with pytest.raises(BadInput, match=rf"head\.obj: expected a head whose left is x .* found one that is {found}"):
        refuse_rotated("head.obj", turned, FACE)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_tilted_face_of_another_person_is_accepted_up_to_20_degrees(axis):
    tilted = {angle: other(FACE) @ Rotation.from_euler(axis, angle, degrees=True).as_matrix().T for angle in (15, 25)}
    assert refuse_rotated("head.obj", tilted[15], FACE) is None
    with pytest.raises(BadInput, match=rf"rotated by 2[3-7]° about {axis}\. Export it"):
        refuse_rotated("head.obj", tilted[25], FACE)


def test_a_flat_face_has_no_mirror_image():
    flat = FACE * [1, 1, 0]
    refuse_rotated("head.obj", flat, flat)
    refuse_rotated("head.obj", flat + np.float32(1e-6) * other(FACE), flat)
    with pytest.raises(BadInput, match="rotated by 90° about x"):
        refuse_rotated("head.obj", flat @ np.array(TURN["z up"]).T, flat)
