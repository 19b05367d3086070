"""The stage of a splat avatar, which exists only for the avatars that params.yaml names."""

import json
from pathlib import Path

import cv2
import pytest
from ruamel.yaml import YAML

from learn2talk_core.avatar.avatar import load_avatar
from stages import avatar
from tests.avatar.scene import write_small_views

ROOT = Path(__file__).parents[2]


def test_trains_judges_and_leaves_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_small_views(tmp_path / "views")
    settings = avatar.AvatarSettings(images="views", flame=None, steps=25, most=60, refine=1.0)
    said = avatar.main(avatar.Params(seed=3, avatars={"head": settings}), "head")
    made = load_avatar("data/models/avatars/head")
    metrics = json.loads(Path("metrics/avatars/head.json").read_text())
    assert said.startswith(f"{len(made.splats.position)} splats, PSNR ")
    assert metrics["splats"] == len(made.splats.position)
    assert metrics["expressions"].keys() == {"psnr_db", "psnr_head_db", "ssim", "sharpness"}
    assert "psnr" in Path("metrics/curves/avatars/head.csv").read_text().splitlines()[0]
    assert cv2.imread("metrics/plots/avatars/head.png").shape == (3 * 32, 6 * 32, 3)
    assert not any(Path(".scratch").iterdir())


def test_no_avatar_is_trained_by_default() -> None:
    assert YAML(typ="safe").load((ROOT / "params.yaml").read_text())["avatars"] == {}
