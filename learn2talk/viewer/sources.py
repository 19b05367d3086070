"""Find the clips to show in the paths a user gives: runs, output folders of `learn2talk animate`, motion files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learn2talk.viewer.scene import Motion, ViewerClip, as_wav
from learn2talk_core.animation.characters import character_with
from learn2talk_core.audio.sound import SUFFIXES as SOUNDS
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.corpus.motion_file import SUFFIXES, motion_arrays, mouth_mm, refuse_other_size
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.corpus.predictions import Predictions, open_predictions
from learn2talk_core.mesh.files import is_mesh, read_mesh
from learn2talk_core.mesh.regions import SKIN
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.report.examples import reported_style
from learn2talk_core.report.names import row_title
from learn2talk_core.report.table import TESTS
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import by_stem, read_json, visible
from learn2talk_core.run.own_folder import ANIMATE, MANIFEST
from learn2talk_core.untrusted.pickles import load_array
from learn2talk_core.video.recorded import SUFFIXES as VIDEOS

HEAD_MM, HEADS = 250.0, (0.1, 10.0)  # diagonal of a head, and the accepted range of an unknown mesh relative to it
FIX = "Run make repro first, or give a data folder, an output folder of learn2talk animate, or .npz or .npy files."


class Named(NamedTuple):
    """A motion file with the clip it belongs to and its column in the viewer."""

    clip: str
    column: str
    path: Path


def find_viewer_clips(
    paths: Sequence[str | Path],
    *,
    audio: str | Path | None = None,
    corpus: str | Path | None = None,
    template: str | None = None,
    fps: float | None = None,
    mm_per_unit: float | None = None,
) -> list[ViewerClip]:
    """Find the clips to show, in order.

    Args:
        paths: data folders, output folders of `learn2talk animate` or their parent folders, folders of motion files,
            motion files. Motion files given directly form one clip, side by side. Clips with the same name in several
            folders are merged.
        audio: the sound of all motion files; None uses the sound file of the same name beside each.
        corpus: gives the mesh of motions without triangles.
        template: a speaker of the corpus or a mesh file, for the same purpose.
        fps, mm_per_unit: for motion files that do not contain them.

    Raises:
        BadInput: a path of another kind; a motion without triangles, frame rate or unit, or with another mesh.
    """
    roots = [Path(path) for path in paths]
    runs = [root for root in roots if (root / "corpus" / "corpus.json").is_file()]
    named = [entry for root in roots if root not in runs for entry in _motion_files(root)]
    clips = _clips_of_runs(runs) if runs else []
    if named:
        mesh = _Mesh(corpus, template)
        columns_of = _column_names([entry for entry in named if entry.clip != "Files"])
        named = [entry._replace(column=columns_of.get(entry.column, entry.column)) for entry in named]
        columns: dict[str, list[Named]] = {}
        for entry in named:
            columns.setdefault(entry.clip, []).append(entry)
        clips += [_clip_of_files(title, own, mesh, audio, fps, mm_per_unit) for title, own in columns.items()]
    return clips


def sound_clip(path: str | Path) -> ViewerClip:
    """A clip with a sound and no motion yet."""
    return ViewerClip(Path(path).name, "Sounds", (), as_wav(read_sound(path, allow_silence=True)))


def _clips_of_runs(folders: Sequence[Path]) -> list[ViewerClip]:
    """The test clips: true motion of the first run, predictions of all runs."""
    corpus = open_corpus(folders[0] / "corpus")
    students = {
        _label(path.name, folder, folders): _Student(open_predictions(path, corpus), _affine(path), path.name, scores)
        for folder, scores in zip(folders, map(_scores, folders), strict=True)
        for path in _predicted(folder, scores)
    }
    basis, about = _affine(corpus.folder), (corpus.topology, corpus.fps, corpus.mm_per_unit)
    clips = []
    for test, group in reversed(TESTS.items()):
        for clip in corpus.split(f"test_{test}"):
            rest = corpus.template(clip.speaker)
            rows = corpus.stored(clip)
            truth = Motion("Truth", rows, basis, np.zeros_like(rest) if basis is None else rest, *about)
            motions, styles = [truth], []
            for label, (student, affine, name, scores) in students.items():
                if not student.styles(clip.id):
                    continue
                styles.append(reported_style(student, clip, scores.get(test, {}).get(name, {})))
                states = student.states(clip.id, styles[-1])
                if affine is None:
                    motions.append(Motion(label, states.reshape(len(states), *rest.shape), None, rest, *about))
                else:  # the last row is the bias: corpus/predictions.py
                    linear = affine[:-1].reshape(-1, *rest.shape)
                    motions.append(Motion(label, states, linear, rest + affine[-1].reshape(rest.shape), *about))
            clips.append(
                ViewerClip(
                    title=f"{clip.id}  {clip.text}".strip(),
                    group=group,
                    motions=tuple(motions),
                    sound=as_wav(corpus.audio(clip)),
                    text=clip.text,
                    phonemes=clip.phonemes,
                    truth=0,
                    note=f"Style {', '.join(dict.fromkeys(styles))}." if styles else "",
                )
            )
    return clips


class _Student(NamedTuple):
    """Predictions, their affine map and name, and the result table of their run."""

    predictions: Predictions
    affine: np.ndarray | None
    name: str
    scores: dict[str, Any]


def _affine(folder: Path) -> np.ndarray | None:
    """Memory map of `basis.npy` of a corpus (K, V, 3) or of predictions (d + 1, 3 V); None if there is none."""
    path = folder / "basis.npy"
    return load_array(path, mmap=True) if path.is_file() else None


def _predicted(folder: Path, scores: Mapping[str, Any]) -> list[Path]:
    """The predictions of a run, in the order of its result table."""
    found = sorted(path.parent for path in (folder / "predicted").glob("*/predictions.json"))
    order = {name: place for place, name in enumerate(scores.get("students", ()))}
    return sorted(found, key=lambda path: order.get(path.name, len(order)))


def _scores(folder: Path) -> dict[str, Any]:
    """The result table of a run, which contains the reported styles; empty if there is none."""
    path = folder.absolute().parent / "metrics" / "evaluate.json"
    return read_json(path, made_by="dvc repro evaluate") if path.is_file() else {}


def _label(name: str, folder: Path, folders: Sequence[Path]) -> str:
    return row_title(name) + (f" ({short_names(folders)[folder]})" if len(folders) > 1 else "")


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The last parts of each path, as many as tell it from the others: labels need no full paths."""
    whole = {path: Path(os.path.abspath(path)).parts for path in paths}
    names = {}
    for path, parts in whole.items():
        others = [other for one, other in whole.items() if one != path]
        length = next(
            (n for n in range(1, len(parts)) if all(other[-n:] != parts[-n:] for other in others)), len(parts)
        )
        names[path] = "/".join(parts[-length:])
    return names


