"""The canonical 3D speech corpus: one folder of shards, the same for every dataset.

    corpus.json         recipe, unit, frame rate, speakers, shards, hashes
    clips.parquet       one row per clip: who says what, and where it is in the shards
    vertices-000.npy    (frames, V, 3) float32, or
    coefficients-000.npy  (frames, K) float32 with basis.npy (K, V, 3): vertices = template + coefficients · basis
    audio-000.npy       (samples,) int16 at 16 kHz
    templates.npy       (speakers, V, 3) float32, the neutral faces
    topology.npz        faces, regions, colours

Arrays are memory-mapped: a corpus may be larger than memory, and a window of 0.2 s is read in microseconds. The
caller of `vertices` cannot tell which of the two kinds of storage is used.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from learn2talk_core.audio.waveform import SAMPLE_RATE, from_int16, to_int16, whole_frames
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.mesh.topology import Topology, load_topology, save_topology
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import inner_file, map_array, map_shard, plain_name, read_about, whole_folder, write_json
from learn2talk_core.run.progress import log
from learn2talk_core.untrusted.parquet import PHONEMES, read_rows

SPLITS = ("train", "validation", "test_seen", "test_unseen")
MADE_BY = "dvc repro corpus"
_COLUMNS: list[tuple[str, pa.DataType]] = [
    *[(name, pa.string()) for name in ("id", "speaker", "sentence", "text", "split")],
    ("fps", pa.float64()),
    *[(name, pa.int64()) for name in ("frames", "samples", "shard", "first_frame", "first_sample")],
    ("phonemes", PHONEMES),
]


@dataclass(frozen=True)
class Clip:
    """One utterance: `frames` of motion and `samples` of sound that start together and have the same duration.

    `shard`, `first_frame` and `first_sample` say where it is on disk.
    """

    id: str
    speaker: str
    sentence: str
    text: str
    split: str
    frames: int
    samples: int
    phonemes: tuple[Phoneme, ...]
    shard: int
    first_frame: int
    first_sample: int


@dataclass(frozen=True)
class Corpus:
    """An opened corpus; see the module's docstring and `open_corpus`.

    Attributes:
        folder: the folder of the corpus.
        clips: all clips, in the order in which they were written.
        topology: faces, regions, colours.
        templates: speaker → neutral face (V, 3) float32.
        train_speakers: the speakers of the training split, in the order of the style one-hot.
        fps: frames of motion per second.
        mm_per_unit: millimetres per unit of length (1000 for metres).
        recipe: what made it, e.g. "embedded".
    """

    folder: Path
    clips: tuple[Clip, ...]
    topology: Topology
    templates: Mapping[str, np.ndarray]
    train_speakers: tuple[str, ...]
    fps: float
    mm_per_unit: float
    recipe: str
    _motion: tuple[np.ndarray, ...] = field(repr=False)
    _audio: tuple[np.ndarray, ...] = field(repr=False)
    _basis: np.ndarray | None = field(repr=False)
    _basis_rows: dict[str | None, np.ndarray] = field(default_factory=dict, repr=False)

    def split(self, *names: str) -> list[Clip]:
        """The clips of these splits (see `SPLITS`), in order."""
        for name in names:
            if name not in SPLITS:
                raise ValueError(f"no split {name!r}; there are {', '.join(SPLITS)}")
        return [clip for clip in self.clips if clip.split in names]

    def audio(self, clip: Clip, samples: slice = slice(None)) -> np.ndarray:
        """The sound of a clip, (samples,) float32 in [-1, 1] at 16 kHz."""
        start, stop, step = samples.indices(clip.samples)
        shard = self._audio[clip.shard]
        return from_int16(shard[clip.first_sample + start : clip.first_sample + stop : step])

    def vertices(self, clip: Clip, region: str | None = None, frames: slice = slice(None)) -> np.ndarray:
        """The motion of a clip, (T, n, 3) float32.

        Args:
            clip: one of `clips`.
            region: a name of `topology.regions`; None is the whole mesh.
            frames: which frames of the clip.
        """
        start, stop, step = frames.indices(clip.frames)
        motion = np.asarray(self._motion[clip.shard])[clip.first_frame + start : clip.first_frame + stop : step]
        if self._basis is None:
            return np.array(motion) if region is None else motion.take(self.topology.regions[region], axis=1)
        basis = self._basis_of(region)
        offsets = (motion @ basis.reshape(len(basis), -1)).reshape(len(motion), -1, 3)
        return self.template(clip.speaker, region) + offsets

    def displacement(self, clip: Clip, ids: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Vertices minus the speaker's template for any vertex ids (n,): (T, n, 3) float32; only these are computed."""
        motion = np.asarray(self._motion[clip.shard])[clip.first_frame : clip.first_frame + clip.frames]
        if self._basis is None:
            return motion[:, ids] - self.templates[clip.speaker][ids]
        basis = self._basis[:, ids]
        return (motion @ basis.reshape(len(basis), -1)).reshape(len(motion), -1, 3)

    def stored(self, clip: Clip) -> np.ndarray:
        """The motion of a clip as it is stored on disk, (T, V, 3) vertices or (T, K) coefficients."""
        return self._motion[clip.shard][clip.first_frame : clip.first_frame + clip.frames]

    def template(self, speaker: str, region: str | None = None) -> np.ndarray:
        """A speaker's neutral face, (n, 3) float32."""
        template = self.templates[speaker]
        return template if region is None else template[self.topology.regions[region]]

    def _basis_of(self, region: str | None) -> np.ndarray:
        """The basis (K, n, 3) of a region alone, so that only the region's vertices are computed."""
        assert self._basis is not None
        if region not in self._basis_rows:
            rows = self._basis if region is None else self._basis[:, self.topology.regions[region]]
            self._basis_rows[region] = np.array(rows)
        return self._basis_rows[region]


