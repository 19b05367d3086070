"""Own data: motion and sound for any mesh, in FaceFormer's layout or with one folder per clip.

    FaceFormer's layout                       a folder per clip
    vertices_npy/ANNA_01.npy                  ANNA/01/speech.wav          or ANNA_01/speech.wav
    wav/ANNA_01.wav                           ANNA/01/motion.npy          or ANNA/01/frame_0001.ply, .obj, …
    templates.pkl                             templates.pkl               or templates/ANNA.ply, .obj, .npy
    templates/ANNA.ply                        templates/ANNA.ply
    clips.csv                                 clips.csv

An array is (T, V, 3) or (T, 3 V). The triangles come from a mesh in `templates`, from one beside it, or from the first
mesh of a sequence. A clip is named after its speaker and its sentence, `SPEAKER_SENTENCE`: the part before the last
underscore is the speaker. `clips.csv` (or `clips.json`) can override this, see `read_clip_table`. Without it clips are
split by `default_splits`.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learn2talk_core.audio.sound import SUFFIXES as SOUNDS
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.corpus.format import SPLITS, Recording
from learn2talk_core.corpus.offset import shifted
from learn2talk_core.datasets.source import Source, read_ahead
from learn2talk_core.mesh.files import SUFFIXES as MESHES
from learn2talk_core.mesh.files import is_mesh, read_mesh
from learn2talk_core.mesh.regions import face_colours, read_ids, regions_from_lips
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import by_stem, read_json, visible
from learn2talk_core.run.progress import log
from learn2talk_core.untrusted.pickles import load_array, load_pickle

TABLES = ("clips.csv", "clips.json")
HELD_OUT = 0.15  # share of the speakers, and of the sentences, that the default rule reserves for each test


@dataclass(frozen=True)
class ClipEntry:
    """What is known about a clip before it is read; if `split` is None, the default rule decides."""

    speaker: str
    sentence: str
    text: str = ""
    split: str | None = None


@dataclass(frozen=True)
class Files:
    """The files of one clip: a sound file, and one array or one mesh per frame."""

    sound: Path
    motion: tuple[Path, ...]


def read_folder(
    folder: str | Path,
    *,
    fps: float,
    mm_per_unit: float,
    lips: str | Path,
    upper_face: str | Path | None = None,
    mouth: str | Path | None = None,
    axes: Sequence[str] = ("x", "y", "z"),
    audio_offset_ms: float = 0.0,
) -> Source:
    """Open own data; its clips are read one by one while the corpus is written.

    Clips without sound or motion, and clips that are in no split, are logged.

    Args:
        folder: see the module's docstring.
        fps: frame rate of the motion.
        mm_per_unit: millimetres per unit of the meshes.
        lips: file with the lip vertices, see `read_ids`. A few points picked on the lips are enough: the other regions
            and the lip pairs are derived from them.
        upper_face, mouth: files with these regions, replacing the derived ones.
        axes: which axes of the files point to the speaker's left, up and out of the face, for instance
            `("x", "z", "-y")`.
        audio_offset_ms: milliseconds by which the sound is delayed against the motion (negative: made earlier); sound
            or motion without a counterpart is cut off.

    Raises:
        BadInput: nothing to read, a missing template, or meshes that do not belong together. A broken clip is refused
            when it is read.
    """
    folder = Path(folder)
    turn = _turn(axes)
    clips = find_clips(folder)
    rows = split_clips({name: _named(folder, files) for name, files in clips.items()}, read_clip_table(folder))
    templates, faces = _templates(folder, clips, sorted({row.speaker for row in rows.values()}))
    templates = {speaker: turn(vertices) for speaker, vertices in templates.items()}
    face = np.mean(list(templates.values()), axis=0)
    regions, pairs = regions_from_lips(face, faces, _ids(lips, len(face)), mm_per_unit=mm_per_unit)
    given = {"upper_face": upper_face, "mouth": mouth}
    regions |= {name: np.unique(_ids(path, len(face))) for name, path in given.items() if path is not None}
    if not len(pairs):
        log.warning("%s: upper and lower lip are not separate in the mesh; metrics of the lip gap stay empty", folder)

    def read(name: str) -> Recording:
        row = rows[name]
        motion, sound = read_motion(clips[name].motion, len(face)), read_sound(clips[name].sound)
        motion, sound = shifted(motion, sound, audio_offset_ms / 1000, fps)
        return Recording(
            id=name,
            speaker=row.speaker,
            sentence=row.sentence,
            text=row.text,
            split=str(row.split),
            audio=sound,
            motion=turn(motion),
        )

    return Source(
        recordings=read_ahead(read, rows),
        topology=Topology(faces, regions, pairs, face_colours(face, faces, regions, mm_per_unit=mm_per_unit)),
        templates=templates,
        train_speakers=tuple(sorted({row.speaker for row in rows.values() if row.split == "train"})),
        fps=fps,
        mm_per_unit=mm_per_unit,
        recipe="folder",
    )


def find_clips(folder: Path) -> dict[str, Files]:
    """Clip → files, sorted by name; clips without sound or motion are logged, never dropped silently."""
    if not folder.is_dir():
        raise BadInput(folder, expected="a folder of clips", found="no such folder", fix="Check the path.")
    found = _faceformer_layout(folder) if (folder / "vertices_npy").is_dir() else _folders_of_clips(folder)
    if not found:
        raise BadInput(
            folder,
            expected="vertices_npy/NAME.npy with wav/NAME.wav, or folders with a sound file and motion",
            found="no such clip",
            fix="See docs/datasets.md for the two layouts.",
        )
    return dict(sorted(found.items()))


def read_clip_table(folder: Path) -> dict[str, dict[str, str]]:
    """The contents of `clips.csv` or `clips.json`: clip → `split` and, where given, `speaker`, `sentence`, `text`.

    The CSV has a column `clip` and any of these; the JSON is an object of objects. Clips that the table does not name
    are left out. Without a table the result is empty.
    """
    path = next((path for name in TABLES for path in visible(folder) if path.name.lower() == name), None)
    if path is None:
        return {}
    if path.suffix.lower() == ".json":
        table = read_json(path, made_by="a table of the clips")
    else:
        table = {row.pop("clip", ""): row for row in _csv_rows(path)}
    fields = {"split", "speaker", "sentence", "text"}
    whole = isinstance(table, dict) and all(isinstance(row, dict) and row.keys() <= fields for row in table.values())
    if not whole or "" in table or not table:
        raise BadInput(
            path,
            expected="a row for each clip with `clip`, `split` and optionally speaker, sentence, text",
            found="other columns, or a row without clip",
            fix="Correct the column names in its first line.",
        )
    for name, row in table.items():
        if row.get("split") not in SPLITS:
            raise BadInput(
                f"{path}: {name}",
                expected=f"one of {', '.join(SPLITS)}",
                found=repr(row.get("split")),
                fix="Correct the split.",
            )
    return table


def _csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a comma-separated table in UTF-8, or in UTF-16 with a byte order mark; without empty fields."""
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text, found = content.decode("utf-16" if utf16 else "utf-8-sig"), "perhaps UTF-16"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        text, found = "\0", f"perhaps Latin-1: byte 0x{error.object[error.start]:02x} in line {line}"
    if "\0" in text:
        fix = "Save it in UTF-8 (Excel: CSV UTF-8)."
        raise BadInput(path, expected="text in UTF-8", found=f"another encoding, {found}", fix=fix)
    _refuse_other_separator(path, next(iter(text.splitlines()), ""))
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    rows = []
    try:
        for row in reader:
            if None in row:
                raise BadInput(
                    f"{path}, line {reader.line_num}",
                    expected="as many fields as in the first line",
                    found="more",
                    fix="Put quotes around text that contains commas.",
                )
            rows.append({name.strip(): field for name, field in row.items() if field})
    except csv.Error as error:
        where = f"{path}, after line {reader.line_num}"
        raise BadInput(where, expected="fields between commas", found=str(error), fix="Correct the line.") from error
    return rows


