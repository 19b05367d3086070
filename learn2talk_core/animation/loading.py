"""From a folder or a published file to an `Animator`: load the student, choose the corpus, choose the face."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learn2talk_core.animation.animator import Animator
from learn2talk_core.animation.blend_shapes import load_shapes
from learn2talk_core.checkpoints.faceformer import published_student
from learn2talk_core.corpus.format import Corpus, open_corpus, sha256
from learn2talk_core.mesh.files import is_mesh, read_mesh
from learn2talk_core.mesh.orientation import refuse_rotated
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.mesh.transfer import (
    Correspondence,
    find_correspondence,
    load_correspondence,
    save_correspondence,
)
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import Student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json
from learn2talk_core.run.paths import CORPUS, STUDENT
from learn2talk_core.run.recipe import refuse_other_recipe
from learn2talk_core.run.weights import load_config

Mesh = tuple[np.ndarray, np.ndarray]  # positions (V, 3), faces (F, 3)


class Loaded(NamedTuple):
    """A student: its network, training speakers, frames a second, and where it comes from."""

    student: Student
    speakers: tuple[str, ...]
    fps: float
    about: dict[str, Any]

    @property
    def vertices(self) -> int:
        """Of the faces that it moves."""
        return self.student.vertex_count


class ChosenFace(NamedTuple):
    """What an `Animator` moves; its attributes of the same names say more."""

    topology: Topology
    templates: Mapping[str, np.ndarray]
    template: np.ndarray | None
    mm_per_unit: float
    correspondence: Correspondence | None = None


def load_animator(
    model: str | Path = STUDENT,
    *,
    corpus: str | Path | None = CORPUS,
    template: str | Path | None = None,
    transfer: str | Path | None = None,
    mm_per_unit: float = 1000.0,
    shapes: str | Path | None = None,
    head_model: str | Path | None = None,
) -> Animator:
    """Load a student.

    Args:
        model: a folder of this project (`data/models/students/learn2talk`, a packed model, what `learn2talk
            import-checkpoint` wrote), or a published FaceFormer, `vocaset.pth` or `biwi.pth`.
        corpus: that the student was trained on: its faces, topology and voices. Where it is missing or None, a
            `template` in a file is needed, and styles are given by name.
        template: the face: a speaker of the corpus, or an `.obj` or `.ply` in the model's topology. None takes the face
            of the style's speaker.
        transfer: a file with the correspondence of a `template` in another topology with the corpus's first training
            speaker (`mesh.transfer`); where there is none it is computed, in seconds, and written.
        mm_per_unit: of a template without a corpus.
        shapes: an `.npz` with ARKit's blend shapes of the face (`export.arkit.load_shapes`), for blinks and gaze; the
            embedded head has its own.
        head_model: PoseVAE's weights (`head_motion.load_head_model`); None is the one that comes with this package.

    Raises:
        BadInput: no such model, speaker or file; a template of another topology, in another unit, or rotated.
    """
    if not 0 < mm_per_unit < math.inf:
        fix = "1000 is metres, 1 is millimetres."
        raise BadInput("mm_per_unit", expected="a positive number", found=f"{mm_per_unit:g}", fix=fix)
    model = Path(model)
    mesh = read_mesh(template) if template is not None and is_mesh(template) else None
    opened = None
    if corpus is not None and (mesh is None or (Path(corpus) / "corpus.json").is_file()):
        opened = open_corpus(corpus)
    loaded = _load_student(model)
    chosen = _choose_corpus(opened, loaded, model, own_mesh=mesh is not None and transfer is None)
    if mesh is not None:
        face = _face_of_file(mesh, str(template), transfer, loaded, chosen, mm_per_unit)
    else:
        face = _face_of_corpus(chosen, None if template is None else str(template), loaded, model)
    return Animator(
        student=loaded.student,
        speakers=loaded.speakers,
        fps=loaded.fps,
        **face._asdict(),
        corpus=chosen,
        about=loaded.about,
        blend_shapes=None if shapes is None else load_shapes(shapes),
        head_model=head_model,
    )


def _load_student(model: Path) -> Loaded:
    """Of a folder of ours, or of a published file."""
    if model.is_file():
        return Loaded(*published_student(model), {"folder": model.name, "sha256": sha256(model)})
    config = load_config(model, made_by="make repro")
    student, speakers = load_student(model, made_by="make repro")
    about = {"folder": str(model), "sha256": sha256(model / "model.safetensors"), "notes": config["notes"]}
    if (model / "learn2talk.json").is_file():
        about["commit"] = read_json(model / "learn2talk.json", made_by="learn2talk pack").get("commit")
    return Loaded(student, speakers, config["fps"], about)


def _choose_corpus(opened: Corpus | None, loaded: Loaded, model: Path, *, own_mesh: bool) -> Corpus | None:
    """The corpus, if it is that of the student's training; a template of its own mesh can do without."""
    if opened is None:
        return None
    vertices = len(opened.topology.colours)
    if own_mesh and vertices != loaded.vertices:
        return None  # the corpus is of another face than the model and the template
    refuse_other_recipe(model, loaded.about.get("notes", {}).get("recipe"), opened.recipe)
    if vertices != loaded.vertices:
        found = f"{vertices} in {opened.folder}"
        fix = "Give the corpus of its training, or --template head.obj in its topology."
        raise BadInput(model, expected=f"a face of {loaded.vertices} vertices", found=found, fix=fix)
    return opened


