import numpy as np
import pandas as pd
import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.teacher import features as teacher_features
from learn2talk_core.teacher.features import open_teacher_features, write_teacher_features


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("float32", 0.0)])
def test_every_clip_comes_back(tmp_path, monkeypatch: pytest.MonkeyPatch, dtype: str, tolerance: float) -> None:
    monkeypatch.setattr(teacher_features, "SHARD_BYTES", 200)  # several shards
    rng = np.random.default_rng(0)
    clips = {f"clip{i}": rng.normal(size=(frames, 6)).astype(np.float32) for i, frames in enumerate((3, 9, 1, 30, 4))}
    write_teacher_features(tmp_path / "f", iter(clips.items()), kind="encoder", fps=25.0, dtype=dtype)
    opened = open_teacher_features(tmp_path / "f")
    assert (opened.clips, opened.kind, opened.fps) == (tuple(clips), "encoder", 25.0)
    assert len(list((tmp_path / "f").glob("*.npy"))) > 1
    for clip, features in clips.items():
        assert opened.features(clip).dtype == np.float32
        np.testing.assert_allclose(opened.features(clip), features, rtol=tolerance, atol=1e-7)


def test_errors(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"expected a file, found nothing. Make it first: dvc repro teacher_features"):
        open_teacher_features(tmp_path / "absent")
    with pytest.raises(BadInput, match="expected at least one clip, found none"):
        write_teacher_features(tmp_path / "f", [], kind="encoder", fps=25.0)
    assert not (tmp_path / "f").exists()
    write_teacher_features(tmp_path / "f", [("a", np.zeros((2, 3)))], kind="encoder", fps=25.0)
    with pytest.raises(BadInput, match="expected the clip 'b', found no features for it"):
        open_teacher_features(tmp_path / "f").features("b")


def test_an_index_that_leads_out(tmp_path) -> None:
    write_teacher_features(tmp_path / "f", [("../x", np.zeros((2, 3)))], kind="encoder", fps=25.0)
    with pytest.raises(BadInput, match=r"index.parquet: a clip: expected a plain name"):
        open_teacher_features(tmp_path / "f")
    pd.DataFrame([{"clip": "a", "shard": "../x", "start": 0, "frames": 2}]).to_parquet(tmp_path / "f/index.parquet")
    with pytest.raises(BadInput, match=r"index.parquet: expected a parquet file, found a damaged or different one"):
        open_teacher_features(tmp_path / "f").features("a")
