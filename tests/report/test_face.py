import numpy as np
import torch

from learn2talk_core.render.camera import project
from learn2talk_core.report.face import CHUNK, portrait_camera, portraits
from tests.report.scene import grid


def test_camera_shows_the_lips_and_both_sides() -> None:
    template, topology = grid()
    screen = project(portrait_camera(topology, template), torch.from_numpy(template), 300, 240)
    assert screen[:, 0].min() > 0
    assert screen[:, 0].max() < 240
    lips = screen[topology.regions["lips"]]
    assert (lips[:, 1] > 150).all(), "in the lower half"
    assert (lips[:, 1] < 280).all()


def test_portraits_one_by_one_and_in_chunks() -> None:
    template, topology = grid()
    camera = portrait_camera(topology, template)
    vertices = np.repeat(template[None], CHUNK + 2, axis=0)
    vertices[3, :, 0] += 0.02
    images = portraits(vertices, topology, camera, 30, 24)
    assert (images.shape, images.dtype) == ((CHUNK + 2, 30, 24, 3), np.uint8)
    np.testing.assert_array_equal(images[CHUNK], images[0])
    assert (images[3] != images[0]).any()
    red = np.zeros((CHUNK + 2, len(template), 3))
    red[CHUNK, :, 0] = 1
    painted = portraits(vertices, topology, camera, 30, 24, colours=red, background=(0.0, 0.0, 0.0))
    assert painted[CHUNK, 15, 12, 0] > 100
    assert painted[0, 15, 12, 0] < 50
    assert portraits(vertices[:0], topology, camera, 30, 24).shape == (0, 30, 24, 3)
