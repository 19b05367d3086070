import dataclasses
import json
import logging
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learn2talk_core.corpus.format import (
    Corpus,
    Recording,
    common_duration,
    open_corpus,
    write_corpus,
    write_excerpt,
)
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput
from tests.toy import toy_corpus

V, K, FPS = 12, 4, 30.0
RNG = np.random.default_rng(0)
BASIS = RNG.normal(size=(K, V, 3)).astype(np.float32)
TEMPLATES = {"S0": RNG.normal(size=(V, 3)).astype(np.float32), "S1": RNG.normal(size=(V, 3)).astype(np.float32)}
TOPOLOGY = Topology(
    faces=np.array([[0, 1, 2], [2, 3, 4]], np.int32),
    regions={"lips": np.array([1, 3, 4]), "mouth": np.array([0, 1, 3, 4, 7])},
    lip_pairs=np.array([[1, 3]]),
    colours=np.full((V, 3), 0.5, np.float32),
)


def coefficients(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, K)).astype(np.float32)


def recording(number: int, frames: int = 30, **changes: object) -> Recording:
    audio = np.random.default_rng(number).uniform(-0.5, 0.5, round(frames * 16000 / FPS)).astype(np.float32)
    first = Recording(
        id=f"c{number}",
        speaker=f"S{number % 2}",
        sentence=f"t{number}",
        text="Hello there.",
        split="train" if number % 2 == 0 else "validation",
        audio=audio,
        motion=coefficients(frames, number),
        phonemes=(Phoneme(0.1, 0.2, "HH"), Phoneme(0.2, 0.3, "AH")),
    )
    return dataclasses.replace(first, **changes)  # type: ignore[arg-type]


def expanded(item: Recording) -> np.ndarray:
    """The same clip with explicit vertices, computed in a plain loop."""
    vertices = np.stack([TEMPLATES[item.speaker].astype(np.float64)] * len(item.motion))
    for t, row in enumerate(item.motion):
        for k in range(K):
            vertices[t] += float(row[k]) * BASIS[k]
    return vertices.astype(np.float32)


def write(folder: Path, recordings: list[Recording], *, whole: bool = False, shard_bytes: int = 1 << 28) -> Corpus:
    if whole:
        recordings = [dataclasses.replace(r, motion=expanded(r)) for r in recordings]
    write_corpus(
        folder,
        iter(recordings),
        topology=TOPOLOGY,
        templates=TEMPLATES,
        train_speakers=["S0"],
        fps=FPS,
        mm_per_unit=1000,
        recipe="test",
        basis=None if whole else BASIS,
        shard_bytes=shard_bytes,
    )
    return open_corpus(folder)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("shard_bytes", [1, 1 << 28])
def test_both_storages_give_the_same_vertices_and_audio(tmp_path: Path, whole: bool, shard_bytes: int) -> None:
    items = [recording(n, frames=20 + n) for n in range(4)]
    corpus = write(tmp_path / "corpus", items, whole=whole, shard_bytes=shard_bytes)
    assert [clip.id for clip in corpus.clips] == ["c0", "c1", "c2", "c3"]
    assert len(list((tmp_path / "corpus").glob("audio-*.npy"))) == (4 if shard_bytes == 1 else 1)
    for item, clip in zip(items, corpus.clips, strict=True):
        np.testing.assert_allclose(corpus.vertices(clip), expanded(item), atol=2e-6)
        lips = corpus.vertices(clip, "lips", slice(3, 9))
        assert lips.dtype == np.float32
        np.testing.assert_allclose(lips, expanded(item)[3:9][:, [1, 3, 4]], atol=2e-6)
        np.testing.assert_allclose(corpus.vertices(clip, frames=slice(-2, None)), expanded(item)[-2:], atol=2e-6)
        np.testing.assert_allclose(corpus.audio(clip), item.audio, atol=0.5 / 32768 + 1e-7)
        np.testing.assert_allclose(corpus.audio(clip, slice(100, 200)), item.audio[100:200], atol=0.5 / 32768 + 1e-7)
        assert clip.phonemes == item.phonemes
    np.testing.assert_array_equal(corpus.template("S1", "mouth"), TEMPLATES["S1"][[0, 1, 3, 4, 7]])
    assert [clip.id for clip in corpus.split("validation")] == ["c1", "c3"]
    assert corpus.train_speakers == ("S0",)
    assert (corpus.fps, corpus.mm_per_unit, corpus.recipe) == (30.0, 1000.0, "test")


