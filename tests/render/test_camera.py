import math

import numpy as np
import torch

from learn2talk_core.render.camera import Camera, axes, project


def test_perspective_is_the_pinhole_equation():
    camera = Camera(target=(0.1, 0.2, 0.3), extent=0.5, distance=2.0)
    point = torch.tensor([0.2, 0.1, 0.7], dtype=torch.float64)
    x, y, depth = project(camera, point, 100, 80).tolist()
    focal = 100 / 0.5 * 2.0  # pixels
    assert math.isclose(depth, 2.0 - 0.4)
    assert math.isclose(x, 40 + focal * 0.1 / 1.6)
    assert math.isclose(y, 50 - focal * (-0.1) / 1.6)


def test_orthographic_ignores_depth():
    camera = Camera(target=(0.0, 0.0, 0.0), extent=2.0, distance=5.0, perspective=False)
    points = torch.tensor([[0.5, -0.25, 0.0], [0.5, -0.25, 3.0]])
    np.testing.assert_allclose(project(camera, points, 8, 8), [[6, 5, 5], [6, 5, 2]])


def test_both_show_the_same_at_the_target():
    points = torch.randn(5, 3, dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.0])
    pinhole, parallel = (Camera((0, 0, 0), 3.0, 4.0, perspective=kind) for kind in (True, False))
    torch.testing.assert_close(project(pinhole, points, 88, 88), project(parallel, points, 88, 88))


def test_positive_yaw_shows_the_left_side():
    camera = Camera(target=(0.0, 0.0, 0.0), extent=2.0, distance=3.0, yaw=math.pi / 2, perspective=False)
    left_ear = torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(project(camera, left_ear, 10, 10), torch.tensor([5.0, 5.0, 2.0]))  # nearest the camera
    nose = torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(project(camera, nose, 10, 10), torch.tensor([0.0, 5.0, 3.0]))  # at the left of the image


def test_axes_are_orthonormal_and_right_handed():
    frame = axes(Camera((0, 0, 0), 1.0, 1.0, yaw=0.7))
    torch.testing.assert_close(frame @ frame.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.cross(frame[0], frame[1]), frame[2])
