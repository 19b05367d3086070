"""Mouth crops of videos at 25 fps, in parquet: one row per frame.

mouths-000.parquet   clip, frame, png (96 x 96 grey, lossless)
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import inner_file, missing, plain_name, whole_folder
from learn2talk_core.untrusted.parquet import read_rows
from learn2talk_core.untrusted.parquet_footer import read_footer
from learn2talk_core.video.talking_video import CLIPS_A_SHARD

MADE_BY = "dvc repro mouths"
LARGEST = 512  # maximum side of a crop in pixels: the header of a small PNG can claim any size
_SCHEMA = pa.schema([("clip", pa.string()), ("frame", pa.int64()), ("png", pa.binary())])


@dataclass(frozen=True)
class Mouths:
    """Opened crops; `clips` are the ids, in the order in which they were written."""

    clips: tuple[str, ...]
    _where: dict[str, tuple[Path, int]]

    def frames(self, clip: str) -> np.ndarray:
        """All crops of a clip, uint8 (T, H, W) grey."""
        path, group = self._where[clip]
        rows = read_rows(path, [("png", pa.binary())], made_by=MADE_BY, group=group)
        frames = [_decoded(row["png"], f"{path}, clip {clip}") for row in rows]
        if len({frame.shape for frame in frames}) != 1:
            found, fix = f"{len({frame.shape for frame in frames})} sizes", f"Make it again: {MADE_BY}."
            raise BadInput(f"{path}, clip {clip}", expected="pictures of one size", found=found, fix=fix)
        return np.stack(frames)


def open_mouths(folder: str | Path) -> Mouths:
    """Open what `write_mouths` wrote; frames are decoded on demand."""
    shards = sorted(Path(folder).glob("mouths-*.parquet"))
    if not shards:
        raise missing(Path(folder) / "mouths-000.parquet", MADE_BY)
    where: dict[str, tuple[Path, int]] = {}
    for path in shards:
        inner_file(path, made_by=MADE_BY)
        try:
            # each row group holds one clip, so that the column's minimum and maximum are the same
            clips = [bytes(group.columns[0].least or b"").decode() for group in read_footer(path)]
        except Exception as error:  # each kind of damage has its own error
            found = f"a damaged file or another format ({type(error).__name__}: {str(error)[:200]})"
            raise BadInput(path, expected="a parquet file", found=found, fix=f"Make it again: {MADE_BY}.") from error
        where |= {plain_name(clip, f"{path}: a clip"): (path, group) for group, clip in enumerate(clips)}
    return Mouths(tuple(where), where)


def write_mouths(folder: str | Path, crops: Iterable[tuple[str, np.ndarray]]) -> int:
    """Write crops; the folder is replaced as a whole when everything is written.

    Args:
        folder: output folder.
        crops: clip id and its frames, uint8 (T, H, W) grey; may be a generator.

    Returns:
        the number of frames written.
    """
    count, writer = 0, None
    with whole_folder(folder) as partial:
        for number, (clip, frames) in enumerate(crops):
            if number % CLIPS_A_SHARD == 0:
                if writer is not None:
                    writer.close()
                path = partial / f"mouths-{number // CLIPS_A_SHARD:03d}.parquet"
                writer = parquet.ParquetWriter(path, _SCHEMA, compression="none")
            images = [cv2.imencode(".png", frame)[1].tobytes() for frame in frames]
            columns = [[clip] * len(images), list(range(len(images))), images]
            assert writer is not None
            writer.write_table(pa.table(columns, schema=_SCHEMA), row_group_size=len(images))
            count += len(images)
        if writer is None:
            raise BadInput(folder, expected="at least one clip", found="none", fix="Check the videos it is made of.")
        writer.close()
    return count


def _decoded(png: bytes, where: str) -> np.ndarray:
    small = png[:8] == b"\x89PNG\r\n\x1a\n" and all(
        0 < side <= LARGEST for side in struct.unpack(">II", png[16:24].ljust(8, b"\0"))
    )
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if small else None
    if image is None:
        raise BadInput(where, expected="PNG pictures", found="other bytes", fix=f"Make it again: {MADE_BY}.")
    return image
