"""Damaged data files give one clear error, or are read: random changes of every file that a reader opens.

`python -m tests.untrusted.test_fuzz` tries `MANY` of them and prints what came of each kind.
"""

import json
import random
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learn2talk_core.animation.blend_shapes import load_shapes
from learn2talk_core.corpus.format import Corpus, Recording, open_corpus, write_corpus
from learn2talk_core.corpus.motion_file import motion_arrays, read_mouth
from learn2talk_core.corpus.predictions import open_predictions, write_predictions
from learn2talk_core.mesh.topology import load_topology, save_topology
from learn2talk_core.mesh.transfer import load_correspondence
from learn2talk_core.run.errors import BadInput
from learn2talk_core.teacher.features import open_teacher_features, write_teacher_features
from learn2talk_core.video.mouths import open_mouths, write_mouths
from learn2talk_core.video.talking_video import open_talking_video, write_talking_video
from tests.toy import clip, sheet, topology, toy_corpus
from tests.video.test_talking_video import clip as video_clip

FEW, MANY = 300, 12_000  # number of changes in a test, and in a manual run


def make(folder: Path) -> None:
    """A small file of every kind that is read."""
    rng = np.random.default_rng(0)
    corpus = toy_corpus(folder / "vertices", clips=2)
    write_corpus(
        folder / "coefficients",
        [Recording("a", "A", "t", "p", "train", np.zeros(8000), rng.normal(size=(15, 4)), clip(0, "A", "").phonemes)],
        topology=topology(), templates={"A": sheet()}, train_speakers=["A"], fps=30.0, mm_per_unit=1000, recipe="toy",
        basis=rng.normal(size=(4, 64, 3)),
    )  # fmt: skip
    with write_predictions(folder / "states", rng.normal(size=(4, 192)), recipe="toy") as states:
        states.add("A0", "A", rng.normal(size=(5, 4)))
        states.add("A0", "B", rng.normal(size=(6, 4)))
    with write_predictions(folder / "displacements", recipe="toy") as states:
        states.add("A0", "A", rng.normal(size=(5, 192)))
    features = {f"clip{n}": rng.normal(size=(3 + n, 6)) for n in range(3)}
    write_teacher_features(folder / "features", features.items(), kind="encoder", fps=25.0)
    films = [(video_clip(n), bytes(range(100)), np.zeros(4000)) for n in range(3)]
    write_talking_video(folder / "films", films)
    write_mouths(folder / "mouths", ((f"c{n}", rng.integers(0, 255, (3, 24, 24), np.uint8)) for n in range(2)))
    save_topology(folder / "topology.npz", topology())
    motion = corpus.vertices(corpus.clips[0])
    np.save(folder / "motion.npy", motion)
    about = {"fps": 30.0, "mm_per_unit": 1000.0, "template": "A", "head": np.tile(np.eye(3, 4), (len(motion), 1, 1))}
    np.savez(folder / "motion.npz", vertices=motion, **about)
    np.savez_compressed(folder / "packed.npz", vertices=motion, **about)
    np.savez(folder / "shapes.npz", names=["jawOpen", "mouthClose"], deltas=rng.normal(size=(2, 64, 3)))
    np.savez(folder / "transfer.npz", corners=np.zeros((9, 3), int), weights=np.ones((9, 3), np.float32),
             turn=np.eye(3, dtype=np.float32), count=np.int64(64))  # fmt: skip


def use(folder: Path, part: str, whole: Corpus) -> None:
    """Open the data that a file of `folder` belongs to, and read all of it; `whole` is an intact corpus if needed."""
    path = folder / part
    if part in ("vertices", "coefficients"):
        corpus = open_corpus(path)
        for found in corpus.clips:
            corpus.audio(found), corpus.vertices(found), corpus.stored(found), corpus.displacement(found)
            for region in corpus.topology.regions:
                corpus.vertices(found, region)
    elif part in ("states", "displacements"):
        predictions = open_predictions(path, whole)
        for name, style in predictions.clips:
            predictions.vertices(name, style), predictions.vertices(name, style, "mouth")
    elif part == "features":
        features = open_teacher_features(path)
        for name in features.clips:
            features.features(name)
    elif part == "films":
        films = open_talking_video(path)
        for film in films.clips:
            films.mp4(film), films.audio(film)
    elif part == "mouths":
        mouths = open_mouths(path)
        for name in mouths.clips:
            mouths.frames(name)
    elif part == "topology.npz":
        load_topology(path)
    elif part == "shapes.npz":
        load_shapes(path)
    elif part == "transfer.npz":
        load_correspondence(path, 64, 9)
    else:
        np.array(motion_arrays(path, mapped=True)["vertices"])
        read_mouth(path, whole, fps=30.0)