def _refuse_other_separator(path: Path, header: str) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        columns = {column.strip(' "') for column in header.split(separator)}
        if "clip" in columns and len(columns) > 1:
            fix = "Save it as a CSV with commas; put quotes around text that contains commas."
            raise BadInput(path, expected="columns separated by commas", found=name, fix=fix)


def split_clips(rows: Mapping[str, ClipEntry], table: Mapping[str, Mapping[str, str]]) -> dict[str, ClipEntry]:
    """Give every clip a split, from the table or by the default rule; clips without one are left out and logged."""
    if table:
        absent = sorted(set(table) - set(rows))
        if absent:
            log.warning("the table of clips names clips that do not exist: %s", ", ".join(absent))
        split = {name: ClipEntry(**{**vars(row), **table[name]}) for name, row in rows.items() if name in table}
    else:
        split = default_splits(rows)
    left_out = sorted(set(rows) - set(split))
    if left_out:
        log.warning("%d clips are in no split and are left out: %s", len(left_out), ", ".join(left_out))
    if not any(row.split == "train" for row in split.values()):
        raise BadInput(
            "splits", expected="clips for training", found="none", fix="Give some clips the split `train` in clips.csv."
        )
    return split


def default_splits(rows: Mapping[str, ClipEntry]) -> dict[str, ClipEntry]:
    """Splits in which training contains neither a sentence of the tests nor an unseen speaker.

    With four speakers or more, the last `HELD_OUT` of them by name form the unseen test, and as many before them the
    validation split. Of each other speaker's sentences, the last `HELD_OUT` by name form the seen test; with fewer than
    four speakers, as many before them form the validation split. Clips that would put a sentence into both training and
    a test are left out.
    """
    speakers = sorted({row.speaker for row in rows.values()})
    held = math.ceil(HELD_OUT * len(speakers)) if len(speakers) >= 4 else 0
    trained = speakers[: len(speakers) - 2 * held]
    role: dict[tuple[str, str], str] = {}
    for speaker in trained:
        own = sorted({row.sentence for row in rows.values() if row.speaker == speaker})
        last = math.ceil(HELD_OUT * len(own)) if len(own) >= 3 else 0
        names = ["train"] * (len(own) - (last if held else 2 * last)) + ["validation"] * (0 if held else last)
        role |= {(speaker, sentence): name for sentence, name in zip(own, names + ["test_seen"] * last, strict=True)}
    tested = {sentence for (_, sentence), name in role.items() if name != "train"}
    heard = {sentence for (_, sentence), name in role.items() if name == "train"} - tested
    split = {}
    for name, row in rows.items():
        found = role.get((row.speaker, row.sentence))
        if found is None and row.sentence not in heard:
            found = "test_unseen" if row.speaker in speakers[len(speakers) - held :] else "validation"
        if found is not None and not (found == "train" and row.sentence in tested):
            split[name] = ClipEntry(row.speaker, row.sentence, row.text, found)
    return split


