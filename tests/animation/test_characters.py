from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.animation.blend_shapes import ARKIT
from learn2talk_core.animation.characters import DEFAULT, PARTS, character_names, load_character
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.animation.life import Life
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.student import save_student
from learn2talk_core.render.camera import project
from learn2talk_core.report.face import head_camera, portraits
from learn2talk_core.run.seed import seed_torch
from tests.animation.test_animator import speech as speech_of
from tests.training.test_student import encoder


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


def head_student(folder: Path) -> Path:
    """An untrained student of the embedded head that moves."""
    speech = encoder()
    seed_torch(0)
    student = new_faceformer(speech, len(load_face().base), 2, 30, width=8, dropout=0.0)
    torch.nn.init.normal_(student.vertice_map_r.weight, std=1e-3)
    save_student(folder / "student", student, fps=30, speakers=("A", "B"), recipe="embedded")
    return folder / "student"


def test_a_model_of_the_embedded_head_moves_a_character_without_its_corpus(tmp_path: Path) -> None:
    """The head's vertices move exactly as without the character; hair, bust and texture come along; blinks work."""
    path = head_student(tmp_path)
    animator = load_animator(path, corpus=tmp_path / "none", template="ben")
    wave = speech_of(1.0)
    life = Life(head=1, blinks=1, gaze=1, seed=2)
    animation = animator.animate(wave, style="A", life=life)
    character, own = load_character("ben"), len(load_face().base)
    assert animation.look is character.look
    plain = replace(animator, correspondence=None, look=None, follow=None, topology=load_face().topology)
    plain = replace(plain, template=character.template[:own])
    expected = plain.animate(wave, style="A", life=life)
    still = animation.unposed().vertices()
    np.testing.assert_allclose(still[:, :own], expected.unposed().vertices(), atol=1e-6)
    assert np.ptp(still[:, :own], axis=0).max() > 1e-4
    assert np.ptp(still[:, own:], axis=0).max() == 0, "hair and bust do not follow the face"
    posed = animation.vertices()
    stays = character.follow == 0
    np.testing.assert_array_equal(posed[:, stays], still[:, stays])
    follows = np.flatnonzero(character.follow[:own] == 1)
    np.testing.assert_allclose(posed[:, follows], expected.vertices()[:, follows], atol=1e-6)
    assert arkit_weights(animation)[:, ARKIT.index("jawOpen")].max() > 0


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