# --- changes

STRANGE: list[Any] = [
    None, True, -1, 0, 1, 3, 10**6, 2**31, 2**63, 2**70, 0.5, -0.0, 1e300, float("nan"), float("inf"), "", "a", "../a",
    "A0", "a" * 300, "\ud800", [], ["A"], ["A", "A"], [[]], {}, {"a": 1}, [1, 2],
]  # fmt: skip


def bytes_changed(path: Path, choose: random.Random) -> None:
    """Change a few bits, or bytes near the beginning or end (headers), or remove, duplicate or move a part."""
    data = bytearray(path.read_bytes())
    for _ in range(choose.randint(1, 4)):
        near = choose.choice([len(data), len(data), 200, 400])
        place = choose.randrange(max(1, min(near, len(data))))
        place = len(data) - 1 - place if choose.random() < 0.4 else place
        what = choose.random()
        if not data:
            break
        if what < 0.4:
            data[place] ^= 1 << choose.randrange(8)
        elif what < 0.7:
            data[place] = choose.choice([0, 1, 9, 32, 48, 57, 127, 128, 255])
        elif what < 0.8:
            data[place : place + 4] = choose.choice([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"9999"])
        elif what < 0.87:
            del data[place:]
        elif what < 0.94:
            del data[place : place + choose.randint(1, 40)]
        else:
            data[place:place] = data[place : place + choose.randint(1, 40)]
    path.write_bytes(data)


def json_changed(path: Path, choose: random.Random) -> None:
    """Replace or remove a value in the tree."""
    value = json.loads(path.read_text())
    for _ in range(choose.randint(1, 2)):
        node, parent, key = value, None, None
        while isinstance(node, dict | list) and node and (parent is None or choose.random() < 0.7):
            parent, key = node, choose.choice(list(node) if isinstance(node, dict) else range(len(node)))
            node = parent[key]
        if parent is None or choose.random() < 0.05:
            value = choose.choice(STRANGE)
        elif choose.random() < 0.2:
            del parent[key]
        else:
            parent[key] = choose.choice(STRANGE)
    path.write_text(json.dumps(value))


def array_changed(array: np.ndarray, choose: random.Random) -> Any:
    """Another shape, another type, or unusual numbers."""
    what = choose.randrange(6)
    if what == 0 and array.dtype.kind != "U":
        return array.astype(choose.choice(["f2", "f4", "f8", ">f4", "i1", "i8", "u8", "c8", "?", "U8", "S4"]))
    if what == 1:
        return array[: choose.randint(0, max(1, array.shape[0]))] if array.ndim else array[None]
    if what == 2:
        return array.reshape(choose.choice([(-1,), (1, *array.shape), (*array.shape, 1)]))
    if what == 3:
        return choose.choice([np.array(0), np.array("a"), np.zeros((0, 3)), np.zeros(0), np.zeros((2, 0, 3), "f4")])
    array = np.array(array)
    if array.size and array.dtype.kind in "iuf":
        strange = [0, -1, 1, 10**9] if array.dtype.kind == "i" else [0, 1e30, np.nan, np.inf, -1e9]
        with np.errstate(over="ignore"):
            number = np.array(choose.choice(strange)).astype(array.dtype)
        array.reshape(-1)[choose.randrange(array.size)] = number
    return array.T if what == 5 else array


def numpy_changed(path: Path, choose: random.Random) -> None:
    """The same for a file of one or several arrays; or change the text of a header."""
    if path.suffix == ".npy" and choose.random() < 0.5:
        data = path.read_bytes()
        old, new = choose.choice([(b"'shape': (", b"'shape': (9"), (b"<", b">"), (b"f4", b"f8"), (b"f4", b"O4"),
                                  (b"f4", b"V9"), (b"False", b"True "), (b", }", b",((")])  # fmt: skip
        path.write_bytes(data.replace(old, new, 1))
        return
    if path.suffix == ".npy":
        np.save(path, array_changed(np.load(path), choose))
        return
    with np.load(path) as stored:
        arrays = dict(stored)
    key = choose.choice(list(arrays))
    array = arrays.pop(key)
    if choose.random() < 0.85:
        arrays[key if choose.random() < 0.9 else "a"] = array_changed(array, choose)
    (np.savez if choose.random() < 0.5 else np.savez_compressed)(path, **arrays)


