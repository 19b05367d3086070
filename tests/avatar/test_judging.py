"""Splats and mesh before the same judges: judges with random weights, which see what they are given."""

import numpy as np
import pytest
import torch

from learn2talk.cli import main
from learn2talk_core.avatar.avatar import Avatar
from learn2talk_core.avatar.judging import (
    AvatarJudges,
    faces_of,
    judge_avatar,
    judged_page,
    mouths_of,
    write_beside_mesh,
)
from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.models.lipreader import LipReader
from learn2talk_core.models.sync_expert2d import SyncExpert2D
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.video_file import read_video
from tests.avatar.scene import sheet_avatar
from tests.models.test_lipreader import SMALL
from tests.toy import toy_corpus


def judges() -> AvatarJudges:
    torch.manual_seed(0)
    return AvatarJudges(LipReader(len(PHONEMES) + 2, **SMALL).eval(), None, None, SyncExpert2D(width=0.05).eval())


def agree(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_both_ways_show_the_same_scene(tmp_path):
    corpus = toy_corpus(tmp_path / "corpus")
    vertices = corpus.vertices(corpus.clips[0])[:3]
    for pictures in (mouths_of(sheet_avatar(), corpus, vertices), faces_of(sheet_avatar(), corpus, vertices)):
        a, b = (pictures[way].astype(float) / pictures[way].max() for way in ("splats", "mesh"))
        assert a.shape == b.shape
        assert agree(a, b) > 0.75
        for move in ((3, 0), (-3, 0), (0, 3), (0, -3)):  # pixels: nowhere else do they agree better
            inside = slice(3, -3)
            moved = np.roll(b, move, axis=(1, 2))[:, inside, inside]
            assert agree(a[:, inside, inside], moved) < agree(a[:, inside, inside], b[:, inside, inside]), move


def test_scores_of_both_ways(tmp_path):
    corpus = toy_corpus(tmp_path / "corpus")
    scores = judge_avatar(sheet_avatar(), corpus, corpus.split("test_seen"), judges())
    assert scores["clips"] == 1
    for way in ("splats", "mesh"):
        assert scores[way].keys() == {"lipread_error", "viseme_accuracy", "lse_d", "lse_c", "lag_ms"}
        assert scores[way]["lipread_error"] > 0
        assert scores[way]["viseme_accuracy"] is None  # this reader has no frame-wise head
    assert scores["lag_difference_ms"] == pytest.approx(abs(scores["splats"]["lag_ms"] - scores["mesh"]["lag_ms"]))
    assert scores["splats"]["lse_d"] != scores["mesh"]["lse_d"]
    misread, mesh = (scores[way]["lipread_error"] for way in ("splats", "mesh"))
    assert scores["more_misread"] == pytest.approx(misread / mesh - 1)
    assert scores["more_misread_interval"] == pytest.approx([misread / mesh - 1] * 2)  # of one clip


def test_the_page_has_both_ways_the_goals_and_the_speed():
    row = {"lse_d": 0.7, "lse_c": 0.3, "lag_ms": -9.6, "lipread_error": 0.525, "viseme_accuracy": None}
    scores = {
        "clips": 3, "splats": row, "mesh": {**row, "lipread_error": 0.5}, "lag_difference_ms": 8.2,
        "more_misread": 0.05, "more_misread_interval": [-0.014, 0.1],
    }  # fmt: skip
    speed = {
        "frames_per_second": 71.6, "training_pictures_per_second": 9.04, "height": 256, "width": 320,
        "peak_memory_mb": 812.3,
    }  # fmt: skip
    views = {"psnr_db": 32.14, "psnr_head_db": 29.51, "ssim": 0.9764, "sharpness": 0.921}
    page = judged_page("head", scores, {"splats": 9000, "views": views, "speed": speed})
    for line in (
        "# Splat avatar head",
        "![A turn around the head](turntable.png)",
        "| mesh | 0.700 | 0.300 | -10 | 0.500 | – |",
        "| splats | 0.700 | 0.300 | -10 | 0.525 | – |",
        "| views | 32.1 | 29.5 | 0.976 | 0.92 |",
    ):
        assert line in page.splitlines(), line
    assert (
        "8 ms (goal: one frame, 40 ms). Lip reading error relative to the mesh's: +5.0 % (95 %: -1.4 to +10.0 %);"
        in page
    )
    assert "9000 splats. 72 frames a second drawn, 9.0 pictures a second trained, at 320 × 256; 812 MB" in page
    assert "relative to the mesh's: –" in judged_page(
        "head", {**scores, "more_misread": None}, {"splats": 1, "speed": speed}
    )


def test_a_video_shows_both_ways(tmp_path):
    corpus = toy_corpus(tmp_path / "corpus")
    (clip,) = corpus.split("test_seen")
    write_beside_mesh(tmp_path / "both.mp4", sheet_avatar(), corpus, clip, size=64)
    frames, fps, wave = read_video(tmp_path / "both.mp4")
    assert fps == 25
    assert frames.shape[0] == round(25 * clip.frames / corpus.fps)
    assert wave is not None
    left, right = frames[5][30:94, :64].astype(float), frames[5][30:94, 64:128].astype(float)
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.5


def test_another_mesh_or_short_clips_are_refused(tmp_path):
    corpus = toy_corpus(tmp_path / "corpus")
    avatar = sheet_avatar()
    other = Avatar(avatar.splats, avatar.template, avatar.faces[::-1].copy(), 1000.0, avatar.seen)
    with pytest.raises(BadInput, match="expected the mesh of"):
        judge_avatar(other, corpus, corpus.split("test_seen"), judges())
    with pytest.raises(BadInput, match="found 0 shorter ones"):
        judge_avatar(avatar, corpus, [], judges())


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [("--split", "unseen", "expected one of train, validation"), ("--clips", "0", "--clips: expected at least 1")],
)
def test_the_command_refuses_before_it_judges(capsys, option, value, text):
    assert main(["avatar", "judge", "nothing", option, value]) == 1
    assert text in capsys.readouterr().err