def test_unknown_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no split 'test'; there are train, validation"):
        write(tmp_path / "corpus", [recording(0)]).split("test")


def test_the_same_recordings_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, [recording(0), recording(1)])
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_shards_are_what_numpy_would_save(tmp_path: Path) -> None:
    items = [recording(n, frames=20 + n) for n in range(4)]
    write(tmp_path / "corpus", items, shard_bytes=45 * K * 4)
    np.save(tmp_path / "first.npy", np.concatenate([item.motion for item in items[:3]]))
    np.save(tmp_path / "second.npy", items[3].motion)
    for shard, name in enumerate(("first", "second")):
        written = (tmp_path / "corpus" / f"coefficients-{shard:03d}.npy").read_bytes()
        assert written == (tmp_path / f"{name}.npy").read_bytes()


@pytest.mark.parametrize(
    ("frames", "samples", "fps", "expected"),
    [
        (30, 16000, 30, (30, 16000)),
        (31, 16000, 30, (30, 16000)),
        (30, 17000, 30, (30, 16000)),
        (25, 15999, 25, (24, 15360)),
        (7, 1 << 20, 30, (7, 3733)),
        (0, 16000, 30, (0, 0)),
    ],
)
def test_common_duration(frames: int, samples: int, fps: float, expected: tuple[int, int]) -> None:
    assert common_duration(frames, samples, fps) == expected


def test_audio_and_motion_of_different_length_are_trimmed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    long_audio = recording(0, audio=np.full(20000, 0.1, np.float32))
    short_audio = recording(1, audio=np.full(8000, 0.1, np.float32))
    with caplog.at_level(logging.WARNING, "learn2talk"):
        corpus = write(tmp_path / "corpus", [long_audio, short_audio])
    assert [(clip.frames, clip.samples) for clip in corpus.clips] == [(30, 16000), (15, 8000)]
    assert "clip c0: motion is 0.250 s shorter than audio" in caplog.text
    assert "clip c1: motion is 0.500 s longer than audio" in caplog.text


def nan_motion() -> np.ndarray:
    motion = coefficients(30, 0)
    motion[17, 2] = np.nan
    return motion


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (recording(1, motion=nan_motion()), "clip c1, frame 17: expected finite positions, found NaN"),
        (recording(1, audio=np.full(16000, np.nan)), "clip c1: expected finite audio"),
        (
            recording(1, motion=np.zeros((30, K + 1))),
            r"clip c1: expected motion of shape \(frames, 4\), found \(30, 5\)",
        ),
        (recording(1, speaker="S9"), "clip c1: expected a speaker with a template, found S9"),
        (recording(1, split="dev"), "clip c1: expected one of train, validation, test_seen, test_unseen, found 'dev'"),
        (recording(1, id="c0"), "clip c0: expected a unique id, found this id twice"),
        (recording(1, audio=np.zeros(10)), "clip c1: expected at least one frame of motion with its sound, found 30 "),
    ],
)
def test_bad_recordings_are_refused_and_nothing_is_left(tmp_path: Path, bad: Recording, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        write(tmp_path / "corpus", [recording(0), bad])
    assert list(tmp_path.iterdir()) == []


def test_no_clips(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected at least one clip, found none"):
        write(tmp_path / "corpus", [])


def test_nan_in_vertices_names_clip_and_frame(tmp_path: Path) -> None:
    vertices = expanded(recording(0))
    vertices[5, 3, 1] = np.inf
    bad = recording(0, motion=vertices)
    with pytest.raises(BadInput, match="clip c0, frame 5: expected finite positions"):
        write_corpus(
            tmp_path / "corpus", [bad], topology=TOPOLOGY, templates=TEMPLATES, train_speakers=["S0"], fps=FPS,
            mm_per_unit=1000, recipe="test",
        )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["clips.parquet", "audio-000.npy", "coefficients-000.npy", "basis.npy", "topology.npz"]
)
def test_missing_and_half_written_files(tmp_path: Path, name: str) -> None:
    write(tmp_path / "corpus", [recording(0)])
    path = tmp_path / "corpus" / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadInput, match=rf"{name}: expected .*dvc repro corpus"):
        open_corpus(tmp_path / "corpus")
    path.unlink()
    with pytest.raises(BadInput, match=rf"{name}: expected .*, found nothing. Make it first: dvc repro corpus"):
        open_corpus(tmp_path / "corpus")