@dataclass(frozen=True)
class Recording:
    """A clip on its way into a corpus.

    `audio` is (samples,) float in [-1, 1] at 16 kHz; `motion` is (T, V, 3) vertices, or (T, K) coefficients when the
    corpus has a basis. Both start at the same instant.
    """

    id: str
    speaker: str
    sentence: str
    text: str
    split: str
    audio: np.ndarray
    motion: np.ndarray
    phonemes: Sequence[Phoneme] = ()


def write_corpus(
    folder: str | Path,
    recordings: Iterable[Recording],
    *,
    topology: Topology,
    templates: Mapping[str, np.ndarray],
    train_speakers: Sequence[str],
    fps: float,
    mm_per_unit: float,
    recipe: str,
    basis: np.ndarray | None = None,
    shard_bytes: int = 1 << 28,
) -> None:
    """Write a corpus; `recordings` may be a generator; only one of its clips is kept in memory at a time.

    Audio and motion are trimmed to their common duration, never stretched. Refused, with the clip's name: motion (with
    the frame) or audio that is not finite, a wrong shape, an unknown speaker or split, a duplicate id.

    Args:
        folder: where to write; it is replaced as a whole once everything is written.
        recordings: the clips.
        topology: the mesh that all clips share.
        templates: speaker → (V, 3) neutral face, for every speaker that occurs.
        train_speakers: order of the style one-hot.
        fps: frames per second of the motion.
        mm_per_unit: millimetres per unit of length.
        recipe: name of the dataset and conversion that made the corpus.
        basis: (K, V, 3); when given, `motion` is (T, K) coefficients.
        shard_bytes: a new shard starts when the motion in the current one has reached this size.
    """
    speakers = sorted(plain_name(name, "a speaker") for name in templates)
    shape = (len(topology.colours), 3) if basis is None else (len(basis),)
    kind = "vertices" if basis is None else "coefficients"
    rows: list[dict[str, Any]] = []
    motion: _Growing | None = None
    shards = 0
    with whole_folder(folder) as partial, ExitStack() as opened:
        seen: set[str] = set()
        for recording in recordings:
            _check(recording, shape, templates, seen)
            frames, samples = common_duration(len(recording.motion), len(recording.audio), fps)
            _report_trim(recording, frames, fps)
            if motion is None or motion.nbytes >= shard_bytes:
                opened.close()
                motion = opened.enter_context(_Growing(partial / f"{kind}-{shards:03d}.npy", shape, np.float32))
                audio = opened.enter_context(_Growing(partial / f"audio-{shards:03d}.npy", (), np.int16))
                shards += 1
            rows.append(
                {
                    **{name: getattr(recording, name) for name in ("id", "speaker", "sentence", "text", "split")},
                    "fps": float(fps),
                    "frames": frames,
                    "samples": samples,
                    "phonemes": [asdict(phoneme) for phoneme in recording.phonemes],
                    "shard": shards - 1,
                    "first_frame": motion.rows,
                    "first_sample": audio.rows,
                }
            )
            motion.append(recording.motion[:frames])
            audio.append(to_int16(recording.audio[:samples]))
        if not rows:
            raise BadInput(folder, expected="at least one clip", found="none", fix="Check the source of the corpus.")
        opened.close()
        parquet.write_table(pa.Table.from_pylist(rows, schema=pa.schema(_COLUMNS)), partial / "clips.parquet")
        np.save(partial / "templates.npy", np.stack([templates[s] for s in speakers]).astype(np.float32))
        if basis is not None:
            np.save(partial / "basis.npy", np.asarray(basis, np.float32))
        save_topology(partial / "topology.npz", topology)
        header = {
            "recipe": recipe,
            "fps": float(fps),
            "mm_per_unit": float(mm_per_unit),
            "sample_rate": SAMPLE_RATE,
            "storage": kind,
            "shards": shards,
            "speakers": speakers,
            "train_speakers": list(train_speakers),
            "sha256": {file.name: sha256(file) for file in sorted(partial.iterdir())},
        }
        write_json(partial / "corpus.json", header)