def _motion_files(root: Path) -> Iterator[Named]:
    if root.suffix.lower() in SUFFIXES and not root.is_dir():
        yield Named("Files", root.stem, root)
        return
    if not root.is_dir():
        found = "another kind of file" if root.exists() else "nothing"
        raise BadInput(root, expected="a run or a motion", found=found, fix=FIX)
    made = [root] if _animation(root) else list(filter(_animation, visible(root)))
    if made:
        for folder in made:
            yield Named(folder.name, str(folder.parent), _motion_of(folder))
        return
    files = [path for path in visible(root) if path.suffix.lower() in SUFFIXES]
    if not files:
        raise BadInput(root, expected="a run or a motion", found="a folder with neither", fix=FIX)
    for path in files:
        yield Named(path.stem, str(root), path)


def _motion_of(folder: Path) -> Path:
    for suffix in reversed(SUFFIXES):  # .npz first: it contains more
        if (path := folder / f"{folder.name}{suffix}").is_file():
            return path
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:6])
    fix = "Make it again with --format npz,mp4."
    raise BadInput(folder, expected=f"{folder.name}.npz or .npy", found=found, fix=fix)


def _clip_of_files(
    title: str,
    named: Sequence[Named],
    mesh: "_Mesh",
    audio: str | Path | None,
    fps: float | None,
    mm_per_unit: float | None,
) -> ViewerClip:
    names, short = [entry.column for entry in named], short_names([entry.path for entry in named])
    motions = tuple(
        _motion(
            entry.column if names.count(entry.column) == 1 else short[entry.path], entry.path, mesh, fps, mm_per_unit
        )
        for entry in named
    )
    sound = audio or next((found for entry in named if (found := _sound_beside(entry.path))), None)
    seconds = max(len(motion.rows) / motion.fps for motion in motions)
    wave = (
        np.zeros(round(seconds * SAMPLE_RATE), np.float32) if sound is None else read_sound(sound, allow_silence=True)
    )
    note = (
        "No sound: there is no sound file of the same name (see --audio)."
        if sound is None
        else f"Sound: {Path(sound).name}"
    )
    text, phonemes = next((told for entry in named if (told := _said(entry.path))[1]), ("", ()))
    return ViewerClip(title, "Files", motions, as_wav(wave), text=text, phonemes=phonemes, note=note)