def _face_of_file(
    mesh: Mesh, path: str, transfer: str | Path | None, loaded: Loaded, corpus: Corpus | None, mm_per_unit: float
) -> ChosenFace:
    """A mesh in the model's topology; with `transfer` and a corpus to compare it with, in any."""
    if corpus is None:
        _check_template(path, mesh, loaded.vertices, None)
        return ChosenFace(_plain(mesh), {}, mesh[0], mm_per_unit)
    if transfer is None:
        _check_template(path, mesh, loaded.vertices, corpus)
        return ChosenFace(corpus.topology, corpus.templates, mesh[0], corpus.mm_per_unit)
    other = _correspondence(transfer, corpus.templates[loaded.speakers[0]], corpus.topology.faces, mesh)
    topology = other.topology(corpus.topology, mesh[1])
    return ChosenFace(topology, corpus.templates, mesh[0], corpus.mm_per_unit / other.scale, other)


def _face_of_corpus(corpus: Corpus | None, template: str | None, loaded: Loaded, model: Path) -> ChosenFace:
    """The face of one speaker, or without a `template` those of all."""
    if corpus is None:
        fix = "Give --template head.obj in the model's topology."
        raise BadInput(model, expected="a face", found="neither a corpus nor a template", fix=fix)
    if template is not None and template not in corpus.templates:
        fix = f"Choose one of {', '.join(corpus.templates)}, or a file .obj or .ply."
        raise BadInput("template", expected="a speaker of the corpus, or a file", found=template, fix=fix)
    if template is None and not set(loaded.speakers) <= set(corpus.templates):
        fix = "Give a template: a speaker of the corpus or a file."
        raise BadInput(corpus.folder, expected=f"the faces of {', '.join(loaded.speakers)}", found="others", fix=fix)
    face = None if template is None else corpus.templates[template]
    return ChosenFace(corpus.topology, corpus.templates, face, corpus.mm_per_unit)


def _check_template(path: str, mesh: Mesh, vertices: int, corpus: Corpus | None) -> None:
    """Refuse a mesh that the model's displacements do not fit."""
    positions, faces = mesh
    fix = "Export the head in the model's topology with the order of its vertices kept, or give --transfer FILE.npz."
    if len(positions) != vertices:
        raise BadInput(path, expected=f"{vertices} vertices, as the model", found=f"{len(positions)}", fix=fix)
    if corpus is None:
        return
    own, given = ({frozenset(face) for face in some.tolist()} for some in (corpus.topology.faces, faces))
    if len(faces) != len(corpus.topology.faces) or own != given:
        found = f"{len(faces)}, of which {len(own & given)} are the model's"
        raise BadInput(path, expected=f"the {len(own)} triangles of the model", found=found, fix=fix)
    size = float(np.mean([np.ptp(face, axis=0).max() for face in corpus.templates.values()]))
    ratio = float(np.ptp(positions, axis=0).max()) / size
    if not 0.5 < ratio < 2:
        fix = f"Scale it by {1 / ratio:.3g}: the unit is {corpus.mm_per_unit:g} mm."
        raise BadInput(path, expected=f"a head about {size:.3g} high", found=f"{ratio * size:.3g}", fix=fix)
    refuse_rotated(path, positions, np.mean(list(corpus.templates.values()), axis=0))


def _correspondence(path: str | Path, old: np.ndarray, old_faces: np.ndarray, mesh: Mesh) -> Correspondence:
    if not Path(path).is_file():
        save_correspondence(path, find_correspondence(old, old_faces, *mesh))
    return load_correspondence(path, len(old), len(mesh[0]))


def _plain(mesh: Mesh) -> Topology:
    """What a mesh alone tells: no regions, grey."""
    positions, faces = mesh
    colours = np.full((len(positions), 3), 0.7, np.float32)
    return Topology(faces=faces, regions={}, lip_pairs=np.zeros((0, 2), np.int64), colours=colours)
