"""Make an `Animator` from a model folder or published file: load the student, choose corpus and face."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learn2talk_core.animation.animator import Animator
from learn2talk_core.animation.blend_shapes import load_shapes
from learn2talk_core.animation.characters import character_names
from learn2talk_core.checkpoints.faceformer import published_student
from learn2talk_core.corpus.format import Corpus, open_corpus, sha256
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.files import is_mesh, read_mesh
from learn2talk_core.mesh.orientation import refuse_rotated, refuse_z_up
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
from learn2talk_core.run.find_model import find_model
from learn2talk_core.run.paths import CORPUS, corpus_of
from learn2talk_core.run.recipe import refuse_other_recipe
from learn2talk_core.run.weights import load_config

Mesh = tuple[np.ndarray, np.ndarray]  # positions (V, 3), faces (F, 3)


class Loaded(NamedTuple):
    """A student: its network, training speakers, frame rate and origin."""

    student: Student
    speakers: tuple[str, ...]
    fps: float
    about: dict[str, Any]

    @property
    def vertices(self) -> int:
        """Number of vertices of the faces that it moves."""
        return self.student.vertex_count


class ChosenFace(NamedTuple):
    """The face that an `Animator` moves; see its attributes of the same names."""

    topology: Topology
    templates: Mapping[str, np.ndarray]
    template: np.ndarray | None
    mm_per_unit: float
    correspondence: Correspondence | None = None


def load_animator(
    model: str | Path | None = None,
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
        model: a folder of this project (`data/models/students/learn2talk`, a packed model, or the output of `learn2talk
            import-checkpoint`), or a published FaceFormer, `vocaset.pth` or `biwi.pth`; or a name (`find_model`).
        corpus: the corpus that the student was trained on: faces, topology and voices; a student of this package has
            its own. If it is missing or None, a `template` file is needed, and "auto" is not available as a style.
        template: the face: a packaged character (`characters.character_names`), a speaker of the corpus, or an `.obj`
            or `.ply` in the model's topology. None uses the face of the style's speaker.
        transfer: for a `template` in another topology: a file with its correspondence to the corpus's first training
            speaker (`mesh.transfer`). If the file does not exist it is computed (some seconds) and written.
        mm_per_unit: unit of a template that is used without a corpus.
        shapes: an `.npz` with ARKit blend shapes of the face (`blend_shapes.load_shapes`), for blinks and gaze; the
            embedded head has its own.
        head_model: PoseVAE's weights (`head_motion.load_head_model`); None uses those in this package.

    Raises:
        BadInput: unknown model, speaker or file; a template with another topology or unit, or rotated. Without a
            corpus, and with `transfer`, only z up is recognised as a rotation, and only if the mesh shows it clearly.
    """
    if not 0 < mm_per_unit < math.inf:
        fix = "1000 is metres, 1 is millimetres."
        raise BadInput("mm_per_unit", expected="a positive number", found=f"{mm_per_unit:g}", fix=fix)
    model = find_model(model)
    corpus = corpus_of(model, corpus)
    mesh = read_mesh(template) if template is not None and is_mesh(template) else None
    opened = None
    own = mesh is not None or template in character_names()  # a face that no corpus is needed for
    if corpus is not None and (not own or (Path(corpus) / "corpus.json").is_file()):
        opened = open_corpus(corpus)
    loaded = _load_student(model)
    chosen = _choose_corpus(opened, loaded, model, own_mesh=mesh is not None and transfer is None)
    character = template if mesh is None and template in character_names() else None
    if character is not None and chosen is not None and character in chosen.templates:
        character = None  # a speaker of the same name
    if character is not None:
        face = _bare_face(chosen, loaded)
    elif mesh is not None:
        face = _face_of_file(mesh, str(template), transfer, loaded, chosen, mm_per_unit)
    else:
        face = _face_of_corpus(chosen, None if template is None else str(template), loaded, model)
    animator = Animator(
        student=loaded.student,
        speakers=loaded.speakers,
        fps=loaded.fps,
        **face._asdict(),
        corpus=chosen,
        about=loaded.about,
        blend_shapes=None if shapes is None else load_shapes(shapes),
        head_model=head_model,
    )
    return animator if character is None else animator.as_character(str(character))


def _load_student(model: Path) -> Loaded:
    """Load a model folder of this project, or a published file."""
    if model.is_file():
        return Loaded(*published_student(model), {"folder": model.name, "sha256": sha256(model)})
    if model.is_dir() and not (model / "model.json").is_file():
        fix = "Import published files first: learn2talk import-checkpoint; or train one: make repro."
        raise BadInput(model, expected="a model folder of this project, with model.json", found="none", fix=fix)
    config = load_config(model, made_by="make repro")
    student, speakers = load_student(model, made_by="make repro")
    about = {"folder": str(model), "sha256": sha256(model / "model.safetensors"), "notes": config["notes"]}
    if (model / "learn2talk.json").is_file():
        about["commit"] = read_json(model / "learn2talk.json", made_by="learn2talk pack").get("commit")
    return Loaded(student, speakers, config["fps"], about)