def _column_names(named: Sequence[Named]) -> dict[str, str]:
    """A name for each folder of motions: that of the one model that made them, else the end of its path; both if
    several have the same model."""
    folders = list(dict.fromkeys(entry.column for entry in named))
    short = short_names([Path(folder) for folder in folders])
    models: dict[str, str | None] = {}
    for folder in folders:
        made_by = {_model(entry.path) for entry in named if entry.column == folder}
        models[folder] = made_by.pop() if len(made_by) == 1 else None
    names = {}
    for folder, model in models.items():
        own = short[Path(folder)]
        alone = list(models.values()).count(model) == 1
        names[folder] = own if model is None else model if alone else f"{model} ({own})"
    return names


def _model(path: Path) -> str | None:
    """The name of the model that made a motion, from the manifest of `learn2talk animate`."""
    told = read_json(path.parent / MANIFEST, made_by=ANIMATE) if _animated(path) else None
    model = told.get("model") if isinstance(told, dict) else None
    folder = model.get("folder") if isinstance(model, dict) else None
    return row_title(Path(folder).name) if isinstance(folder, str) else None


def _said(path: Path) -> tuple[str, tuple[Phoneme, ...]]:
    """Transcript and phonemes in the manifest of `learn2talk animate`; empty if there are none."""
    told = read_json(path.parent / MANIFEST, made_by=ANIMATE) if _animated(path) else {}
    rows = told.get("phonemes", []) if isinstance(told, dict) else []
    try:
        phonemes = tuple(Phoneme(float(start), float(end), str(name)) for start, end, name in rows)
    except (TypeError, ValueError) as error:
        fix = f"Make it again: {ANIMATE}."
        raise BadInput(
            path.parent / MANIFEST, expected="phonemes with times", found=str(error)[:60], fix=fix
        ) from error
    return str(told.get("text", "")) if phonemes else "", phonemes


def _sound_beside(path: Path) -> Path | None:
    """The sound file of the same name, or the video that `learn2talk animate` made."""
    return by_stem(path.parent, (*SOUNDS, *sorted(VIDEOS))).get(path.stem)


def _motion(name: str, path: Path, mesh: "_Mesh", fps: float | None, mm_per_unit: float | None) -> Motion:
    arrays = motion_arrays(path, ("fps", "mm_per_unit", "faces"), mapped=True)
    told = read_json(path.parent / MANIFEST, made_by=ANIMATE) if _animated(path) else {}
    if not isinstance(told, dict):
        found = f"a {type(told).__name__}"
        raise BadInput(path.parent / MANIFEST, expected="a JSON object", found=found, fix=f"Make it again: {ANIMATE}.")
    rate = _number(path, "fps", fps, arrays.get("fps"), told.get("fps"))
    unit = _number(
        path, "mm_per_unit", mm_per_unit, arrays.get("mm_per_unit"), told.get("mm_per_unit", mesh.mm_per_unit)
    )
    vertices = arrays["vertices"]
    if vertices.ndim == 2 and vertices.shape[1] % 3 == 0:
        vertices = vertices.reshape(len(vertices), -1, 3)
    if vertices.dtype.kind not in "fiu" or vertices.ndim != 3 or vertices.shape[2] != 3 or not vertices.size:
        found = f"{vertices.dtype} of shape {vertices.shape}"
        fix = "Save the vertices of all frames as float32."
        raise BadInput(path, expected="numbers of shape (frames, V, 3) or (frames, 3 V)", found=found, fix=fix)
    topology = mesh.topology(path, vertices.shape[1], arrays.get("faces"))
    mesh.refuse_other_size(path, vertices, unit)
    character = character_with(topology.faces)
    topology, look = (topology, None) if character is None else (character.topology, character.look)
    return Motion(name, vertices, None, np.zeros(vertices.shape[1:], np.float32), topology, rate, unit, look)