def parquet_changed(path: Path, choose: random.Random) -> None:
    """Rows or columns that are missing, of another type, empty or unusual; or stored in another way."""
    table = parquet.read_table(path)
    rows = table.to_pylist()
    name = choose.choice(table.column_names)
    values = table[name].to_pylist()
    what = choose.randrange(6)
    schema = table.schema
    if what == 0:
        table = table.drop_columns([name])
    elif what == 1:
        rows = rows * 3 if choose.random() < 0.5 else []
        table = pa.Table.from_pylist(rows, schema=schema)
    elif what in (2, 3):
        strange = choose.choice(
            [None, -1, 0, 7, 2**40, -(2**63), 2**63 - 1, 1e300, float("nan"), "", "../a", "B", [], b""]
        )
        place = choose.randrange(len(values))
        try:
            column = pa.array([*values[:place], strange, *values[place + 1 :]], type=schema.field(name).type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            column = pa.array([strange] * len(values))
        table = table.set_column(table.column_names.index(name), name, column)
    elif what == 4:
        kinds = [pa.string(), pa.int32(), pa.binary(), pa.float32(), pa.list_(pa.string())]
        kind = choose.choice(kinds)
        table = table.set_column(table.column_names.index(name), name, pa.nulls(len(values), kind))
    options: dict[str, Any] = {"row_group_size": choose.choice([1, 2, 100])}
    options["compression"] = choose.choice(["none", "snappy", "zstd", "gzip"])
    options["use_dictionary"] = choose.random() < 0.5
    options["write_statistics"] = choose.random() < 0.7
    parquet.write_table(table, path, **options)


CHANGES: dict[str, Callable[[Path, random.Random], None]] = {
    ".json": json_changed,
    ".npy": numpy_changed,
    ".npz": numpy_changed,
    ".parquet": parquet_changed,
}


def fuzz(folder: Path, count: int, seed: int) -> tuple[Counter[str], dict[str, Exception]]:
    """The outcomes of `count` changes, and, by number of the change, the errors that no user should see."""
    whole = toy_corpus(folder / "whole", clips=2)
    make(folder / "good")
    for place in (folder / "good").iterdir():
        use(folder / "good", place.name, whole)
    files = sorted(path for path in (folder / "good").rglob("*") if path.is_file())
    found: Counter[str] = Counter()
    wrong: dict[str, Exception] = {}
    for number in range(count):
        choose = random.Random(f"{seed} {number}")
        good = choose.choice(files)
        part = good.relative_to(folder / "good").parts[0]
        shutil.rmtree(folder / "bad", ignore_errors=True)
        (folder / "bad").mkdir()
        place = folder / "good" / part
        (shutil.copytree if place.is_dir() else shutil.copy)(place, folder / "bad" / part)
        path = folder / "bad" / good.relative_to(folder / "good")
        change = CHANGES[path.suffix] if choose.random() < 0.5 else bytes_changed
        change(path, choose)
        result = "read"
        try:
            use(folder / "bad", part, whole)
        except BadInput as error:
            result = "refused"
            assert str(folder) in str(error) or part in str(error)  # noqa: PT017
        except Exception as error:
            result = "wrong"
            wrong[f"{number} {path.relative_to(folder)} {change.__name__}"] = error
        found[f"{path.suffix} {result}"] += 1
    return found, wrong


@pytest.mark.filterwarnings("ignore")  # NumPy warns about unusual numbers; only the error matters
@pytest.mark.timeout(120)
def test_changed_files_give_one_clear_error(tmp_path: Path) -> None:
    found, wrong = fuzz(tmp_path, FEW, seed=0)
    assert wrong == {}
    assert sum(found.values()) == FEW
    assert all(found[f"{suffix} refused"] for suffix in CHANGES), found  # the test can fail


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found, wrong = fuzz(Path(folder), MANY, seed=1)
    for name, error in wrong.items():
        print(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    print(dict(sorted(found.items())), f"{len(wrong)} wrong")


if __name__ == "__main__":
    main()
