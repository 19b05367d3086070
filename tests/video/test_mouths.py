from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.mouths import open_mouths, write_mouths


def crops(clips: int) -> Iterator[tuple[str, np.ndarray]]:
    for number in range(clips):
        yield f"clip {number}", np.random.default_rng(number).integers(0, 255, (2 + number % 3, 96, 96), np.uint8)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    assert write_mouths(tmp_path / "mouths", crops(35)) == sum(len(frames) for _, frames in crops(35))
    opened = open_mouths(tmp_path / "mouths")
    assert len(list((tmp_path / "mouths").iterdir())) == 2
    assert opened.clips == tuple(clip for clip, _ in crops(35))
    for clip, frames in crops(35):
        assert np.array_equal(opened.frames(clip), frames)


def test_same_crops_same_bytes(tmp_path: Path) -> None:
    for folder in "ab":
        write_mouths(tmp_path / folder, crops(3))
    assert (tmp_path / "a/mouths-000.parquet").read_bytes() == (tmp_path / "b/mouths-000.parquet").read_bytes()


def test_missing_and_broken(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"mouths-000.parquet: .* Make it first: dvc repro mouths"):
        open_mouths(tmp_path)
    with pytest.raises(BadInput, match="expected at least one clip, found none"):
        write_mouths(tmp_path / "mouths", crops(0))
    assert not (tmp_path / "mouths").exists()
    (tmp_path / "mouths-000.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(BadInput, match=r"mouths-000.parquet: expected a parquet file"):
        open_mouths(tmp_path)


def test_clips_and_shards_that_lead_out(tmp_path: Path) -> None:
    write_mouths(tmp_path / "m", [("../x", next(crops(1))[1])])
    with pytest.raises(BadInput, match=r"mouths-000.parquet: a clip: expected a plain name"):
        open_mouths(tmp_path / "m")
    (tmp_path / "m" / "mouths-000.parquet").unlink()
    (tmp_path / "m" / "mouths-000.parquet").symlink_to("/dev/zero")
    with pytest.raises(BadInput, match=r"mouths-000.parquet: expected a file, found a device or a pipe"):
        open_mouths(tmp_path / "m")
