"""The lip reader's features of the teacher's videos, E_lipread(G_teach(X)) of Eq. 6, on disk.

features.json      which features ("frontend" or "encoder") and their frame rate
index.parquet      one row per clip: clip, shard, start (first row in the shard), frames
features-*.npy     (rows, C), the clips concatenated; float16 or float32
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import inner_file, map_shard, plain_name, read_about, whole_folder, write_json
from learn2talk_core.untrusted.parquet import read_rows

MADE_BY = "dvc repro teacher_features"
SHARD_BYTES = 64 * 2**20
_COLUMNS = [("clip", pa.string()), ("shard", pa.int64()), ("start", pa.int64()), ("frames", pa.int64())]


@dataclass(frozen=True)
class TeacherFeatures:
    """Opened features of the teacher's videos; `kind` is "frontend" or "encoder", `fps` frames per second."""

    folder: Path
    kind: str
    fps: float
    clips: tuple[str, ...]
    _where: dict[str, tuple[int, int, int]]

    def features(self, clip: str) -> np.ndarray:
        """Features of a clip by its id in the 3D corpus, (T, C) float32."""
        if clip not in self._where:
            raise BadInput(
                self.folder, expected=f"the clip {clip!r}", found="no features for it", fix=f"Make it again: {MADE_BY}."
            )
        shard, start, frames = self._where[clip]
        rows = map_shard(self.folder, "features", shard, made_by=MADE_BY, shape=(None, None), kinds="f")
        if start + frames > len(rows):
            expected, found = f"rows within its shard of {len(rows)}", f"rows up to {start + frames}"
            raise BadInput(f"{self.folder}: {clip}", expected=expected, found=found, fix=f"Make it again: {MADE_BY}.")
        return np.asarray(rows[start : start + frames], np.float32)


def open_teacher_features(folder: str | Path) -> TeacherFeatures:
    """Open what `write_teacher_features` wrote; features are read on demand."""
    folder = Path(folder)
    about = read_about(folder / "features.json", made_by=MADE_BY, kind=str, fps=float)
    path = inner_file(folder / "index.parquet", made_by=MADE_BY)
    where = {}
    for row in read_rows(path, _COLUMNS, made_by=MADE_BY):
        clip, shard, start, frames = (row[name] for name, _ in _COLUMNS)
        if min(start, frames) < 0:
            found, fix = f"{start} and {frames}", f"Make it again: {MADE_BY}."
            raise BadInput(f"{path}: {clip}", expected="start and frames of 0 or more", found=found, fix=fix)
        where[plain_name(clip, f"{path}: a clip")] = (shard, start, frames)
    return TeacherFeatures(folder, about["kind"], about["fps"], tuple(where), where)


def write_teacher_features(
    folder: str | Path, clips: Iterable[tuple[str, np.ndarray]], *, kind: str, fps: float, dtype: str = "float16"
) -> None:
    """Write features; the folder is replaced as a whole when everything is written.

    Args:
        folder: output folder.
        clips: clip id and features (T, C); may be a generator.
        kind: "frontend" or "encoder".
        fps: frames per second.
        dtype: data type on disk, "float16" or "float32".
    """
    with whole_folder(folder) as partial:
        rows: list[dict[str, str | int]] = []
        pending: list[np.ndarray] = []
        shard = 0
        for clip, features in clips:
            rows.append({"clip": clip, "shard": shard, "start": sum(map(len, pending)), "frames": len(features)})
            pending.append(features.astype(dtype))
            if sum(part.nbytes for part in pending) >= SHARD_BYTES:
                np.save(partial / f"features-{shard:03d}.npy", np.concatenate(pending))
                pending, shard = [], shard + 1
        if pending:
            np.save(partial / f"features-{shard:03d}.npy", np.concatenate(pending))
        if not rows:
            raise BadInput(folder, expected="at least one clip", found="none", fix="Check the mouths it is made from.")
        pd.DataFrame(rows).to_parquet(partial / "index.parquet", index=False)
        write_json(partial / "features.json", {"kind": kind, "fps": fps})
