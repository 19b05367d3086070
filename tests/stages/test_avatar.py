"""The stage of a splat avatar, which exists only for the avatars that params.yaml names."""

import json
from functools import partial
from pathlib import Path

import cv2
import pytest
from ruamel.yaml import YAML

from learn2talk_core.avatar.avatar import load_avatar, save_avatar
from learn2talk_core.avatar.own_head import HeadSession
from learn2talk_core.run.errors import BadInput
from stages import avatar, avatar_report
from tests.avatar.scene import sheet_avatar, write_small_views
from tests.avatar.test_judging import judges
from tests.toy import toy_corpus

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
    speed = metrics["speed"]
    assert (speed["height"], speed["width"]) == (32, 32)
    assert speed["frames_per_second"] > speed["training_pictures_per_second"] > 0
    assert 10 < speed["peak_memory_mb"] < 100_000
    assert "psnr" in Path("metrics/curves/avatars/head.csv").read_text().splitlines()[0]
    assert cv2.imread("metrics/plots/avatars/head.png").shape == (3 * 32, 6 * 32, 3)
    assert not any(Path(".scratch").iterdir())


def test_without_pictures_the_embedded_head_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = partial(HeadSession, cameras=2, close=1, every=1, expressions=2, held_out_expressions=4, size=32)
    monkeypatch.setattr(avatar, "HeadSession", small)
    settings = avatar.AvatarSettings(images=None, flame=None, steps=2, most=100, refine=1.0)
    avatar.main(avatar.Params(seed=3, avatars={"head": settings}), "head")
    metrics = json.loads(Path("metrics/avatars/head.json").read_text())
    assert metrics["pictures"] == 2 * (2 + 1)
    assert (metrics["speed"]["height"], metrics["speed"]["width"]) == (32, 32)  # not those of the close-ups
    assert metrics.keys() > {"views", "expressions"}


def test_the_report_judges_and_shows_an_avatar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy_corpus(Path("data/corpus"))
    monkeypatch.setattr(avatar_report, "load_avatar_judges", judges)
    Path("data/models/avatars/head").mkdir(parents=True)
    save_avatar(Path("data/models/avatars/head"), sheet_avatar())
    settings = {"head": avatar_report.AvatarReportSettings(split="test_seen", clips=1)}
    with pytest.raises(BadInput, match="dvc repro avatar@head"):
        avatar_report.main(avatar_report.Params(settings), "head")
    speed = {"frames_per_second": 50.0, "training_pictures_per_second": 9.0, "height": 256, "width": 256}
    trained = {"splats": 98, "speed": {**speed, "peak_memory_mb": 800.0}}
    Path("metrics/avatars").mkdir(parents=True)
    Path("metrics/avatars/head.json").write_text(json.dumps(trained))
    said = avatar_report.main(avatar_report.Params(settings), "head")
    scores = json.loads(Path("metrics/avatar_reports/head.json").read_text())
    assert said.startswith(f"lip reading error {scores['splats']['lipread_error']:.3f}, of the mesh")
    folder = Path("data/avatar_reports/head")
    assert {path.name for path in folder.iterdir()} == {"report.md", "turntable.png", "side_by_side.mp4"}
    assert cv2.imread(str(folder / "turntable.png")).shape == (256, 6 * 256, 3)
    assert "98 splats" in (folder / "report.md").read_text()


def test_no_avatar_is_trained_by_default() -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    assert params["avatars"] == params["avatar_reports"] == {}
