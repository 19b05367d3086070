import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.parquet import read_rows
from learn2talk_core.video import talking_video
from learn2talk_core.video.talking_video import (
    VideoClip,
    crop,
    join_shards,
    open_talking_video,
    write_shard,
    write_talking_video,
)
from learn2talk_core.video.video_file import encode_video


def clip(number: int, frames: int = 6, samples: int = 4000) -> VideoClip:
    split = ("loss", "metric", "validation")[number % 3]
    phonemes = (Phoneme(0.0, 0.1, "AA"), Phoneme(0.1, 0.25, "B")) if number % 2 else ()
    return VideoClip(
        f"c{number}",
        f"s{number % 3}",
        "a big word",
        split,
        frames,
        samples,
        phonemes,
        (4, 6, 52, 54),
        (12.5, 20, 44.5, 52),
    )


def film(clip: VideoClip) -> tuple[VideoClip, bytes, np.ndarray]:
    y, x = np.mgrid[:64, :64]
    number = int(clip.id[1:])
    frames = [np.stack([x * 3 + t, y * 3 + number, 0 * x + 90], -1).astype(np.uint8) for t in range(clip.frames)]
    return clip, encode_video(frames, 25), np.linspace(-1, 1, clip.samples) * (number + 1) / 50


def test_round_trip_over_shards(tmp_path: Path) -> None:
    clips = [clip(number) for number in range(40)]  # more than a shard
    write_talking_video(tmp_path / "video", map(film, clips))
    opened = open_talking_video(tmp_path / "video")
    assert len(list((tmp_path / "video").iterdir())) == 2
    assert [replace(c, shard=0, row=0) for c in opened.clips] == clips
    assert [c.id for c in opened.split("loss", "validation")] == [c.id for c in clips if c.split != "metric"]
    for found in (opened.clips[3], opened.clips[39]):
        _, _, audio = film(clip(int(found.id[1:])))
        assert np.abs(opened.audio(found) - audio).max() <= 1 / 32767
        frames = opened.frames(found)
        assert frames.shape == (6, 64, 64, 3)
        assert np.abs(frames[2, 20, 30].astype(int) - [92, 60 + int(found.id[1:]), 90]).max() < 8


def test_same_films_same_bytes(tmp_path: Path) -> None:
    for folder in "ab":
        write_talking_video(tmp_path / folder, map(film, [clip(1), clip(2)]))
    assert (tmp_path / "a/films-000.parquet").read_bytes() == (tmp_path / "b/films-000.parquet").read_bytes()