def read_motion(paths: Sequence[Path], vertex_count: int) -> np.ndarray:
    """The motion (T, V, 3) float32 from one array, or from one mesh per frame in order."""
    if len(paths) == 1 and paths[0].suffix.lower() == ".npy":
        array = load_array(paths[0], mmap=True)
        shapes = ((vertex_count, 3), (3 * vertex_count,))
        if array.dtype.kind != "f" or array.shape[1:] not in shapes:
            raise BadInput(
                paths[0],
                expected=f"floats of shape (frames, {vertex_count}, 3) or (frames, {3 * vertex_count})",
                found=f"{array.dtype} of shape {array.shape}",
                fix="Check that the array belongs to the mesh of the templates.",
            )
        return np.array(array, np.float32).reshape(len(array), vertex_count, 3)
    numbers = [_number(path) for path in paths]
    for path, before, number in zip(paths[1:], numbers, numbers[1:], strict=False):
        if number != before + 1:
            raise BadInput(
                path,
                expected=f"frame {before + 1} after frame {before}",
                found=f"frame {number}",
                fix="Export the sequence again; every frame is needed.",
            )
    frames = np.empty((len(paths), vertex_count, 3), np.float32)
    for frame, path in zip(frames, paths, strict=True):
        frame[:] = _of_count(path, read_mesh(path)[0], vertex_count)
    return frames


def _faceformer_layout(folder: Path) -> dict[str, Files]:
    motion, sound = by_stem(folder / "vertices_npy", (".npy",)), by_stem(folder / "wav", SOUNDS)
    _log_missing(folder, motion.keys() - sound.keys(), "no sound in wav")
    _log_missing(folder, sound.keys() - motion.keys(), "no motion in vertices_npy")
    return {name: Files(sound[name], (motion[name],)) for name in motion.keys() & sound.keys()}


def _folders_of_clips(folder: Path) -> dict[str, Files]:
    """Every folder with one sound file and motion. A clip's name is the parts of its path joined by underscores."""
    found, silent, still = {}, set(), set()
    for place in (path for path in visible(folder, "**/*") if path.is_dir() and path != folder / "templates"):
        files = [path for path in visible(place) if path.is_file()]
        sound = [path for path in files if path.suffix.lower() in SOUNDS]
        arrays = [path for path in files if path.suffix.lower() == ".npy"]
        motion = arrays or sorted(filter(is_mesh, files), key=_number)
        if not sound or not motion:
            silent |= {_clip_name(folder, place)} if motion else set()
            still |= {_clip_name(folder, place)} if sound else set()
            continue
        if len(sound) > 1 or len(arrays) > 1:
            raise BadInput(
                place,
                expected="one sound file and one array, or one sound file and meshes",
                found=", ".join(path.name for path in [*sound, *arrays]),
                fix="Move the other files elsewhere.",
            )
        found[_clip_name(folder, place)] = Files(sound[0], tuple(motion))
    _log_missing(folder, silent, "no sound")
    _log_missing(folder, still, "no motion")
    return found


