import pickle

import numpy as np
import pytest
import scipy.sparse
from scipy.spatial.transform import Rotation

from learn2talk_core.animation.animation import Animation
from learn2talk_core.export.flame import fit_flame, fit_identity, load_flame, write_flame
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput

VERTICES, EXPRESSIONS = 90, 6


def model_file(path, **changes):
    """A head of random vertices with all fields of the published pickle."""
    rng = np.random.default_rng(0)
    template = rng.uniform(-0.1, 0.1, (VERTICES, 3))
    weights = rng.dirichlet([0.3] * 5, VERTICES)
    regressor = np.zeros((5, VERTICES))
    for joint in range(5):
        regressor[joint, rng.choice(VERTICES, 8, replace=False)] = 1 / 8
    data = {
        "v_template": template,
        "shapedirs": rng.normal(size=(VERTICES, 3, 300 + EXPRESSIONS)) * 0.003,
        "posedirs": rng.normal(size=(VERTICES, 3, 36)) * 0.01,
        "weights": weights,
        "J_regressor": scipy.sparse.csc_matrix(regressor),
        "f": np.zeros((4, 3), np.uint32),
        **changes,
    }
    data = {key: value for key, value in data.items() if value is not None}
    path.write_bytes(pickle.dumps(data, protocol=2))
    return path


def skinned(
    path, face: np.ndarray, expression: np.ndarray, jaw: np.ndarray, root: np.ndarray | None = None
) -> np.ndarray:
    """FLAME as published, one frame: all five joints, their transforms along the tree, the correctives of all four."""
    data = pickle.loads(path.read_bytes())
    shaped = face + data["shapedirs"][:, :, 300:] @ expression
    joints = data["J_regressor"] @ shaped
    rotations = [np.eye(3)] * 5
    rotations[2] = Rotation.from_rotvec(jaw).as_matrix()
    if root is not None:
        rotations[0] = Rotation.from_rotvec(root).as_matrix()
    features = np.concatenate([(rotation - np.eye(3)).ravel() for rotation in rotations[1:]])
    posed = shaped + data["posedirs"] @ features
    world = []
    for joint, parent in enumerate((-1, 0, 1, 1, 1)):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    for joint in range(5):
        world[joint] = world[joint].copy()
        world[joint][:3, 3] -= world[joint][:3, :3] @ joints[joint]
    blended = np.einsum("vj,jab->vab", data["weights"], np.stack(world))
    return np.einsum("vab,vb->va", blended[:, :3, :3], posed) + blended[:, :3, 3]


def speech(path, frames: int = 70, mm_per_unit: float = 1000):
    """An animation made by FLAME with known parameters, and these parameters; longer than one chunk of the fit."""
    rng = np.random.default_rng(1)
    flame = load_flame(path)
    face = flame.template + flame.identity @ (0.3 * rng.normal(size=300))
    expression = rng.normal(size=(frames, EXPRESSIONS))
    jaw = np.stack([rng.uniform(0, 0.5, frames), *rng.normal(size=(2, frames)) * 0.05], axis=1)
    motion = np.stack([skinned(path, face, *row) for row in zip(expression, jaw, strict=True)]) - face
    scale = 1000 / mm_per_unit
    offset = motion.mean(axis=0)
    left, size, right = np.linalg.svd((motion - offset).reshape(frames, -1), full_matrices=False)
    animation = Animation(
        states=(left * size).astype(np.float32),
        basis=(scale * right).reshape(-1, VERTICES, 3).astype(np.float32),
        offset=(scale * offset).astype(np.float32),
        template=(scale * face).astype(np.float32),
        fps=30,
        mm_per_unit=mm_per_unit,
        topology=Topology(np.zeros((0, 3), np.int32), {}, np.zeros((0, 2), np.int64), np.zeros((VERTICES, 3))),
        wave=np.zeros(1000, np.float32),
    )
    return animation, expression, jaw


@pytest.mark.parametrize("mm_per_unit", [1000, 1])
def test_known_parameters_are_found_again(tmp_path, mm_per_unit):
    path = model_file(tmp_path / "flame.pkl")
    animation, expression, jaw = speech(path, mm_per_unit=mm_per_unit)
    found, turned = fit_flame(load_flame(path), animation)
    np.testing.assert_allclose(turned, jaw, atol=2e-4)
    np.testing.assert_allclose(found, expression, atol=2e-3)


