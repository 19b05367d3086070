"""VOCASET (Cudeiro et al. 2019), as downloaded or as converted to FaceFormer's layout.

The distribution: `data_verts.npy` (N, 5023, 3) with all frames of all clips, `subj_seq_to_idx.pkl` (speaker → sentence
→ frame number → row), `raw_audio_fixed.pkl` (speaker → sentence → `audio`, `sample_rate`) and `templates.pkl`.
FaceFormer's layout: `vertices_npy/SPEAKER_sentenceNN.npy` (T, 15069), `wav/SPEAKER_sentenceNN.wav`, `templates.pkl`.
Both have 60 frames per second in metres, x to the speaker's left, y up, z out of the face; every second frame is used.

Neither contains the triangles or the lip vertices of FLAME's mesh: they come from `FLAME_sample.ply` and
`FLAME_masks.pkl`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SAMPLE_RATE, from_int16, resample
from learn2talk_core.corpus import published_speakers
from learn2talk_core.corpus.format import Recording
from learn2talk_core.corpus.offset import shifted
from learn2talk_core.datasets.source import ClipKey, Source, read_ahead
from learn2talk_core.mesh.files import read_mesh
from learn2talk_core.mesh.regions import face_colours, read_ids, regions_from_lips
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import by_stem
from learn2talk_core.run.progress import log
from learn2talk_core.untrusted.pickles import load_array, load_pickle

# Splits and speaker order as in FaceFormer's main.py.
TRAIN = published_speakers.VOCASET
VALIDATION = ("FaceTalk_170811_03275_TA", "FaceTalk_170908_03277_TA")
TEST = ("FaceTalk_170809_00138_TA", "FaceTalk_170731_00024_TA")
SENTENCES = tuple(f"sentence{number:02d}" for number in range(1, 41))
SPLITS = {
    **{(speaker, sentence): "train" for speaker in TRAIN for sentence in SENTENCES},
    **{(speaker, sentence): "validation" for speaker in VALIDATION for sentence in SENTENCES[20:]},
    **{(speaker, sentence): "test_unseen" for speaker in TEST for sentence in SENTENCES[20:]},
}
# Sentences that were never published: 314, 40 and 39 clips remain.
UNPUBLISHED = frozenset(
    (f"FaceTalk_{speaker}_TA", f"sentence{number:02d}")
    for speaker, numbers in {
        "170811_03274": (1, 2, 24), "170912_03278": (11,), "170913_03279": (12, 38), "170809_00138": (32,),
    }.items()
    for number in numbers
)  # fmt: skip
SOURCE_FPS, FPS, MM_PER_UNIT = 60.0, 30.0, 1000.0
MESHES = (
    "FLAME_sample.ply",
    "templates/FLAME_sample.ply",
    "head_template.obj",
    "head_template_mesh.obj",
    "generic_model.pkl",
)
MASKS = ("FLAME_masks.pkl", "regions/FLAME_masks.pkl")
_RATES = range(8_000, 192_001)  # Hz


@dataclass(frozen=True)
class Contents:
    """The parts of VOCASET that a folder contains.

    Attributes:
        layout: "distribution" or "faceformer".
        clips: (speaker, sentence) → a function that reads its motion (T, V, 3) at 60 frames per second and its sound at
            16 kHz.
        templates: speaker → (V, 3) float32, metres.
        unpublished: clips of the splits that were never published.
        missing: clips of the splits that were published but are not in this folder.
        half: clips with sound but no motion, or motion but no sound.
        unused: clips that belong to no split.
    """

    layout: str
    clips: Mapping[ClipKey, Callable[[], tuple[np.ndarray, np.ndarray]]]
    templates: Mapping[str, np.ndarray]
    unpublished: tuple[ClipKey, ...]
    missing: tuple[ClipKey, ...]
    half: tuple[ClipKey, ...]
    unused: tuple[ClipKey, ...]


def read_vocaset(
    folder: str | Path,
    *,
    mesh: str | Path | None = None,
    lips: str | Path | None = None,
    audio_offset_ms: float = 0.0,
) -> Source:
    """VOCASET at 30 frames per second, with FaceFormer's splits and speaker order.

    The distribution's sound is read completely: this briefly takes about twice the size of `raw_audio_fixed.pkl` in
    memory, and its size from then on. Of the motion, three clips are in memory at a time. Missing sentences are logged
    by name.

    Args:
        folder: with the distribution or FaceFormer's layout.
        mesh: a file with the triangles of FLAME's mesh: `.ply`, `.obj` or FLAME's model `.pkl`. Default: the first of
            `MESHES` in `folder`.
        lips: FLAME's masks, `FLAME_masks.pkl`, which give the lips and, as DiffSpeaker's upper face, forehead and eye
            region; or any list of lip vertices that `read_ids` accepts. Default: the first of `MASKS` in `folder`.
        audio_offset_ms: milliseconds by which the sound is delayed against the motion (negative: made earlier); sound
            or motion without a counterpart is cut off.
    """
    folder = Path(folder)
    contents = vocaset_contents(folder)
    _report(contents)
    used = [key for key in SPLITS if key in contents.clips]
    if not used:
        raise BadInput(
            folder,
            expected="clips named like FaceTalk_170728_03272_TA, sentence01",
            found=f"{len(contents.unused)} clips, none of VOCASET's splits",
            fix="For your own data use dataset: folder.",
        )
    without = sorted({speaker for speaker, _ in used} - set(contents.templates))
    if without:
        raise BadInput(
            folder / "templates.pkl",
            expected="a template for every speaker",
            found=f"none for {', '.join(without)}",
            fix="Get the file again from where VOCASET is published.",
        )
    templates = {speaker: contents.templates[speaker] for speaker in sorted({speaker for speaker, _ in used})}
    return Source(
        recordings=_recordings(contents, used, audio_offset_ms / 1000),
        topology=_topology(folder, templates[min(templates)], mesh, lips),
        templates=templates,
        train_speakers=tuple(speaker for speaker in TRAIN if speaker in templates),
        fps=FPS,
        mm_per_unit=MM_PER_UNIT,
        recipe="vocaset",
    )


def vocaset_contents(folder: str | Path) -> Contents:
    """Inspect a folder of either layout; motion is memory-mapped, not read."""
    folder = Path(folder)
    if (folder / "data_verts.npy").is_file():
        layout, (motion, sound) = "distribution", _distribution(folder)
    elif (folder / "vertices_npy").is_dir():
        layout, (motion, sound) = "faceformer", _faceformer(folder)
    else:
        raise BadInput(
            folder,
            expected="data_verts.npy (VOCASET as downloaded) or vertices_npy/ (FaceFormer's layout)",
            found="neither" if folder.is_dir() else "no such folder",
            fix="Unpack trainingdata.zip from voca.is.tue.mpg.de and give the folder with its files.",
        )
    both = {key: _Clip(motion[key], sound[key], _name(key)) for key in motion if key in sound}
    absent = [key for key in SPLITS if key not in motion and key not in sound]
    return Contents(
        layout=layout,
        clips=both,
        templates=_templates(folder / "templates.pkl"),
        unpublished=tuple(key for key in absent if key in UNPUBLISHED),
        missing=tuple(key for key in absent if key not in UNPUBLISHED),
        half=tuple(sorted(set(motion) ^ set(sound))),
        unused=tuple(sorted(set(both) - set(SPLITS))),
    )


@dataclass(frozen=True)
class _Clip:
    motion: Callable[[], np.ndarray]
    sound: Callable[[], np.ndarray]
    name: str

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        motion, audio = self.motion(), self.sound()
        seconds = len(audio) / SAMPLE_RATE
        if len(motion) > SOURCE_FPS / 2 and abs(len(motion) / FPS - seconds) < abs(len(motion) / SOURCE_FPS - seconds):
            raise BadInput(
                f"clip {self.name}",
                expected=f"60 frames of motion per second, about {SOURCE_FPS * seconds:.0f}",
                found=f"{len(motion)} frames for {seconds:.2f} s of sound",
                fix="Either half of the motion is missing: get the file again. Or it was stored at 30 frames per "
                "second: convert it again, or read it with dataset: folder.",
            )
        return motion, audio


def _recordings(contents: Contents, keys: list[ClipKey], offset: float) -> Iterator[Recording]:
    def read(key: ClipKey) -> Recording:
        motion, audio = shifted(*contents.clips[key](), offset, SOURCE_FPS)
        return Recording(
            id=_name(key),
            speaker=key[0],
            sentence=key[1],
            text="",
            split=SPLITS[key],
            audio=audio,
            motion=motion[::2],
        )

    return read_ahead(read, keys)


def _distribution(
    folder: Path,
) -> tuple[dict[ClipKey, Callable[[], np.ndarray]], dict[ClipKey, Callable[[], np.ndarray]]]:
    vertices = load_array(folder / "data_verts.npy", mmap=True)
    if vertices.ndim != 3 or vertices.shape[2] != 3 or vertices.dtype.kind != "f":
        raise BadInput(
            folder / "data_verts.npy",
            expected="vertices of shape (frames, 5023, 3)",
            found=f"{vertices.dtype} of shape {vertices.shape}",
            fix="Get the file again from where VOCASET is published.",
        )
    rows = _nested(folder / "subj_seq_to_idx.pkl", "speaker → sentence → frame → row")
    sounds = _nested(folder / "raw_audio_fixed.pkl", "speaker → sentence → audio and sample_rate")
    motion = {key: _Rows(folder, frames, _name(key)) for key, frames in rows.items()}
    sound = {key: _Sound(entry, folder / "raw_audio_fixed.pkl", _name(key)) for key, entry in sounds.items()}
    return dict(motion), dict(sound)


@dataclass(frozen=True)
class _Rows:
    """The motion of one clip of the distribution. The file is mapped anew for each, to keep memory low."""

    folder: Path
    frames: Any
    name: str

    def __call__(self) -> np.ndarray:
        pairs = list(self.frames.items()) if isinstance(self.frames, dict) else []
        if not pairs or not all(isinstance(n, int | np.integer) and 0 <= n < 1 << 62 for pair in pairs for n in pair):
            raise self._wrong("a dictionary frame → row", "something else")
        numbers: np.ndarray = np.array(pairs)
        # In the order of frame numbers, as VOCA pairs them with sound; FaceFormer's conversion uses the dictionary's.
        frames, rows = numbers[np.argsort(numbers[:, 0])].T
        every = np.arange(frames[0], min(frames[-1], frames[0] + 2 * len(frames)) + 1)
        if len(every) > 2 * len(frames):
            raise self._wrong(f"{len(frames)} consecutive frames", f"frame numbers {frames[0]} … {frames[-1]}")
        if len(every) > len(frames):
            log.warning(
                "%s: %d frames are missing and replaced by the ones before them", self.name, len(every) - len(frames)
            )
        vertices = load_array(self.folder / "data_verts.npy", mmap=True)
        if rows.max() >= len(vertices):
            found = f"row {rows.max()}: data_verts.npy is another version or truncated"
            raise self._wrong(f"rows 0 … {len(vertices) - 1} of data_verts.npy", found)
        return np.asarray(vertices[rows[np.searchsorted(frames, every, side="right") - 1]], np.float32)

    def _wrong(self, expected: str, found: str) -> BadInput:
        fix = "Get all of VOCASET's files again; they belong together."
        where = f"{self.folder / 'subj_seq_to_idx.pkl'}, {self.name}"
        return BadInput(where, expected=expected, found=found, fix=fix)


@dataclass(frozen=True)
class _Sound:
    """The sound of one clip of the distribution: 16-bit samples at 22000 Hz (sic)."""

    entry: Any
    path: Path
    name: str

    def __call__(self) -> np.ndarray:
        entry: dict[str, Any] = self.entry if isinstance(self.entry, dict) else {}
        audio: Any = entry.get("audio")
        rate = entry.get("sample_rate")
        sound = isinstance(audio, np.ndarray) and audio.ndim == 1 and audio.dtype in (np.int16, np.float32, np.float64)
        if not sound or not isinstance(rate, int | float | np.number) or float(rate) not in _RATES:
            raise BadInput(
                f"{self.path}, {self.name}",
                expected="audio: 16-bit samples (n,), sample_rate: Hz",
                found=f"{getattr(audio, 'dtype', type(audio).__name__)} {getattr(audio, 'shape', '')} at {rate!s:.20}",
                fix="Get the file again from where VOCASET is published.",
            )
        wave = audio.astype(np.float32) if audio.dtype.kind == "f" else from_int16(audio)
        return np.clip(resample(wave, int(rate)), -1, 1)


def _faceformer(
    folder: Path,
) -> tuple[dict[ClipKey, Callable[[], np.ndarray]], dict[ClipKey, Callable[[], np.ndarray]]]:
    motion = {_key(path): _Flat(path) for path in by_stem(folder / "vertices_npy", (".npy",)).values()}
    sound = {_key(path): partial(read_sound, path) for path in by_stem(folder / "wav", (".wav",)).values()}
    return dict(motion), dict(sound)


@dataclass(frozen=True)
class _Flat:
    path: Path

    def __call__(self) -> np.ndarray:
        flat = load_array(self.path, mmap=True)
        if flat.ndim not in (2, 3) or flat.size == 0 or flat[0].size % 3 or flat.dtype.kind != "f":
            raise BadInput(
                self.path,
                expected="vertices of shape (frames, 3 V)",
                found=f"{flat.dtype} of shape {flat.shape}",
                fix="Convert the clip again.",
            )
        return np.asarray(flat, np.float32).reshape(len(flat), -1, 3)


def _nested(path: Path, expected: str) -> dict[ClipKey, Any]:
    content = load_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(inner, dict) for inner in content.values()):
        raise BadInput(path, expected=expected, found=f"a {type(content).__name__}", fix="Get the file again.")
    return {(str(outer), str(key)): value for outer, inner in content.items() for key, value in inner.items()}


def _templates(path: Path) -> dict[str, np.ndarray]:
    content = load_pickle(path)
    if isinstance(content, dict) and content:
        arrays = {str(speaker): template for speaker, template in content.items() if isinstance(template, np.ndarray)}
        shapes = {array.shape for array in arrays.values()}
        if len(arrays) == len(content) and len(shapes) == 1 and len(min(shapes)) == 2 and min(shapes)[1] == 3:
            return {speaker: array.astype(np.float32) for speaker, array in arrays.items()}
    raise BadInput(
        path,
        expected="speaker → template (V, 3), all with the same V",
        found=f"a {type(content).__name__}",
        fix="Get the file again from where VOCASET is published.",
    )


def _topology(folder: Path, template: np.ndarray, mesh: str | Path | None, lips: str | Path | None) -> Topology:
    mesh = mesh or _search(
        folder,
        MESHES,
        "the triangles of FLAME's mesh",
        "Copy FLAME_sample.ply (of the repositories voca or FaceFormer) or FLAME's generic_model.pkl into the folder.",
    )
    lips = lips or _search(
        folder,
        MASKS,
        "the lips of FLAME's mesh",
        "Copy FLAME_masks.pkl (FLAME Vertex Masks of flame.is.tue.mpg.de) into the folder, or give a list of lip "
        "vertices.",
    )
    faces = _faces(Path(mesh), len(template))
    whole_masks = str(lips).endswith(".pkl")
    regions, pairs = regions_from_lips(
        template, faces, read_ids(f"{lips}:lips" if whole_masks else lips), mm_per_unit=MM_PER_UNIT
    )
    if whole_masks:
        regions["upper_face"] = np.union1d(read_ids(f"{lips}:forehead"), read_ids(f"{lips}:eye_region"))
        if regions["upper_face"].max() >= len(template):
            raise BadInput(
                lips,
                expected=f"masks of {len(template)} vertices",
                found=f"vertex {regions['upper_face'].max()}",
                fix="Give the masks of this mesh.",
            )
    return Topology(faces, regions, pairs, face_colours(template, faces, regions, mm_per_unit=MM_PER_UNIT))


def _faces(path: Path, vertex_count: int) -> np.ndarray:
    """Triangles from a mesh file or FLAME's model; (F, 3) int32."""
    if path.suffix == ".pkl":
        model = load_pickle(path)
        faces = model.get("f") if isinstance(model, dict) else None
        if not isinstance(faces, np.ndarray) or faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
            raise BadInput(
                path, expected="FLAME's model with its triangles f (9976, 3)", found="none", fix="Give another file."
            )
        template = model.get("v_template")
        count = len(template) if isinstance(template, np.ndarray) and template.ndim else vertex_count
    else:
        vertices, faces = read_mesh(path)
        count = len(vertices)
    if count != vertex_count or not len(faces) or faces.min() < 0 or faces.max() >= vertex_count:
        raise BadInput(
            path,
            expected=f"a mesh with triangles and the templates' {vertex_count} vertices",
            found=f"{count} vertices and {len(faces)} triangles",
            fix="Give a mesh with FLAME's vertex order, such as FLAME_sample.ply.",
        )
    return np.asarray(faces, np.int32)


