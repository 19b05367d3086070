"""Predicted motion on disk: a folder with an entry for every clip and speaking style.

If a student's last layer is affine (as FaceFormer's: vertices = template + state · basis + bias), its states are
stored, a few dozen numbers per frame, and the affine map once. For any other student, the vertex displacements are
stored. Readers get vertices either way. The folder contains:

    predictions.json   recipe of the corpus; one row per entry: clip, style, shard, first row in the shard, frames
    states-*.npy       float32 (rows, d): the entries concatenated; d = 3 V without a basis
    basis.npy          float32 (d + 1, 3 V), the bias as its last row; absent if the states are displacements
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import inner_file, map_array, map_shard, plain_name, read_json, whole_folder, write_json
from learn2talk_core.run.recipe import refuse_other_recipe

SHARD_BYTES = 256 * 2**20
MADE_BY = "dvc repro predict"
AGAIN = f"Make it again: {MADE_BY}."


class PredictionWriter:
    """Yielded by `write_predictions`; call `add` for one clip after another."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[dict[str, str | int]] = []
        self._folder = folder
        self._pending: list[np.ndarray] = []
        self._shard = 0

    def add(self, clip_id: str, style: str, states: np.ndarray) -> None:
        """Append the prediction for one clip in the style of the training speaker `style`.

        Args:
            states: (T, d) when there is a basis, else displacements from the template (T, V, 3) or (T, 3 V).
        """
        states = np.asarray(states, np.float32).reshape(len(states), -1)
        if not np.isfinite(states).all():
            raise BadInput(
                f"the prediction for {clip_id}",
                expected="finite numbers",
                found=f"{np.count_nonzero(~np.isfinite(states))} NaN or infinite",
                fix="The student diverged: train it again with a smaller learning rate.",
            )
        start = sum(map(len, self._pending))
        self.rows.append({"clip": clip_id, "style": style, "shard": self._shard, "start": start, "frames": len(states)})
        self._pending.append(states)
        if sum(part.nbytes for part in self._pending) >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the entries added since the last shard as a new shard."""
        if self._pending:
            np.save(self._folder / f"states-{self._shard:03d}.npy", np.concatenate(self._pending))
            self._pending, self._shard = [], self._shard + 1


@contextmanager
def write_predictions(
    folder: str | Path, basis: np.ndarray | None = None, bias: np.ndarray | None = None, *, recipe: str | None = None
) -> Iterator[PredictionWriter]:
    """Yield a writer; the complete folder appears when the block ends without an error.

    Args:
        folder: where to write.
        basis: (d, 3 V) or (d, V, 3) displacement per unit of each state component; None when `add` gets displacements.
        bias: (3 V,) or (V, 3) displacement at the zero state, zero when not given.
        recipe: of the corpus that the clips belong to.
    """
    with whole_folder(folder) as partial:
        if basis is not None:
            linear = np.asarray(basis, np.float32).reshape(len(basis), -1)
            constant = np.zeros(linear.shape[1]) if bias is None else np.asarray(bias).reshape(-1)
            np.save(partial / "basis.npy", np.vstack([linear, constant]).astype(np.float32))
        writer = PredictionWriter(partial)
        yield writer
        writer.flush()
        write_json(partial / "predictions.json", {"recipe": recipe, "rows": writer.rows})


class Predictions:
    """Predicted motion of the clips of one corpus; see `open_predictions`.

    Attributes:
        clips: every entry as (clip id, style), in the order of writing.
    """

    def __init__(self, folder: Path, corpus: Corpus) -> None:
        where = folder / "predictions.json"
        about = read_json(inner_file(where, made_by=MADE_BY), made_by=MADE_BY)
        rows = _rows(where, about)
        refuse_other_recipe(folder, about["recipe"], corpus.recipe)
        self.folder = folder
        self.corpus = corpus
        self.clips: list[tuple[str, str]] = [(row["clip"], row["style"]) for row in rows]
        self._rows = {(row["clip"], row["style"]): row for row in rows}
        self._speakers = {clip.id: clip.speaker for clip in corpus.clips}
        width = 3 * len(corpus.topology.colours)
        basis = folder / "basis.npy"
        self._map = map_array(basis, made_by=MADE_BY, shape=(None, width), kinds="f4") if basis.is_file() else None
        shape = (None, width if self._map is None else len(self._map) - 1)
        shards = range(1 + max((row["shard"] for row in rows), default=-1))
        self._shards = [map_shard(folder, "states", n, made_by=MADE_BY, shape=shape, kinds="f4") for n in shards]
        for row in rows:
            if row["start"] + row["frames"] > len(self._shards[row["shard"]]):
                expected = f"rows of its shard of {len(self._shards[row['shard']])}"
                found = f"rows up to {row['start'] + row['frames']}"
                raise BadInput(f"{where}: clip {row['clip']}", expected=expected, found=found, fix=AGAIN)
        self._region_maps: dict[str | None, np.ndarray] = {None: self._map} if self._map is not None else {}

    def styles(self, clip_id: str) -> list[str]:
        """The styles in which a clip was predicted, in the order of writing."""
        return [style for clip, style in self.clips if clip == clip_id]

    def states(self, clip_id: str, style: str | None = None) -> np.ndarray:
        """The stored states (T, d) of one entry; `style` may be omitted if there is only one."""
        row = self._rows[clip_id, self._only_style(clip_id) if style is None else style]
        return np.asarray(self._shards[row["shard"]][row["start"] : row["start"] + row["frames"]])

    def vertices(self, clip_id: str, style: str | None = None, region: str | None = None) -> np.ndarray:
        """Vertices (T, n, 3) float32 in the corpus's unit: the speaker's template plus the predicted displacement.

        Args:
            clip_id: which clip. T may differ from the clip's own number of frames.
            style: the training speaker whose style is used; may be omitted if there is only one.
            region: a region of the corpus's topology; None is the whole mesh.
        """
        states = self.states(clip_id, style)
        if clip_id not in self._speakers:
            raise BadInput(self.folder, expected="clips of the corpus", found=clip_id, fix=AGAIN)
        template = self.corpus.template(self._speakers[clip_id], region)
        if self._map is None:
            displacement = states.reshape(len(states), -1, 3)
            if region is not None:
                displacement = displacement[:, self.corpus.topology.regions[region]]
        else:
            affine = self._region_map(region)
            displacement = (states @ affine[:-1] + affine[-1]).reshape(len(states), -1, 3)
        return template + displacement

    def _region_map(self, region: str | None) -> np.ndarray:
        if region not in self._region_maps:
            assert self._map is not None
            ids = self.corpus.topology.regions[str(region)]
            whole = self._map.reshape(len(self._map), -1, 3)
            self._region_maps[region] = np.ascontiguousarray(whole[:, ids].reshape(len(whole), -1))
        return self._region_maps[region]

    def _only_style(self, clip_id: str) -> str:
        styles = self.styles(clip_id)
        if len(styles) != 1:
            raise BadInput(
                f"{self.folder}: clip {clip_id}",
                expected="one style, or the name of one",
                found=f"{len(styles)} styles: {', '.join(styles) or 'none'}",
                fix="Name one of them.",
            )
        return styles[0]


def _rows(where: Path, about: Any) -> list[dict[str, Any]]:
    """The checked rows of `predictions.json`; each says where its states are."""
    rows = about.get("rows") if isinstance(about, dict) else None
    if not isinstance(rows, list) or not isinstance(about.get("recipe", 0), str | None):
        raise BadInput(where, expected="recipe and rows", found="other contents", fix=AGAIN)
    for row in rows:
        row = row if isinstance(row, dict) else {}
        counts: list[Any] = [row.get(name) for name in ("shard", "start", "frames")]
        if not all(type(count) is int and 0 <= count < 2**40 for count in counts) or counts[0] > len(rows):
            expected = "rows with clip, style, shard, start and frames"
            raise BadInput(where, expected=expected, found=f"{str(counts)[:80]}", fix=AGAIN)
        for name in ("clip", "style"):
            plain_name(row.get(name), f"{where}: {name}")
    return rows


def open_predictions(folder: str | Path, corpus: Corpus) -> Predictions:
    """Open predictions for `corpus`, which gives templates and regions. Predictions of another recipe are refused."""
    return Predictions(Path(folder), corpus)