def test_fit_is_the_least_squares_minimum_when_no_parameters_fit(tmp_path):
    path = model_file(tmp_path / "flame.pkl")
    animation, _, _ = speech(path, frames=4)
    rng = np.random.default_rng(4)
    noise = rng.normal(size=animation.offset.shape).astype(np.float32) * 0.004
    animation = Animation(**{**vars(animation), "offset": animation.offset + noise})
    expression, jaw = fit_flame(load_flame(path), animation)
    face = animation.template.astype(float)

    def error(expression: np.ndarray, jaw: np.ndarray) -> np.ndarray:
        posed = np.stack([skinned(path, face, *row) for row in zip(expression, jaw, strict=True)])
        return ((posed - animation.vertices()) ** 2).sum(axis=(1, 2))

    best = error(expression, jaw)
    assert (best > 1e-4).all()
    for _ in range(40):
        step = 0.01 * rng.normal(size=(4, EXPRESSIONS + 3))
        assert (error(expression + step[:, :-3], jaw + step[:, -3:]) > best).all()


def test_identity_of_a_face_is_found_again(tmp_path):
    flame = load_flame(model_file(tmp_path / "flame.pkl"))
    shape = np.zeros(300)
    shape[:5] = [1, -2, 0.5, 0, 1]
    face = flame.template + flame.identity @ shape
    rebuilt = flame.template + flame.identity @ fit_identity(flame, face)
    np.testing.assert_allclose(rebuilt, face, atol=1e-5)


def test_file_holds_shape_expression_and_pose(tmp_path):
    path = model_file(tmp_path / "flame.pkl")
    animation, _, _ = speech(path, frames=5)
    written = write_flame(tmp_path / "face", animation, load_flame(path, expressions=4))
    assert written == [tmp_path / "face_flame.npz", tmp_path / "face.wav"]
    with np.load(written[0]) as stored:
        assert {name: stored[name].shape for name in stored} == {
            "shape": (300,), "expression": (5, 4), "pose": (5, 15), "translation": (5, 3), "fps": (),
        }  # fmt: skip
        assert not np.delete(stored["pose"], [6, 7, 8], axis=1).any()
        assert not stored["translation"].any()
        assert stored["pose"][:, 6:9].any(axis=1).all()


@pytest.mark.parametrize("mm_per_unit", [1000, 1])
def test_a_head_that_moves_turns_about_flames_root(tmp_path, mm_per_unit):
    path = model_file(tmp_path / "flame.pkl")
    animation, _, _ = speech(path, frames=5, mm_per_unit=mm_per_unit)
    pose = np.random.default_rng(6).uniform(-0.4, 0.4, (5, 6)) * ([1] * 3 + [1000 / mm_per_unit] * 3)
    neck = np.array([0.01, -0.1, -0.05]) * 1000 / mm_per_unit
    moved = Animation(**{**vars(animation), "pose": pose.astype(np.float32), "pivot": neck.astype(np.float32)})
    write_flame(tmp_path / "face", moved, load_flame(path))
    face = animation.template.astype(float) * mm_per_unit / 1000
    with np.load(tmp_path / "face_flame.npz") as stored:
        rows = zip(stored["expression"], stored["pose"][:, 6:9], stored["pose"][:, :3], strict=True)
        found = np.stack([skinned(path, face, *row) for row in rows]) + stored["translation"][:, None]
    np.testing.assert_allclose(found, moved.vertices() * mm_per_unit / 1000, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"posedirs": None}, r"flame\.pkl: expected a FLAME model with .* found KeyError: 'posedirs'"),
        (
            {"shapedirs": np.zeros((VERTICES, 3, 300))},
            r"shapedirs: expected shape .*301\), found .* 300\)",
        ),
        ({"weights": np.zeros((VERTICES, 24))}, r"weights: expected shape \(90, 5\), found \(90, 24\)"),
    ],
)
def test_a_model_that_is_not_flame_is_named(tmp_path, changes, message):
    with pytest.raises(BadInput, match=message):
        load_flame(model_file(tmp_path / "flame.pkl", **changes))


def test_another_mesh_or_unit_is_refused(tmp_path):
    path = model_file(tmp_path / "flame.pkl")
    animation, _, _ = speech(path, frames=2)
    fewer = {**vars(animation), "template": animation.template[:80]}
    with pytest.raises(BadInput, match=r"FLAME: expected a mesh in FLAME's topology, 90 vertices, found 80"):
        fit_flame(load_flame(path), Animation(**fewer))
    with pytest.raises(BadInput, match=r"FLAME: expected a head about \d+ mm high, found 0 mm"):
        fit_flame(load_flame(path), Animation(**{**vars(animation), "mm_per_unit": 1}))
