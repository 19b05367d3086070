from pathlib import Path

import cv2
import numpy as np
import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.landmarks import REFERENCE
from learn2talk_core.video.recorded import SIZE, recorded_films, videos
from learn2talk_core.video.talking_video import open_talking_video, write_talking_video
from learn2talk_core.video.video_file import write_video

DOTS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]


def record(path: Path, *, fps: float = 30, seconds: float = 1.0, sound: bool = True) -> None:
    """A grey film with four coloured dots, the landmarks of a face, that drift to the right."""
    frames = []
    for t in range(round(fps * seconds)):
        image = np.full((200, 240, 3), 128, np.uint8)
        for (x, y), colour in zip(REFERENCE * 0.6 + [20 + 10 * t / fps, 10], DOTS, strict=True):
            cv2.circle(image, (round(x), round(y)), 5, colour, -1)
        frames.append(image)
    time = np.arange(round(16000 * seconds)) / 16000
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, fps, (0.3 * np.sin(2000 * time)).astype(np.float32) if sound else None)


def find_dots(image: np.ndarray) -> list[np.ndarray]:
    centres = []
    for colour in DOTS:
        near = np.abs(image.astype(int) - colour).max(-1) < 90
        if not near.any():
            return []
        centres.append(np.argwhere(near).mean(0)[::-1])
    return [np.array(centres)]


def test_folder_of_videos_becomes_a_corpus(tmp_path: Path) -> None:
    for speaker in ("ann", "bob", "cyd"):
        record(tmp_path / f"in/{speaker}/one.mp4")
    (tmp_path / "in/ann/._one.mp4").touch()
    (tmp_path / "in/.trash").mkdir()
    (tmp_path / "in/.trash/two.mp4").touch()
    (tmp_path / "in/ann/one.txt").write_text("hello\n there ")
    write_talking_video(tmp_path / "out", recorded_films(tmp_path / "in", find_dots))
    opened = open_talking_video(tmp_path / "out")
    assert [(c.id, c.split, c.text) for c in opened.clips] == [
        ("ann_one", "loss", "hello there"),
        ("bob_one", "metric", ""),
        ("cyd_one", "validation", ""),
    ]
    clip = opened.clips[0]
    assert (clip.frames, clip.samples) == (25, 16000)  # from 30 to 25 fps
    frames = opened.frames(clip)
    assert frames.shape == (25, SIZE, SIZE, 3)
    places = np.stack([find_dots(frame)[0] for frame in frames])
    assert np.abs(places - places[0]).max() < 1.2  # the drift is gone
    left, top, right, bottom = clip.mouth_box
    assert np.abs(places[:, 3] - [(left + right) / 2, (top + bottom) / 2]).max() < 1.5
    assert np.abs(np.abs(opened.audio(clip)).max() - 0.3) < 0.05


def test_nobody_is_in_two_splits(tmp_path: Path) -> None:
    for number in range(21):
        for take in "ab":
            path = tmp_path / f"{number:02d}/{take}.MOV"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    found = videos(tmp_path)
    assert len(found) == 42
    assert len({(path.parent, split) for path, split in found}) == 21
    assert [split for _, split in found].count("validation") == 4


def test_what_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "ann/one.mp4")
    with pytest.raises(
        BadInput, match=r"expected videos <speaker>/<name>.mp4 of at least three speakers, found 1 videos of 1"
    ):
        list(recorded_films(tmp_path, find_dots))
    record(tmp_path / "bob/one.mp4", sound=False)
    record(tmp_path / "cyd/one.mp4")
    with pytest.raises(BadInput, match=r"bob/one.mp4: expected a sound track, found none"):
        list(recorded_films(tmp_path, find_dots))
    with pytest.raises(BadInput, match=r"ann/one.mp4, frame 0: expected one face, found no face"):
        list(recorded_films(tmp_path, lambda image: []))
