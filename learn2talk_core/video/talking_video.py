"""The 2D corpus: clips of talking faces with their sound, in parquet shards.

    films-000.parquet   one row per clip: speaker, text, boxes, H.264 video (`mp4`), 16-bit sound (`audio`)

Every clip has 25 frames per second and 16 kHz sound that starts with the first frame: frame t shows the time t / 25 s
and corresponds to the 640 samples from 640 t on. The head does not move (or hardly), so that one box per clip contains
the face and one the mouth, as in the static image of a one-shot teacher.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from learn2talk_core.audio.waveform import SAMPLE_RATE, from_int16, to_int16
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import inner_file, missing, plain_name, whole_file, whole_folder
from learn2talk_core.untrusted.parquet import PHONEMES, read_rows
from learn2talk_core.video.video_file import read_video

SPLITS = ("loss", "metric", "validation")
VIDEO_FPS = 25
SAMPLES_PER_FRAME = SAMPLE_RATE // VIDEO_FPS
FACE_SIZE = 96  # pixels of Wav2Lip's face
MOUTH_SIZE = 96  # pixels of the mouth crop; the lip reader's input is its central 88
CLIPS_A_SHARD = 32

Box = tuple[float, float, float, float]
_COLUMNS: list[tuple[str, pa.DataType]] = [
    *[(name, pa.string()) for name in ("id", "speaker", "text", "split")],
    *[(name, pa.int64()) for name in ("frames", "samples")],
    ("phonemes", PHONEMES),
    *[(name, pa.list_(pa.float64())) for name in ("face_box", "mouth_box")],
]
_SCHEMA = pa.schema([*_COLUMNS, ("mp4", pa.binary()), ("audio", pa.binary())])


@dataclass(frozen=True)
class VideoClip:
    """One film of a speaking face.

    Attributes:
        id: unique name.
        speaker: name of the person.
        text: what is said; empty where unknown.
        split: `loss` and `metric` contain the faces that the two lip readers are trained on, `validation` other faces
            with other sentences.
        frames: number of frames, floor(samples / 640).
        samples: number of samples of sound.
        phonemes: phonemes with their times; empty where unknown.
        face_box: (left, top, right, bottom) in pixels, brow to chin: Wav2Lip's face is this box at 96 x 96, with
            the lips at the same position in every box. Whole numbers, so that a generated face can be pasted back.
        mouth_box: the same for the lip reader's mouth: 96 x 96 pixels of which the central 88 are 85 mm wide.
        shard, row: where it is stored.
    """

    id: str
    speaker: str
    text: str
    split: str
    frames: int
    samples: int
    phonemes: tuple[Phoneme, ...]
    face_box: tuple[int, int, int, int]
    mouth_box: Box
    shard: int = 0
    row: int = 0


EncodedFilm = tuple[VideoClip, bytes, np.ndarray]  # the clip, its MP4 and its sound, for `write_talking_video`


@dataclass(frozen=True)
class TalkingVideo:
    """An opened 2D corpus: `clips` in the order in which they were written."""

    folder: Path
    clips: tuple[VideoClip, ...]
    _shards: tuple[Path, ...]

    def split(self, *names: str) -> list[VideoClip]:
        """The clips of these splits, in order."""
        return [clip for clip in self.clips if clip.split in names]

    def frames(self, clip: VideoClip) -> np.ndarray:
        """All frames, uint8 (T, H, W, 3) RGB."""
        return self._decoded(clip, self.mp4(clip))

    def mp4(self, clip: VideoClip) -> bytes:
        """The video as it was written, without sound."""
        return self._cell(clip, "mp4")

    def audio(self, clip: VideoClip) -> np.ndarray:
        """The sound, float32 (samples,) in [-1, 1] at 16 kHz."""
        return self._heard(clip, self._cell(clip, "audio"))

    def films(self, clips: Sequence[VideoClip]) -> Iterator[tuple[VideoClip, np.ndarray, np.ndarray]]:
        """Frames and sound of many clips, as of `frames` and `audio`; neighbours of a shard are read together.

        This opens each shard once for `clips` in the order of the corpus.
        """
        columns = [("mp4", pa.binary()), ("audio", pa.binary())]
        for shard, together in groupby(clips, key=lambda clip: clip.shard):
            rows = read_rows(self._shards[shard], columns, made_by="the stage that wrote it")
            for clip in together:
                if clip.row >= len(rows):
                    found, fix = f"{len(rows)} rows", "Make the corpus again."
                    raise BadInput(self._where(clip), expected="a row for each clip", found=found, fix=fix)
                row = rows[clip.row]
                yield clip, self._decoded(clip, row["mp4"]), self._heard(clip, row["audio"])

    def faces(self, clip: VideoClip, size: int = FACE_SIZE) -> np.ndarray:
        """The face box of every frame, uint8 (T, size, size, 3) RGB."""
        return crop(self.frames(clip), clip.face_box, size)

    def mouths(self, clip: VideoClip, size: int = MOUTH_SIZE) -> np.ndarray:
        """The mouth box of every frame, uint8 (T, size, size) grey."""
        return crop(grey(self.frames(clip)), clip.mouth_box, size)

    def _where(self, clip: VideoClip) -> str:
        return f"{self._shards[clip.shard]}, clip {clip.id}"

    def _decoded(self, clip: VideoClip, mp4: bytes) -> np.ndarray:
        frames, _, _ = read_video(mp4, name=self._where(clip))
        if len(frames) != clip.frames:
            expected, found = f"{clip.frames} frames", str(len(frames))
            raise BadInput(self._where(clip), expected=expected, found=found, fix="Make the corpus again.")
        return frames

    def _heard(self, clip: VideoClip, stored: bytes) -> np.ndarray:
        if len(stored) != 2 * clip.samples:
            expected, found = f"{clip.samples} samples", f"{len(stored)} bytes"
            raise BadInput(self._where(clip), expected=expected, found=found, fix="Make the corpus again.")
        return from_int16(np.frombuffer(stored, "<i2"))

    def _cell(self, clip: VideoClip, column: str) -> bytes:
        path, made_by = self._shards[clip.shard], "the stage that wrote it"
        rows = read_rows(path, [(column, pa.binary())], made_by=made_by, group=clip.row)  # one row per group
        if len(rows) != 1:
            found, fix = f"{len(rows)} rows", "Make the corpus again."
            raise BadInput(self._where(clip), expected="a row group of one clip", found=found, fix=fix)
        return rows[0][column]


def open_talking_video(folder: str | Path, *, made_by: str = "dvc repro talking_video") -> TalkingVideo:
    """Open what `write_talking_video` wrote; frames and sound are read on demand."""
    shards = tuple(sorted(Path(folder).glob("films-*.parquet")))
    if not shards:
        raise missing(Path(folder) / "films-000.parquet", made_by)
    clips = [clip for number, shard in enumerate(shards) for clip in _clips(shard, number, made_by)]
    return TalkingVideo(Path(folder), tuple(clips), shards)


def write_talking_video(folder: str | Path, films: Iterable[EncodedFilm]) -> None:
    """Write a 2D corpus; `films` may be a generator, and no more than one shard of it is kept in memory.

    Args:
        folder: replaced as a whole when everything is written.
        films: clip, its MP4 bytes (`encode_video` at 25 fps, no sound track needed), its sound float (samples,) in
            [-1, 1] at 16 kHz.
    """
    seen: set[str] = set()
    with whole_folder(folder) as partial:
        left = iter(films)
        for number in count():
            if not _write_rows(_shard(partial, number), islice(left, CLIPS_A_SHARD), seen):
                break
        if not seen:
            raise BadInput(folder, expected="at least one clip", found="none", fix="Check the source of the videos.")


def write_shard(path: str | Path, films: Iterable[EncodedFilm]) -> None:
    """Write some clips as one file, whole or not at all; `join_shards` makes a 2D corpus of such files."""
    with whole_file(path) as partial:
        if not _write_rows(partial, films, set()):
            raise BadInput(path, expected="at least one clip", found="none", fix="Check the source of the videos.")


def join_shards(folder: str | Path, shards: Sequence[Path]) -> None:
    """Make a 2D corpus of the files that `write_shard` wrote. They stay where they are, so that this can be repeated.

    Args:
        folder: replaced as a whole; on the same disk, its files share their content with `shards`.
        shards: in the order of the corpus.
    """
    with whole_folder(folder) as partial:
        for number, shard in enumerate(shards):
            try:
                os.link(shard, _shard(partial, number))
            except OSError:  # another disk, or one without links
                shutil.copyfile(shard, _shard(partial, number))
        ids = [clip.id for clip in open_talking_video(partial).clips]
        twice = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
        if twice:
            raise BadInput(f"clip {twice[0]}", expected="unique ids", found="this id twice", fix="Rename one of them.")


def grey(frames: np.ndarray) -> np.ndarray:
    """Luma of RGB frames as OpenCV computes it: uint8 (T, H, W, 3) to (T, H, W)."""
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])


def crop(frames: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Cut a box out of every frame and resize it to size x size pixels; outside the frame its edge is repeated.

    Args:
        frames: (T, H, W, 3) or (T, H, W), uint8.
        box: (left, top, right, bottom) in pixels, fractions allowed; pixel (0, 0) covers 0..1.
        size: width and height of the result.
    """
    left, top, right, bottom = box
    scale_x, scale_y = (right - left) / size, (bottom - top) / size
    # Pixel i of the crop has its centre at left + (i + 1/2) scale, that is at index left + (i + 1/2) scale - 1/2.
    into = np.array([[scale_x, 0, left + scale_x / 2 - 0.5], [0, scale_y, top + scale_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack(
        [cv2.warpAffine(f, into, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE) for f in frames]
    )


def pasted(picture: np.ndarray, box: tuple[int, int, int, int], faces: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) with each of `faces` (T, h, w, 3) in turn in its `box`, in pixels: (T, H, W, 3)."""
    left, top, right, bottom = box
    frames = np.repeat(picture[None], len(faces), axis=0)
    for frame, face in zip(frames, faces, strict=True):
        frame[top:bottom, left:right] = cv2.resize(face, (right - left, bottom - top))
    return frames


def frames_of(samples: int) -> int:
    """Number of whole frames in a sound of this many samples."""
    return samples // SAMPLES_PER_FRAME


def _check(clip: VideoClip, audio: np.ndarray, seen: set[str]) -> None:
    where = f"clip {clip.id}"
    plain_name(clip.id, "the id of a clip")
    if clip.id in seen:
        raise BadInput(where, expected="unique ids", found="this id twice", fix="Rename one of them.")
    seen.add(clip.id)
    if clip.split not in SPLITS:
        raise BadInput(where, expected=f"one of {', '.join(SPLITS)}", found=repr(clip.split), fix="Correct the split.")
    if len(audio) != clip.samples or frames_of(clip.samples) != clip.frames or clip.frames == 0:
        raise BadInput(
            where,
            expected=f"at least one frame and {SAMPLES_PER_FRAME} samples for each",
            found=f"{clip.frames} frames and {len(audio)} samples",
            fix="Trim video and sound to their common duration.",
        )
    if not np.isfinite(audio).all():
        raise BadInput(where, expected="finite audio", found="NaN or infinity", fix="Repair or leave out the clip.")


def _shard(folder: Path, number: int) -> Path:
    return folder / f"films-{number:03d}.parquet"


def _write_rows(path: Path, films: Iterable[EncodedFilm], seen: set[str]) -> int:
    """Write a shard, unless `films` is empty; returns the number of clips and adds their ids to `seen`."""
    rows: list[dict[str, Any]] = []
    for clip, mp4, audio in films:
        _check(clip, audio, seen)
        described = {name: value for name, value in asdict(clip).items() if name not in ("shard", "row")}
        rows.append({**described, "mp4": mp4, "audio": to_int16(audio).astype("<i2").tobytes()})
    if rows:
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        parquet.write_table(table, path, row_group_size=1, compression="none")
    return len(rows)


def _clips(path: Path, shard: int, made_by: str) -> list[VideoClip]:
    rows = read_rows(inner_file(path, made_by=made_by), _COLUMNS, made_by=made_by)
    for row in rows:
        for name in ("id", "speaker"):
            plain_name(row[name], f"{path}: {name} of a clip")
        boxes = [row["face_box"], row["mouth_box"]]
        boxed = all(len(b) == 4 and all(abs(n) < 1e5 for n in b) and b[0] < b[2] and b[1] < b[3] for b in boxes)
        if not boxed or row["frames"] <= 0 or row["samples"] <= 0:
            expected, found = "frames, samples and two valid boxes", f"{row['frames']}, {row['samples']}, {boxes}"
            raise BadInput(f"{path}, {row['id']}", expected=expected, found=found, fix=f"Make it again: {made_by}.")
    return [replace(_clip(row), shard=shard, row=number) for number, row in enumerate(rows)]


def _clip(row: dict[str, Any]) -> VideoClip:
    left, top, right, bottom = (int(edge) for edge in row["face_box"])
    phonemes = tuple(Phoneme(**phoneme) for phoneme in row["phonemes"])
    mouth: Any = tuple(row["mouth_box"])
    return VideoClip(**{**row, "phonemes": phonemes, "face_box": (left, top, right, bottom), "mouth_box": mouth})