def test_missing_corpus(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"corpus\.json: expected a file, found nothing. Make it first: dvc"):
        open_corpus(tmp_path / "corpus")


def rewritten(folder: Path, **header: object) -> None:
    path = folder / "corpus.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **header}))


@pytest.mark.parametrize(
    "header",
    [
        {"storage": "../vertices"},
        {"storage": "/dev/zero"},
        {"speakers": ["../S0", "S1"]},
        {"train_speakers": ["/tmp/S0"]},
        {"sha256": {"/dev/zero": "0"}},
        {"sha256": {"../x": "0"}},
        {"sha256": {"..": "0"}},
    ],
)
def test_a_header_names_nothing_outside(tmp_path: Path, header: dict) -> None:
    write(tmp_path / "corpus", [recording(0)])
    rewritten(tmp_path / "corpus", **header)
    with pytest.raises(BadInput, match=r"corpus.json: expected a plain name without path separators"):
        open_corpus(tmp_path / "corpus")


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", "", "a\\b", "a\0"])
@pytest.mark.parametrize("column", ["id", "speaker"])
def test_a_clip_is_named_plainly(tmp_path: Path, column: str, name: str) -> None:
    write(tmp_path / "corpus", [recording(0)])
    path = tmp_path / "corpus" / "clips.parquet"
    table = parquet.read_table(path)
    table = table.set_column(table.schema.get_field_index(column), column, pa.array([name]))
    parquet.write_table(table, path)
    with pytest.raises(BadInput, match=f"clips.parquet: {column} of a clip: expected a plain name"):
        open_corpus(tmp_path / "corpus")
    if column == "id":
        with pytest.raises(BadInput, match="the id of a clip: expected a plain name"):
            write(tmp_path / "new", [recording(0, id=name)])
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["corpus.json", "clips.parquet", "audio-000.npy", "templates.npy", "topology.npz"])
def test_a_corpus_reads_its_own_files_only(tmp_path: Path, name: str) -> None:
    write(tmp_path / "corpus", [recording(0)])
    path = tmp_path / "corpus" / name
    path.rename(tmp_path / name)
    for target, found in (("/dev/zero", "a device or a pipe"), (tmp_path / name, "a link that points outside it")):
        path.symlink_to(target)
        with pytest.raises(BadInput, match=f"{name}: expected a file.*, found {found}"):
            open_corpus(tmp_path / "corpus")
        path.unlink()
    os.mkfifo(path)
    with pytest.raises(BadInput, match=f"{name}: expected a file, found a device or a pipe"):
        open_corpus(tmp_path / "corpus")


@pytest.mark.parametrize("basis", [False, True])
def test_an_excerpt_holds_its_clips_and_all_faces(basis: bool, tmp_path: Path) -> None:
    whole = toy_corpus(tmp_path / "whole")
    if basis:
        motion = np.random.default_rng(0).normal(0, 1e-3, (3, 64, 3)).astype(np.float32)
        recordings = [
            Recording(c.id, c.speaker, c.sentence, c.text, c.split, whole.audio(c), np.ones((c.frames, 3)), c.phonemes)
            for c in whole.clips
        ]
        write_corpus(
            tmp_path / "linear", recordings, topology=whole.topology, templates=whole.templates,
            train_speakers=whole.train_speakers, fps=30.0, mm_per_unit=1000.0, recipe="toy", basis=motion,
        )  # fmt: skip
        whole = open_corpus(tmp_path / "linear")
    chosen = whole.split("train")[::2]
    write_excerpt(tmp_path / "part", whole, chosen)
    part = open_corpus(tmp_path / "part")
    assert [clip.id for clip in part.clips] == [clip.id for clip in chosen]
    assert sorted(part.templates) == sorted(whole.templates)
    assert (part.train_speakers, part.fps, part.recipe) == (whole.train_speakers, whole.fps, whole.recipe)
    for own, clip in zip(part.clips, chosen, strict=True):
        np.testing.assert_array_equal(part.audio(own), whole.audio(clip))
        np.testing.assert_array_equal(part.vertices(own), whole.vertices(clip))
        assert (own.text, own.phonemes) == (clip.text, clip.phonemes)