def _animated(path: Path) -> bool:
    return _animation(path.parent) and path.stem == path.parent.name


def _animation(folder: Path) -> bool:
    """Whether `learn2talk animate` made the folder; other commands write manifests too."""
    if not (folder / MANIFEST).is_file():
        return False
    told = read_json(folder / MANIFEST, made_by=ANIMATE)
    return not isinstance(told, dict) or told.get("made_by", ANIMATE) == ANIMATE


def _number(path: Path, name: str, *told: Any) -> float:
    """The first of `told` that is not None."""
    value = next((np.asarray(number) for number in told if number is not None), None)
    if value is None:
        fix = f"Give --{name.replace('_', '-')}, or save an .npz that contains it."
        raise BadInput(path, expected=f"{name} in the file", found="none", fix=fix)
    if value.size != 1 or value.dtype.kind not in "fiu" or not np.isfinite(value).all() or value.item() <= 0:
        raise BadInput(f"{path}: {name}", expected="a number above 0", found=str(value)[:40], fix=f"Correct {name}.")
    return float(value.item())


class _Mesh:
    """Triangles and colours for motions that do not contain their own."""

    def __init__(self, corpus: str | Path | None, template: str | None) -> None:
        known = corpus is not None and (Path(corpus) / "corpus.json").is_file()
        self._corpus: Corpus | None = open_corpus(str(corpus)) if known else None
        self._mesh = read_mesh(template) if template and is_mesh(template) else None
        self.mm_per_unit = None if self._corpus is None else self._corpus.mm_per_unit

    def refuse_other_size(self, path: Path, vertices: np.ndarray, unit: float) -> None:
        """Refuse (T, V, 3) that are not positions of a face with `unit` millimetres per unit."""
        if self._corpus is not None and len(self._corpus.topology.colours) == vertices.shape[1]:
            faces, own = list(self._corpus.templates.values()), self._corpus.mm_per_unit
            typical = float(np.mean([mouth_mm(face, own) for face in faces]))
            refuse_other_size(path, vertices, unit, typical, rest=faces[0], what="face")
        elif self._mesh is not None and len(self._mesh[0]) == vertices.shape[1]:  # in the unit of the motion
            rest = self._mesh[0]
            what = "face, as the template,"
            refuse_other_size(path, vertices, unit, mouth_mm(rest, unit), rest=rest, what=what, units=())
        else:
            refuse_other_size(path, vertices, unit, HEAD_MM, what="face", sizes=HEADS)

    def topology(self, path: Path, count: int, faces: np.ndarray | None) -> Topology:
        """The topology of a mesh of `count` vertices; its own triangles, if given, take precedence."""
        own = None if self._corpus is None else self._corpus.topology
        if own is not None and len(own.colours) == count and (faces is None or np.array_equal(faces, own.faces)):
            return own
        if faces is None and self._mesh is not None and len(self._mesh[0]) == count:
            faces = self._mesh[1]
        if faces is None:
            fix = "Save an .npz with faces, or give --template head.obj or --corpus."
            raise BadInput(path, expected="the triangles of its mesh", found=f"none for {count} vertices", fix=fix)
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu" or not faces.size:
            found = f"{faces.dtype} of shape {faces.shape}"
            raise BadInput(f"{path}: faces", expected="integers of shape (F, 3)", found=found, fix="Save them again.")
        if faces.min() < 0 or faces.max() >= count:
            found = f"{faces.min()} … {faces.max()}"
            raise BadInput(
                f"{path}: faces", expected=f"vertex numbers 0 … {count - 1}", found=found, fix="Correct them."
            )
        colours = np.tile(np.array(SKIN, np.float32), (count, 1))
        return Topology(faces.astype(np.int32), {}, np.zeros((0, 2), np.int64), colours)