def _clip_name(folder: Path, place: Path) -> str:
    return "_".join(place.relative_to(folder).parts)


def _log_missing(folder: Path, names: Iterable[str], what: str) -> None:
    if names := sorted(names):
        log.warning("%s: %s, left out: %s", folder, what, ", ".join(names))


def _named(folder: Path, files: Files) -> ClipEntry:
    """Speaker and sentence, taken from a clip's name."""
    place = files.sound.parent
    if place == folder / "wav":
        speaker, _, sentence = files.sound.stem.rpartition("_")
    elif place.parent != folder:
        speaker, sentence = place.parent.name, place.name
    else:
        speaker, _, sentence = place.name.rpartition("_")
    if not speaker or not sentence:
        raise BadInput(
            files.sound, expected="a name such as SPEAKER_SENTENCE", found=f"{sentence!r}", fix="Rename the clip."
        )
    return ClipEntry(speaker, sentence)


def _templates(
    folder: Path, clips: Mapping[str, Files], speakers: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each speaker's neutral face as stored, and the triangles."""
    meshes = [path for place in (folder, folder / "templates") for path in visible(place) if is_mesh(path)]
    sequence = next((files.motion[0] for files in clips.values() if is_mesh(files.motion[0])), None)
    if not meshes and sequence is None:
        raise BadInput(
            folder / "templates",
            expected="a mesh, .ply or .obj, with the triangles",
            found="none",
            fix="Export one neutral face into it.",
        )
    vertices, faces = read_mesh(meshes[0] if meshes else sequence)  # type: ignore[arg-type]
    if not len(faces):
        raise BadInput(
            meshes[0] if meshes else sequence, expected="triangles", found="none", fix="Export it with triangles."
        )
    pickled = load_pickle(folder / "templates.pkl") if (folder / "templates.pkl").is_file() else {}
    if not isinstance(pickled, Mapping):
        raise BadInput(
            folder / "templates.pkl",
            expected="a dictionary of speakers",
            found=f"a {type(pickled).__name__}",
            fix="Write {speaker: array (V, 3)}.",
        )
    named = by_stem(folder / "templates", (*MESHES, ".npy"))
    templates = {}
    for speaker in speakers:
        if speaker in pickled:
            where, found = f"{folder / 'templates.pkl'}, {speaker}", np.asarray(pickled[speaker])
        elif speaker in named:
            where = str(named[speaker])
            found = read_mesh(named[speaker])[0] if is_mesh(named[speaker]) else load_array(named[speaker])
        else:
            raise BadInput(
                folder / "templates",
                expected=f"a neutral face of speaker {speaker}",
                found="none",
                fix=f"Write templates/{speaker}.ply, or add {speaker} to templates.pkl.",
            )
        templates[speaker] = _of_count(where, found, len(vertices))
    return templates, faces


def _of_count(where: object, vertices: np.ndarray, count: int) -> np.ndarray:
    if vertices.size != 3 * count or vertices.dtype.kind != "f" or not np.isfinite(vertices).all():
        raise BadInput(
            where,
            expected=f"{count} finite vertices, as in the first template",
            found=f"{vertices.dtype} of shape {vertices.shape}",
            fix="Export all meshes with the same vertices.",
        )
    return vertices.astype(np.float32).reshape(count, 3)


def _ids(path: str | Path, count: int) -> np.ndarray:
    ids = read_ids(path)
    if ids.max() >= count:
        raise BadInput(
            path,
            expected=f"vertex numbers 0 … {count - 1}",
            found=str(ids.max()),
            fix="Check that the list belongs to this mesh.",
        )
    return ids


def _turn(axes: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """The conversion of positions (..., 3) from the axes of the files to ours."""
    order = [axis.removeprefix("-") for axis in axes]
    if sorted(order) != ["x", "y", "z"]:
        raise BadInput(
            "axes",
            expected="x, y and z in some order, each optionally with a minus",
            found=str(list(axes)),
            fix="Correct the axes.",
        )
    columns = ["xyz".index(name) for name in order]
    signs = np.array([-1 if axis.startswith("-") else 1 for axis in axes], np.float32)
    if np.linalg.det(np.eye(3)[columns] * signs) < 0:
        raise BadInput(
            "axes", expected="axes that rotate the mesh", found="axes that mirror it", fix="Change one of the signs."
        )
    return lambda positions: np.ascontiguousarray(positions[..., columns] * signs)


def _number(path: Path) -> int:
    """The frame number: the last number in the file name."""
    found = re.findall(r"\d+", path.stem)
    if not found:
        raise BadInput(path, expected="a frame number in the file name", found="none", fix="Rename the frames.")
    return int(found[-1])
