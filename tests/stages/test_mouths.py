from pathlib import Path

import numpy as np
import pytest

import stages.mouths
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.mouths import open_mouths
from learn2talk_core.video.talking_video import VideoClip, open_talking_video, write_talking_video
from learn2talk_core.video.video_file import encode_video
from stages.mouths import Params, main

POINTS = np.array([[60.0, 60], [100, 60], [80, 90], [80, 106]])


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:160, :160]
    frames = [np.stack([x, y, x // 2 + y // 2], -1).astype(np.uint8)] * 4
    clip = VideoClip("a", "s", "", "loss", 4, 2560, (), (20, 20, 140, 140), (40.5, 60.0, 120.5, 140.0))
    write_talking_video("data/teacher_video", [(clip, encode_video(frames, 25), np.zeros(2560))])


def test_known_box(video: None) -> None:
    assert main(Params("known", 1, "processes")) == "4 mouths of 1 clips"
    opened = open_talking_video("data/teacher_video")
    assert np.array_equal(open_mouths("data/mouths").frames("a"), opened.mouths(opened.clips[0]))


def test_landmarks(video: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages.mouths, "mediapipe_faces", lambda: lambda image: [POINTS])
    main(Params("landmarks", 1, "processes"))
    mouths = open_mouths("data/mouths").frames("a")
    assert mouths.shape == (4, 96, 96)
    assert abs(int(mouths[0, 48, 48]) - 93) < 6  # around the fourth landmark: luma of (80, 106, 93)


def test_lost_face_is_named(video: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([[POINTS], []])
    monkeypatch.setattr(stages.mouths, "mediapipe_faces", lambda: lambda image: next(seen))
    with pytest.raises(BadInput, match=r"data/teacher_video, clip a, frame 1: expected one face, found no face"):
        main(Params("landmarks", 1, "processes"))
    assert not Path("data/mouths").exists()


def test_missing_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="Make it first: dvc repro teacher_video"):
        main(Params("known", 1, "processes"))