def _choose_corpus(opened: Corpus | None, loaded: Loaded, model: Path, *, own_mesh: bool) -> Corpus | None:
    """The corpus, refused if the student was not trained on it; None if not needed for a template file."""
    if opened is None:
        return None
    vertices = len(opened.topology.colours)
    if own_mesh and vertices != loaded.vertices:
        return None  # the corpus has another mesh than model and template
    refuse_other_recipe(model, loaded.about.get("notes", {}).get("recipe"), opened.recipe)
    if vertices != loaded.vertices:
        found = f"{vertices} in {opened.folder}"
        fix = "Give the corpus it was trained on, or --template head.obj in its topology."
        raise BadInput(model, expected=f"a face of {loaded.vertices} vertices", found=found, fix=fix)
    return opened


def _bare_face(corpus: Corpus | None, loaded: Loaded) -> ChosenFace:
    """The embedded head, which a character then takes the place of."""
    if corpus is not None:
        return ChosenFace(corpus.topology, corpus.templates, None, corpus.mm_per_unit)
    face = load_face()
    if loaded.vertices != len(face.base):
        expected = f"a model of the embedded head ({len(face.base)} vertices) for a packaged character"
        fix = "Give another face: a mesh in the model's topology."
        raise BadInput("--face", expected=expected, found=f"{loaded.vertices} vertices", fix=fix)
    return ChosenFace(face.topology, {}, face.neutral, 1000.0)


def _face_of_file(
    mesh: Mesh, path: str, transfer: str | Path | None, loaded: Loaded, corpus: Corpus | None, mm_per_unit: float
) -> ChosenFace:
    """The face from a mesh file: in the model's topology, or in any with `transfer` and a corpus."""
    if corpus is None:
        _check_template(path, mesh, loaded.vertices, None)
        return ChosenFace(_plain(mesh), {}, mesh[0], mm_per_unit)
    if transfer is None:
        _check_template(path, mesh, loaded.vertices, corpus)
        return ChosenFace(corpus.topology, corpus.templates, mesh[0], corpus.mm_per_unit)
    refuse_z_up(path, *mesh)
    other = _correspondence(transfer, corpus.templates[loaded.speakers[0]], corpus.topology.faces, mesh)
    topology = other.topology(corpus.topology, mesh[1])
    return ChosenFace(topology, corpus.templates, mesh[0], corpus.mm_per_unit / other.scale, other)


def _face_of_corpus(corpus: Corpus | None, template: str | None, loaded: Loaded, model: Path) -> ChosenFace:
    """The face of one speaker of the corpus, or without a `template` those of all speakers."""
    if corpus is None:
        fix = "Give --template head.obj in the model's topology."
        raise BadInput(model, expected="a face", found="neither a corpus nor a template", fix=fix)
    if template is not None and template not in corpus.templates:
        fix = f"Choose one of {', '.join(corpus.templates)}, or an .obj or .ply file."
        raise BadInput("template", expected="a speaker of the corpus, or a file", found=template, fix=fix)
    if template is None and not set(loaded.speakers) <= set(corpus.templates):
        fix = "Give a template: a speaker of the corpus or a file."
        raise BadInput(corpus.folder, expected=f"the faces of {', '.join(loaded.speakers)}", found="others", fix=fix)
    face = None if template is None else corpus.templates[template]
    return ChosenFace(corpus.topology, corpus.templates, face, corpus.mm_per_unit)


def _check_template(path: str, mesh: Mesh, vertices: int, corpus: Corpus | None) -> None:
    """Refuse a mesh to which the model's displacements cannot be added."""
    positions, faces = mesh
    fix = "Export the head in the model's topology and vertex order, or give --transfer FILE.npz."
    if len(positions) != vertices:
        raise BadInput(path, expected=f"{vertices} vertices, as in the model", found=f"{len(positions)}", fix=fix)
    if corpus is None:
        refuse_z_up(path, positions, faces)
        return
    own, given = ({frozenset(face) for face in some.tolist()} for some in (corpus.topology.faces, faces))
    if len(faces) != len(corpus.topology.faces) or own != given:
        found = f"{len(faces)} triangles, {len(own & given)} of them in the model"
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
    """The topology of a mesh alone: no regions, grey vertices."""
    positions, faces = mesh
    colours = np.full((len(positions), 3), 0.7, np.float32)
    return Topology(faces=faces, regions={}, lip_pairs=np.zeros((0, 2), np.int64), colours=colours)
