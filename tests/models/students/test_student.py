"""The interface of students, with a network that has no affine map and cannot stream."""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.evaluation.predict import Studio, predict_clip, write_motions
from learn2talk_core.models.students import loading
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import Student, save_student
from learn2talk_core.run.errors import BadInput
from tests.toy import SIDE, toy_corpus
from tests.training.test_student import encoder

ROOT = Path(__file__).parents[3]


class Nodding(Student):
    """Moves every vertex of the template by its own amount times the loudness; a substitute for MeshTalk."""

    network = "nodding"

    def __init__(self, vertex_count: int, style_count: int) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.linspace(0, 1, 3 * vertex_count))
        self.styles = nn.Parameter(torch.arange(1.0, 1 + style_count))

    @property
    def vertex_count(self) -> int:
        return len(self.amount) // 3

    @property
    def style_count(self) -> int:
        return len(self.styles)

    @torch.no_grad()
    def predict_states(
        self, wave: np.ndarray, fps: float, styles: Tensor, frames: int, template: np.ndarray | None = None
    ) -> Tensor:
        assert template is not None
        loudness = torch.from_numpy(np.abs(wave[: frames * (len(wave) // frames)]).reshape(frames, -1).mean(1))
        rest = torch.from_numpy(np.ascontiguousarray(template)).flatten()
        return (styles @ self.styles)[:, None, None] * loudness[:, None] * self.amount * rest

    def settings(self) -> dict[str, Any]:
        return {"vertex_count": self.vertex_count}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        return cls(settings["vertex_count"], settings["style_count"])


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "NETWORKS", (*loading.NETWORKS, Nodding))


def test_states_that_are_displacements() -> None:
    student = Nodding(4, 2)
    states = torch.randn(2, 5, 12)
    assert student.affine_map() is None
    assert torch.equal(student.displacement(states), states.view(2, 5, 4, 3))
    region = torch.tensor([3, 1])
    assert torch.equal(student.displacement(states, region), states.view(2, 5, 4, 3)[:, :, region])
    assert str(student) == "nodding, 4 vertices, 2 styles"


@pytest.mark.parametrize("affine", [True, False])
def test_projection_is_that_of_the_displacements(affine: bool) -> None:
    torch.manual_seed(0)
    student = new_faceformer(encoder(), 4, 2, 30, width=8, dropout=0.0) if affine else Nodding(4, 2)
    for parameter in student.parameters():
        nn.init.normal_(parameter)
    states, region, onto = torch.randn(2, 5, 8 if affine else 12), torch.tensor([3, 1]), torch.randn(6, 7)
    expected = student.displacement(states, region).flatten(2) @ onto
    torch.testing.assert_close(student.projection(states, region, onto), expected, rtol=1e-5, atol=1e-4)


def test_states_with_an_affine_map() -> None:
    torch.manual_seed(0)
    student = new_faceformer(encoder(), 4, 2, 30, width=8, dropout=0.0)
    for part in (student.vertice_map_r.weight, student.vertice_map_r.bias):
        nn.init.normal_(part)
    states, region = torch.randn(2, 5, 8), torch.tensor([2, 0])
    expected = nn.functional.linear(states, student.vertice_map_r.weight, student.vertice_map_r.bias).view(2, 5, 4, 3)
    torch.testing.assert_close(student.displacement(states), expected)
    torch.testing.assert_close(student.displacement(states, region), expected[:, :, region])
    basis, bias = student.map_arrays()
    assert basis is not None
    moved = states.numpy() @ basis + bias
    np.testing.assert_allclose(moved.reshape(2, 5, 4, 3), expected.detach().numpy(), atol=1e-6)


def test_a_network_without_a_stream_says_so() -> None:
    with pytest.raises(BadInput, match="a stream of nodding: expected a student that can animate speech while"):
        Nodding(4, 2).open_stream(torch.ones(2), 30, 60)


def test_any_network_is_saved_loaded_and_speaks_a_corpus(tmp_path: Path, known: None) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    save_student(tmp_path / "m", Nodding(SIDE * SIDE, 2), fps=30, speakers=("A", "B"), recipe=corpus.recipe)
    student, speakers = load_student(tmp_path / "m", made_by="the test", recipe=corpus.recipe)
    assert isinstance(student, Nodding)
    clips = corpus.split("test_seen", "test_unseen")
    studio = Studio(corpus, student, speakers)
    assert write_motions(tmp_path / "predicted", studio, clips, (predict_clip(studio, clip) for clip in clips)) == 3
    found = open_predictions(tmp_path / "predicted", corpus)
    clip = clips[0]
    style = torch.eye(2)[[speakers.index(clip.speaker)]]
    template = corpus.template(clip.speaker)
    states = student.predict_states(corpus.audio(clip), corpus.fps, style, clip.frames, template)
    expected = template + states[0].numpy().reshape(clip.frames, -1, 3)
    np.testing.assert_allclose(found.vertices(clip.id), expected, atol=1e-6)
    lips = corpus.topology.regions["lips"]
    np.testing.assert_allclose(found.vertices(clip.id, region="lips"), expected[:, lips], atol=1e-6)


def test_an_unknown_network_names_the_known_ones(tmp_path: Path) -> None:
    save_student(tmp_path / "m", Nodding(4, 2), fps=30, speakers=("A", "B"))
    with pytest.raises(BadInput, match=r"expected one of the networks faceformer, .*, found 'nodding'"):
        load_student(tmp_path / "m", made_by="the test")


def test_a_folder_of_an_earlier_version_is_a_faceformer(tmp_path: Path) -> None:
    save_student(tmp_path / "m", new_faceformer(encoder(), 4, 2, 30, width=8, dropout=0.0), fps=30, speakers=("A", "B"))
    path = tmp_path / "m" / "model.json"
    about = json.loads(path.read_text())
    assert about.pop("network") == "faceformer"
    path.write_text(json.dumps(about))
    student, speakers = load_student(tmp_path / "m", made_by="the test")
    assert (str(student), speakers) == ("faceformer, 4 vertices, 2 styles", ("A", "B"))


def test_only_faceformers_own_files_touch_its_layers() -> None:
    layers = (".vertice_map", ".obj_vector", ".audio_feature_map", ".transformer_decoder")
    own = ROOT / "learn2talk_core" / "models" / "students" / "faceformer"
    for package in ("learn2talk", "learn2talk_core", "stages", "scripts"):
        for file in (ROOT / package).rglob("*.py"):
            others = {"codetalker", "selftalk"} & {
                file.parent.name,
                file.stem,
            }  # their published layers have the same names
            if file.parent != own and not others:
                assert not [layer for layer in layers if layer in file.read_text()], file