def test_shards_are_joined_and_stay(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        write_shard(tmp_path / f"{name}.parquet", [film(clip(2 * number + i)) for i in range(2)])
    shards = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for _ in range(2):  # as after a crash between joining and clearing up
        join_shards(tmp_path / "video", shards)
    opened = open_talking_video(tmp_path / "video")
    assert [c.id for c in opened.clips] == ["c0", "c1", "c2", "c3"]
    assert all(shard.is_file() for shard in shards)
    with pytest.raises(BadInput, match="clip c0: expected unique ids, found this id twice"):
        join_shards(tmp_path / "twice", [*shards, shards[0]])
    assert not (tmp_path / "twice").exists()
    with pytest.raises(BadInput, match=r"c.parquet: expected at least one clip, found none"):
        write_shard(tmp_path / "c.parquet", [])


def test_films_opens_each_shard_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [clip(number) for number in range(40)]
    write_talking_video(tmp_path / "video", map(film, clips))
    opened = open_talking_video(tmp_path / "video")
    reads = []

    def counted(path: Path, *args: object, **more: object) -> object:
        reads.append(path.name)
        return read_rows(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(talking_video, "read_rows", counted)
    wanted = opened.clips[::3]
    found = [(c.id, frames, audio) for c, frames, audio in opened.films(wanted)]
    assert reads == ["films-000.parquet", "films-001.parquet"]
    assert [name for name, _, _ in found] == [c.id for c in wanted]
    for c, (_, frames, audio) in zip(wanted, found, strict=True):
        assert np.array_equal(frames, opened.frames(c))
        assert np.array_equal(audio, opened.audio(c))


def test_boxes_are_cut(tmp_path: Path) -> None:
    write_talking_video(tmp_path / "video", [film(clip(0))])
    opened = open_talking_video(tmp_path / "video")
    (found,) = opened.clips
    assert opened.faces(found, 48).shape == (6, 48, 48, 3)
    assert np.array_equal(opened.faces(found, 48), opened.frames(found)[:, 6:54, 4:52])
    mouths = opened.mouths(found)
    assert mouths.shape == (6, 96, 96)
    assert mouths.dtype == np.uint8
    assert mouths[0, 0, 0] < mouths[0, -1, -1]


def test_crop_of_a_ramp_is_exact() -> None:
    """On a linear picture, linear interpolation is exact: the crop's value is its pixel centre's position."""
    y, x = np.mgrid[:40, :40]
    frames = np.stack([x, y], -1)[None].astype(np.float32)
    found = crop(frames, (10.0, 5.5, 26.0, 13.5), 32)
    expected_x = 10 + (np.arange(32) + 0.5) * 0.5 - 0.5
    expected_y = 5.5 + (np.arange(32) + 0.5) * 0.25 - 0.5
    assert np.abs(found[0, 3, :, 0] - expected_x).max() < 0.02  # OpenCV interpolates in steps of 1/32 pixel
    assert np.abs(found[0, :, 7, 1] - expected_y).max() < 0.02


def test_crop_repeats_the_edge() -> None:
    frames = np.full((1, 8, 8), 200, np.uint8)
    assert (crop(frames, (-8, -8, 16, 16), 12) == 200).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "test"}, "clip c0: expected one of loss, metric, validation, found 'test'"),
        (
            {"frames": 7},
            "clip c0: expected at least one frame and 640 samples for each, found 7 frames and 4000 samples",
        ),
        ({"id": "c1"}, "clip c1: expected unique ids, found this id twice"),
    ],
)
def test_wrong_clips_are_refused(tmp_path: Path, wrong: dict, message: str) -> None:
    bad = replace(clip(0), **wrong)
    with pytest.raises(BadInput, match=message):
        write_talking_video(tmp_path / "video", [film(clip(1)), (bad, *film(clip(0))[1:])])
    assert not (tmp_path / "video").exists()


def test_nan_in_audio_is_refused(tmp_path: Path) -> None:
    found, mp4, audio = film(clip(0))
    audio[7] = np.nan
    with pytest.raises(BadInput, match="clip c0: expected finite audio"):
        write_talking_video(tmp_path / "video", [(found, mp4, audio)])


def test_missing_half_written_and_false_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"films-000.parquet: .* Make it first: dvc repro talking_video"):
        open_talking_video(tmp_path)
    with pytest.raises(BadInput, match="expected at least one clip, found none"):
        write_talking_video(tmp_path / "video", [])
    write_talking_video(tmp_path / "video", [film(clip(0))])
    path = tmp_path / "video/films-000.parquet"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(BadInput, match=r"films-000.parquet: expected a parquet file"):
        open_talking_video(tmp_path / "video")
    write_talking_video(tmp_path / "video", [(clip(0), film(clip(0, frames=5))[1], film(clip(0))[2])])
    opened = open_talking_video(tmp_path / "video")
    with pytest.raises(BadInput, match=r"films-000.parquet, clip c0: expected 6 frames, found 5"):
        opened.frames(opened.clips[0])


@pytest.mark.parametrize("change", [{"id": "../x"}, {"id": "/x"}, {"speaker": "a/b"}])
def test_films_are_named_plainly(tmp_path: Path, change: dict) -> None:
    write_talking_video(tmp_path / "video", [film(clip(0))])
    path = tmp_path / "video" / "films-000.parquet"
    table = parquet.read_table(path)
    (column, name), *_ = change.items()
    parquet.write_table(table.set_column(table.schema.get_field_index(column), column, pa.array([name])), path)
    with pytest.raises(BadInput, match=f"films-000.parquet: {column} of a clip: expected a plain name"):
        open_talking_video(tmp_path / "video")


def test_a_film_is_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "films-000.parquet")
    with pytest.raises(BadInput, match=r"films-000.parquet: expected a file, found a device or a pipe"):
        open_talking_video(tmp_path)