def write_excerpt(folder: str | Path, corpus: Corpus, clips: Iterable[Clip]) -> None:
    """Write a corpus with these clips of `corpus` alone, and with all its faces."""
    recordings = (
        Recording(
            **{name: getattr(clip, name) for name in ("id", "speaker", "sentence", "text", "split", "phonemes")},
            audio=corpus.audio(clip),
            motion=corpus.stored(clip),
        )
        for clip in clips
    )
    write_corpus(
        folder,
        recordings,
        topology=corpus.topology,
        templates=corpus.templates,
        train_speakers=corpus.train_speakers,
        fps=corpus.fps,
        mm_per_unit=corpus.mm_per_unit,
        recipe=corpus.recipe,
        basis=corpus._basis,
    )


class _Growing:
    """An `.npy` that is written row by row; the result is byte-identical to that of `np.save`."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type) -> None:
        self.rows = self.nbytes = 0
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._file = path.open("wb")
        self._header()

    def __enter__(self) -> "_Growing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._header()  # of the same length as the first one: NumPy pads it to leave room for the number of rows
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        rows = np.ascontiguousarray(rows, self._dtype)
        rows.tofile(self._file)
        self.rows, self.nbytes = self.rows + len(rows), self.nbytes + rows.nbytes

    def _header(self) -> None:
        about = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, about)


def open_corpus(folder: str | Path) -> Corpus:
    """Open what `write_corpus` wrote. Only tables and templates are read; shards are mapped.

    Raises:
        BadInput: a file is missing or broken or lies outside the folder, or a name could lead out of a folder.
    """
    folder = Path(folder)
    where = folder / "corpus.json"
    header = read_about(
        where, made_by=MADE_BY, storage=str, shards=int, speakers=list, train_speakers=list, sha256=dict, recipe=str,
        fps=float, mm_per_unit=float,
    )  # fmt: skip
    kind, shards, speakers = header["storage"], range(header["shards"]), header["speakers"]
    for name in (kind, *speakers, *header["train_speakers"], *header["sha256"]):
        plain_name(name, where)
    if kind not in ("vertices", "coefficients") or not set(header["train_speakers"]) <= set(speakers):
        expected = "storage vertices or coefficients, and train_speakers among its speakers"
        raise BadInput(where, expected=expected, found="other values", fix=f"Make it again: {MADE_BY}.")
    topology = load_topology(folder / "topology.npz")
    vertices = len(topology.colours)
    templates = map_array(folder / "templates.npy", made_by=MADE_BY, shape=(len(speakers), vertices, 3), kinds="f4")
    basis: np.ndarray | None = None
    shape: tuple[int | None, ...] = (None, vertices, 3)
    if kind == "coefficients":
        basis = map_array(folder / "basis.npy", made_by=MADE_BY, shape=(None, vertices, 3), kinds="f4")
        shape = (None, len(basis))
    motion = tuple(map_shard(folder, kind, n, made_by=MADE_BY, shape=shape, kinds="f4") for n in shards)
    audio = tuple(map_shard(folder, "audio", n, made_by=MADE_BY, shape=(None,), kinds="i2") for n in shards)
    lengths = [(len(frames), len(samples)) for frames, samples in zip(motion, audio, strict=True)]
    return Corpus(
        folder=folder,
        clips=tuple(_clips(folder / "clips.parquet", lengths, set(speakers))),
        topology=topology,
        templates=dict(zip(speakers, np.array(templates), strict=True)),
        train_speakers=tuple(header["train_speakers"]),
        fps=header["fps"],
        mm_per_unit=header["mm_per_unit"],
        recipe=header["recipe"],
        _motion=motion,
        _audio=audio,
        _basis=basis,
    )


def common_duration(frames: int, samples: int, fps: float) -> tuple[int, int]:
    """The number of frames and samples of the common duration: whole frames, and the samples up to their end."""
    frames = min(frames, whole_frames(samples, fps))
    return frames, min(samples, round(frames * SAMPLE_RATE / fps))


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(recording: Recording, shape: tuple[int, ...], templates: Mapping[str, Any], seen: set[str]) -> None:
    where = f"clip {recording.id}"
    plain_name(recording.id, "the id of a clip")
    if recording.id in seen:
        raise BadInput(where, expected="a unique id", found="this id twice", fix="Rename one of them.")
    seen.add(recording.id)
    if recording.split not in SPLITS:
        raise BadInput(
            where, expected=f"one of {', '.join(SPLITS)}", found=repr(recording.split), fix="Correct the split."
        )
    if recording.speaker not in templates:
        raise BadInput(where, expected="a speaker with a template", found=recording.speaker, fix="Add the template.")
    if recording.motion.shape[1:] != shape:
        raise BadInput(
            where,
            expected=f"motion of shape (frames, {', '.join(map(str, shape))})",
            found=str(recording.motion.shape),
            fix="Check that the clip belongs to this mesh.",
        )
    finite = np.isfinite(recording.motion.reshape(len(recording.motion), -1)).all(axis=1)
    if not finite.all():
        raise BadInput(
            f"{where}, frame {int(np.argmin(finite))}",
            expected="finite positions",
            found="NaN or infinity",
            fix="Repair or leave out the clip.",
        )
    if not np.isfinite(recording.audio).all():
        raise BadInput(where, expected="finite audio", found="NaN or infinity", fix="Repair or leave out the clip.")


def _report_trim(recording: Recording, frames: int, fps: float) -> None:
    if frames == 0:
        raise BadInput(
            f"clip {recording.id}",
            expected="at least one frame of motion with its sound",
            found=f"{len(recording.motion)} frames and {len(recording.audio)} samples",
            fix="Leave out the clip.",
        )
    difference = len(recording.motion) / fps - len(recording.audio) / SAMPLE_RATE
    if abs(difference) > 1 / fps + 1e-6:
        log.warning(
            "clip %s: motion is %.3f s %s than audio; trimmed to the common duration",
            recording.id,
            abs(difference),
            "longer" if difference > 0 else "shorter",
        )


def _clips(path: Path, lengths: list[tuple[int, int]], speakers: set[str]) -> Iterable[Clip]:
    """The clips of the table `path`; each must lie within its shard. `lengths`: frames and samples of each shard."""
    seen: set[str] = set()
    for row in read_rows(inner_file(path, made_by=MADE_BY), _COLUMNS, made_by=MADE_BY):
        for name in ("id", "speaker"):  # files of pictures and sound are named after them
            plain_name(row[name], f"{path}: {name} of a clip")
        row.pop("fps")
        clip = Clip(**{**row, "phonemes": tuple(Phoneme(**phoneme) for phoneme in row["phonemes"])})
        _check_place(path, clip, lengths)
        if clip.id in seen or clip.speaker not in speakers or clip.split not in SPLITS:
            found = f"{clip.speaker}, {clip.split}" if clip.id not in seen else "this id twice"
            expected, fix = "a unique id, a known speaker and a known split", f"Make it again: {MADE_BY}."
            raise BadInput(f"{path}: clip {clip.id}", expected=expected, found=found, fix=fix)
        seen.add(clip.id)
        yield clip


def _check_place(path: Path, clip: Clip, lengths: list[tuple[int, int]]) -> None:
    shard = lengths[clip.shard] if 0 <= clip.shard < len(lengths) else (0, 0)
    ends = (clip.first_frame + clip.frames, clip.first_sample + clip.samples)
    if (
        min(clip.frames - 1, clip.samples, clip.first_frame, clip.first_sample) < 0
        or ends[0] > shard[0]
        or ends[1] > shard[1]
    ):
        found = f"frames up to {ends[0]} and samples up to {ends[1]}"
        expected = f"a range within its shard {clip.shard} of {shard[0]} frames and {shard[1]} samples"
        raise BadInput(f"{path}: clip {clip.id}", expected=expected, found=found, fix=f"Make it again: {MADE_BY}.")
