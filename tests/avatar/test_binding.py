import numpy as np
import torch
from scipy.spatial.transform import Rotation

from learn2talk_core.avatar.binding import in_world, multiplied, one_per_triangle, quaternions, triangle_frames
from learn2talk_core.render.pinhole import orbiting
from learn2talk_core.render.splats import draw_splats, spherical_harmonics
from tests.avatar.scene import FRONT, octahedron, some_splats

WHITE = (1.0, 1.0, 1.0)


def rigid(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return Rotation.random(random_state=seed).as_matrix(), 0.05 * rng.normal(size=3)


def test_frames_in_closed_form():
    """A right triangle in the plane z = 2: the first edge is x, the normal y, and z = x × y."""
    vertices = torch.tensor([[1.0, 1, 2], [4.0, 1, 2], [1.0, 3, 2]])
    origin, rotation, size = triangle_frames(vertices, torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(origin, torch.tensor([[2.0, 5 / 3, 2]]))
    torch.testing.assert_close(rotation[0], torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))  # columns x, y, z
    torch.testing.assert_close(size, torch.tensor([(3 + 2) / 2]))


def test_quaternions_equal_scipy_for_every_kind_of_rotation():
    turns = Rotation.concatenate([Rotation.random(200, random_state=0), Rotation.from_rotvec(np.pi * np.eye(3))])
    found = quaternions(torch.from_numpy(turns.as_matrix())).numpy()
    again = Rotation.from_quat(found[:, [1, 2, 3, 0]])
    assert (again * turns.inv()).magnitude().max() < 1e-7
    other = Rotation.random(203, random_state=1)
    product = multiplied(torch.from_numpy(found), torch.from_numpy(other.as_quat()[:, [3, 0, 1, 2]])).numpy()
    assert (Rotation.from_quat(product[:, [1, 2, 3, 0]]) * (turns * other).inv()).magnitude().max() < 1e-7


def test_splats_follow_a_rigid_motion_of_mesh_and_camera_exactly():
    """With harmonics in the triangles' axes, nothing changes in the picture."""
    vertices, faces = octahedron()
    splats, view = some_splats(60, len(faces), degree=2), orbiting(FRONT, 48, 48, 0.4, 0.2)
    turn, move = rigid(3)
    triangles = torch.from_numpy(faces).long()
    points = torch.from_numpy(vertices).double()
    double = type(splats)(*(part if part.dtype == torch.int64 else part.double() for part in splats))
    still = in_world(double, triangle_frames(points, triangles), view, degree=2)
    moved_points = points @ torch.from_numpy(turn).T + torch.from_numpy(move)
    other = type(view)(view.rotation @ turn.T, view.translation - view.rotation @ turn.T @ move,
                       view.focal, view.centre, 48, 48)  # fmt: skip
    moved = in_world(double, triangle_frames(moved_points, triangles), other, degree=2)
    a, b = draw_splats(still, view, WHITE).image, draw_splats(moved, other, WHITE).image
    assert a.std() > 0.05
    torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_world_harmonics_do_not_turn_with_the_triangle():
    vertices, faces = octahedron()
    splats, view = some_splats(8, len(faces)), orbiting(FRONT, 32, 32, 0.1)
    frames = triangle_frames(torch.from_numpy(vertices), torch.from_numpy(faces).long())
    world = in_world(splats, frames, view, degree=1, local=False)
    towards = world.position - torch.tensor(view.position, dtype=torch.float32)
    expected = spherical_harmonics(
        torch.cat([splats.base, splats.rest], 1), towards / towards.norm(dim=1, keepdim=True)
    )
    torch.testing.assert_close(world.colour, expected)
    assert (world.colour - in_world(splats, frames, view, degree=1).colour).abs().max() > 0.05


def test_stretching_a_triangle_scales_its_splats():
    vertices, faces = octahedron()
    view, triangles = orbiting(FRONT, 32, 32, 0.0), torch.from_numpy(faces).long()
    splats = one_per_triangle(8, degree=0)
    small = in_world(splats, triangle_frames(torch.from_numpy(vertices), triangles), view, degree=0)
    large = in_world(splats, triangle_frames(torch.from_numpy(3 * vertices), triangles), view, degree=0)
    torch.testing.assert_close(large.scale, 3 * small.scale)
    torch.testing.assert_close(large.position, 3 * small.position)
    assert torch.allclose(small.opacity, torch.tensor(0.1))


def test_gradient_reaches_the_vertices():
    vertices, faces = octahedron()
    points = torch.from_numpy(vertices).double().requires_grad_()
    splats, view = some_splats(20, 8, degree=0), orbiting(FRONT, 32, 32, 0.3)
    double = type(splats)(*(part if part.dtype == torch.int64 else part.double() for part in splats))

    def loss(points: torch.Tensor) -> torch.Tensor:
        frames = triangle_frames(points, torch.from_numpy(faces).long())
        return in_world(double, frames, view, degree=0).position.square().sum()

    assert torch.autograd.gradcheck(loss, (points,))
