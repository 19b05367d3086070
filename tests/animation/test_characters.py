import numpy as np
import pytest
import torch

from learn2talk_core.animation.characters import DEFAULT, PARTS, character_names, load_character
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.render.camera import project
from learn2talk_core.report.face import head_camera, portraits


def test_there_are_three_and_a_default():
    assert len(character_names()) >= 3
    assert DEFAULT in character_names()


@pytest.mark.parametrize("name", character_names())
def test_a_character_is_the_embedded_head_with_bust_and_hair(name):
    face, character = load_face(), load_character(name)
    own, count = len(face.base), len(character.template)
    np.testing.assert_array_equal(character.topology.faces[: len(face.faces)], face.faces)
    assert count > own
    moved = character.correspondence.move(face.unit["jawOpen"])
    np.testing.assert_array_equal(moved[:own], face.unit["jawOpen"])
    assert not moved[own:].any()
    gap = lip_gap(character.template, character.topology.lip_pairs)
    assert (np.abs(gap) < 1.5e-3).all(), "the lips are closed"
    eyes = character.template[:own][face.part["left_eye"] | face.part["right_eye"]]
    np.testing.assert_allclose(eyes.mean(axis=0), 0, atol=1e-4)
    assert set(np.unique(character.look.part)) == set(range(len(PARTS)))
    assert character.look.uv.min() >= 0
    assert character.look.uv.max() <= 1
    assert character.look.texture.shape == (1024, 1024, 3)


@pytest.mark.parametrize("name", character_names())
def test_the_neck_has_no_gap_and_the_bust_one_clean_edge(name):
    """Edges of only one triangle: the bust's lower end, and the hairline; none between head and bust."""
    character = load_character(name)
    body = np.isin(character.look.part, [PARTS.index("skin"), PARTS.index("bust")])
    faces = character.topology.faces[body].astype(np.int64)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    open_edges = unique[count == 1]
    below = character.template[open_edges].mean(axis=1)[:, 1] < -0.06
    heights = character.template[open_edges[below]][..., 1]
    assert heights.max() < -0.15, "the neck is closed, and the only edge is that of the bust"


def test_shoulders_stay_and_the_head_moves():
    character = load_character(DEFAULT)
    assert (character.follow[character.topology.regions["lips"]] == 1).all()
    assert (character.follow[character.topology.faces[character.look.part == PARTS.index("hair")]] == 1).all()
    assert (character.follow[character.template[:, 1] < -0.18] == 0).all()


def test_the_picture_shows_the_whole_head_with_its_texture():
    character = load_character(DEFAULT)
    shown = character.template[character.follow > 0]
    camera = head_camera(shown, aspect=1.5)
    pixels = project(camera, torch.from_numpy(shown), 200, 300)
    assert (pixels[:, :2] > 0).all()
    assert (pixels[:, 0] < 300).all()
    assert (pixels[:, 1] < 200).all()
    (textured,) = portraits(character.template[None], character.topology, camera, 200, 300, look=character.look)
    (plain,) = portraits(character.template[None], character.topology, camera, 200, 300)
    assert np.abs(textured.astype(int) - plain).mean() < 8, "colours of the vertices are those of the texture"
    assert textured.astype(int).std() > plain.astype(int).std() * 0.9
