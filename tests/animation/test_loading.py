import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from learn2talk_core.animation.loading import load_animator
from learn2talk_core.checkpoints.faceformer import PUBLISHED, import_faceformer
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.mesh.topology import submesh
from learn2talk_core.run import find_model as find_model_module
from learn2talk_core.run import paths
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.find_model import find_model
from tests.animation.test_animator import speech
from tests.checkpoints.test_faceformer import small
from tests.toy import sheet, topology
from tests.toy_student import toy_student


def test_templates(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    assert np.array_equal(load_animator(student, corpus=corpus, template="D").face({"A": 1.0}), sheet(1.1))
    with pytest.raises(
        BadInput, match=r"template: expected a speaker of the corpus, or a file, found X. Choose one of A"
    ):
        load_animator(student, corpus=corpus, template="X")
    head, faces = sheet(0.9), topology().faces
    write_mesh(tmp_path / "head.obj", head, faces)
    own = load_animator(student, corpus=corpus, template=tmp_path / "head.obj")
    np.testing.assert_allclose(own.animate(speech(1), style="A").template, head, atol=1e-7)

    write_mesh(tmp_path / "small.obj", head[:50], faces[(faces < 50).all(axis=1)])
    write_mesh(tmp_path / "other.obj", head, faces[:, ::-1][:-1])
    write_mesh(tmp_path / "large.obj", 1000 * head, faces)
    for name, text in (
        (
            "small",
            "small.obj: expected 64 vertices, as in the model, found 50. Export the head in the model's topology",
        ),
        ("other", "other.obj: expected the 98 triangles of the model, found 97 triangles, 97 of them in the model"),
        ("large", "Scale it by 0.001"),
    ):
        with pytest.raises(BadInput) as refused:
            load_animator(student, corpus=corpus, template=tmp_path / f"{name}.obj")
        assert text in str(refused.value)


def test_a_head_of_another_topology(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    head, faces = trimesh.remesh.subdivide(sheet().astype(np.float64), topology().faces)
    write_mesh(tmp_path / "head.obj", 2 * head, faces)
    given = {"corpus": corpus, "template": tmp_path / "head.obj", "transfer": tmp_path / "head.npz"}
    other = load_animator(student, **given)
    assert other.mm_per_unit == pytest.approx(500, rel=0.01)
    own = load_animator(student, corpus=corpus).animate(speech(1), style="A")
    found = other.animate(speech(1), style="A")
    np.testing.assert_array_equal(found.states, own.states)
    moved = np.linalg.norm(np.ptp(found.vertices(), axis=0), axis=-1)
    assert moved.mean() == pytest.approx(2 * np.linalg.norm(np.ptp(own.vertices(), axis=0), axis=-1).mean(), rel=0.3)
    assert len(found.topology.regions["lips"]) > 16
    before = (tmp_path / "head.npz").read_bytes()
    assert load_animator(student, **given).correspondence is not None
    assert (tmp_path / "head.npz").read_bytes() == before


def test_a_published_file_animates_a_head_of_its_topology(tmp_path: Path) -> None:
    weights, names = small(tmp_path, styles=8), PUBLISHED["vocaset"][2]
    head = np.random.default_rng(0).uniform(-0.1, 0.1, (5, 3)).astype(np.float32)
    write_mesh(tmp_path / "head.obj", head, np.array([[0, 1, 2], [2, 3, 4]]))
    animator = load_animator(weights, corpus=None, template=tmp_path / "head.obj")
    assert animator.speakers == names
    wave = speech(1.2)
    face = animator.animate(wave, style=names[3])
    student = import_faceformer(weights)[0].eval()
    with torch.no_grad():
        states = student.predict_states(wave, 30, torch.eye(8)[3:4], 36)
        expected = head + student.displacement(states)[0].numpy()
    assert face.vertices().shape == (36, 5, 3)
    assert len(expected) == 35  # FaceFormer's alignment: two features per frame, the last frame is incomplete
    np.testing.assert_allclose(face.vertices()[:35], expected, atol=1e-5)
    with pytest.raises(BadInput, match="expected a face, found neither a corpus nor a template"):
        load_animator(weights, corpus=None)


Z_UP = np.float32([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # rows: where x, y and z of a head with y up go


def test_a_folder_of_published_files_names_the_command_that_imports_them(tmp_path: Path) -> None:
    (tmp_path / "stage1.pth.tar").write_bytes(b"")
    with pytest.raises(
        BadInput, match=r"with model\.json, found none\. Import published files first: learn2talk import"
    ):
        load_animator(tmp_path, corpus=None, template="ada")


def test_a_head_with_z_up_is_refused_without_a_corpus(tmp_path: Path) -> None:
    face = load_face()
    part = np.flatnonzero(face.part["skin"] & (face.neutral[:, 2] > -0.02))
    mask = face.neutral[part], submesh(face.faces, part)
    for head, faces in ((face.neutral, face.faces), mask):
        folder = tmp_path / f"{len(head)}"
        folder.mkdir()
        weights, path = small(folder, vertices=len(head), styles=8), folder / "head.obj"
        write_mesh(path, head, faces)
        load_animator(weights, corpus=None, template=path)
        write_mesh(path, head @ Z_UP, faces)
        with pytest.raises(BadInput, match=r"\.obj: expected a head whose left is x .* looks along -y and is 0"):
            load_animator(weights, corpus=None, template=path)
        write_mesh(path, head @ Z_UP.T, faces)
        with pytest.raises(BadInput, match="one that looks along y and is 0"):
            load_animator(weights, corpus=None, template=path)


def test_a_head_with_z_up_is_refused_for_a_transfer(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    head, faces = trimesh.remesh.subdivide(sheet().astype(np.float64), topology().faces)
    write_mesh(tmp_path / "head.obj", head @ Z_UP, faces)
    given = {"corpus": corpus, "template": tmp_path / "head.obj", "transfer": tmp_path / "head.npz"}
    with pytest.raises(BadInput, match=r"head\.obj: expected a head whose left is x .* looks along -y"):
        load_animator(student, **given)
    assert not (tmp_path / "head.npz").exists()


def test_without_a_corpus_a_template_and_a_style_are_needed(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    with pytest.raises(BadInput, match=r"corpus.json: expected a file, found nothing"):
        load_animator(student, corpus=tmp_path / "nowhere")
    with pytest.raises(BadInput, match="expected a face, found neither a corpus nor a template"):
        load_animator(student, corpus=None)
    write_mesh(tmp_path / "head.ply", sheet(), topology().faces)
    alone = load_animator(student, corpus=tmp_path / "nowhere", template=tmp_path / "head.ply", mm_per_unit=1.0)
    assert alone.animate(speech(1), style="A").mm_per_unit == 1
    with pytest.raises(BadInput, match=r"expected a corpus to compare the voice with, found none. Choose one of A, B"):
        alone.animate(speech(1))
    with pytest.raises(BadInput, match=r"model.json: expected a file, found nothing. Make it first: make repro."):
        load_animator(tmp_path / "no model", corpus=corpus)
    with pytest.raises(BadInput, match=r"mm_per_unit: expected a positive number, found nan. 1000 is metres"):
        load_animator(student, corpus=None, template=tmp_path / "head.ply", mm_per_unit=float("nan"))


def test_the_corpus_must_be_the_models(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    text = (student / "model.json").read_text()
    (student / "model.json").write_text(text.replace('"toy"', '"vocaset"'))
    with pytest.raises(BadInput, match="expected one made for the recipe toy"):
        load_animator(student, corpus=corpus)
    assert open_corpus(corpus).recipe == "toy"


def packaged(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student in a package at `place`; the working directory is empty. Returns the student."""
    student, corpus = toy_student(place)
    (place / "students").mkdir()
    student = student.rename(place / "students" / "learn2talk")
    for module in (find_model_module, paths):
        monkeypatch.setattr(module, "PACKAGED_STUDENTS", place / "students")
    monkeypatch.setattr(paths, "PACKAGED", place)
    monkeypatch.setattr(paths, "PACKAGED_CORPUS", corpus)
    (place.parent / "empty").mkdir()
    monkeypatch.chdir(place.parent / "empty")
    return student


def test_without_a_run_the_packaged_student_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = packaged(tmp_path / "package", monkeypatch)
    assert find_model() == find_model("learn2talk") == student
    animator = load_animator()
    assert animator.corpus is not None
    assert animator.corpus.folder == tmp_path / "package" / "corpus"
    assert len(animator.animate(speech(1.0)).states) == 30
    with pytest.raises(
        BadInput, match=r"other: expected a folder, .* or the name of a student: learn2talk, found nothing"
    ):
        find_model("other")


def test_a_folder_that_is_no_model_does_not_hide_the_student_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a clone of this project, `learn2talk` is the folder of the package."""
    student = packaged(tmp_path / "package", monkeypatch)
    Path("learn2talk").mkdir()
    assert find_model("learn2talk") == student
    assert find_model("./learn2talk/../learn2talk") == Path("learn2talk/../learn2talk")
    shutil.copytree(student, "learn2talk", dirs_exist_ok=True)
    assert find_model("learn2talk") == Path("learn2talk")


def test_a_run_comes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = packaged(tmp_path / "package", monkeypatch)
    toy_student(Path())
    Path("data/models/students").mkdir(parents=True)
    Path("student").rename("data/models/students/learn2talk")
    Path("corpus").rename("data/corpus")
    assert find_model() == find_model("learn2talk") == Path("data/models/students/learn2talk")
    assert load_animator().corpus.folder == Path("data/corpus")
    assert load_animator(student).corpus.folder == tmp_path / "package" / "corpus"
    assert load_animator(student, corpus=Path("data/corpus")).corpus.folder == Path("data/corpus")
    shutil.rmtree("data/models/students/learn2talk")
    Path("data/models/students/learn2talk").mkdir()
    with pytest.raises(BadInput, match=r"learn2talk: expected a model folder of this project, with model\.json"):
        load_animator()  # a damaged run is not hidden by the package