def _search(folder: Path, names: tuple[str, ...], expected: str, fix: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise BadInput(folder, expected=expected, found=f"none of {', '.join(names)}", fix=fix)


def _report(contents: Contents) -> None:
    for level, keys, says in (
        (logging.INFO, contents.unpublished, "%d sentences were never published: %s"),
        (
            logging.WARNING,
            contents.missing,
            "%d published sentences are missing here (a partial download?): %s",
        ),
        (logging.WARNING, contents.half, "%d sentences have no sound or no motion and are left out: %s"),
        (logging.WARNING, contents.unused, "%d clips belong to no split and are left out: %s"),
    ):
        if keys:
            log.log(level, "VOCASET: " + says, len(keys), _listed(keys))
    absent = [speaker for speaker in TRAIN if all(key[0] != speaker for key in contents.clips)]
    if absent:
        log.warning(
            "VOCASET: no clip of the training speakers %s; published checkpoints have 8 styles", ", ".join(absent)
        )


def _listed(keys: tuple[ClipKey, ...], most: int = 12) -> str:
    names = [_name(key) for key in keys[:most]]
    return ", ".join(names) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def _name(key: ClipKey) -> str:
    return "_".join(key)


def _key(path: Path) -> ClipKey:
    speaker, _, sentence = path.stem.rpartition("_")
    return speaker, sentence
