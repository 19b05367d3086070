from pathlib import Path

import cv2
import numpy as np
import pytest

from learn2talk_core.corpus.format import Clip
from learn2talk_core.run.errors import BadInput
from learn2talk_core.teacher.videos import find_video, foreign_film, likeness, look_at, mouth_variation, resample_note
from learn2talk_core.video.stills import Still, choose_stills
from learn2talk_core.video.talking_video import VideoClip, open_talking_video, write_talking_video
from learn2talk_core.video.video_file import encode_video, read_video, write_video
from tests.fake_teacher import FACE_BOX, MOUTH_BOX, SIZE, speak, still

RNG = np.random.default_rng(0)
LOUDNESS = np.interp(np.arange(20000), np.linspace(0, 20000, 7), [0, 1, 0, 1, 0, 1, 0])
AUDIO = (0.35 * LOUDNESS * RNG.normal(size=20000)).clip(-1, 1)  # 31 frames and 160 more samples
SHOWN = VideoClip("s", "s", "", "validation", 1, 640, (), FACE_BOX, MOUTH_BOX)
STILL = Still(still(), SHOWN)
CLIP = Clip("c", "A", "t0", "p a", "train", 37, len(AUDIO), (), 0, 0, 0)
POINTS = np.array([[45.0, 50], [83, 50], [64, 75], [64, 94]])


def look(pictures: list[np.ndarray], fps: float = 25.0) -> int:
    return look_at(encode_video(pictures, fps), len(AUDIO), STILL, None, name="a.mp4").frames


def test_a_good_video(tmp_path: Path) -> None:
    write_video(tmp_path / "c.mp4", speak(AUDIO, STILL.image, 25), 25)
    (clip, mp4, audio), note = foreign_film(CLIP, AUDIO, tmp_path / "c.mp4", STILL, None)
    assert note == ""
    assert (clip.id, clip.split, clip.frames, clip.samples) == ("c", "loss", 31, len(AUDIO))
    assert (clip.face_box, clip.mouth_box) == (FACE_BOX, MOUTH_BOX)
    np.testing.assert_array_equal(audio, AUDIO)
    write_talking_video(tmp_path / "made", [(clip, mp4, audio)])
    mouths = open_talking_video(tmp_path / "made").mouths(clip)
    loudness = np.abs(AUDIO[: 31 * 640]).reshape(31, 640).mean(1)
    darkness = -mouths[:, 20:76, 20:76].reshape(31, -1).mean(1)
    assert np.corrcoef(loudness, darkness)[0, 1] > 0.9


@pytest.mark.parametrize("off", [-2, -1, 1, 2])
def test_a_picture_or_two_are_trimmed(off: int, tmp_path: Path) -> None:
    pictures = speak(np.pad(AUDIO, (0, 4000)), STILL.image, 25)[: 31 + off]
    write_video(tmp_path / "c.mp4", pictures, 25)
    (clip, mp4, audio), _ = foreign_film(CLIP, AUDIO, tmp_path / "c.mp4", STILL, None)
    assert clip.frames == len(read_video(mp4)[0]) == min(31, 31 + off)
    assert clip.samples == len(audio) == (len(AUDIO) if off > 0 else (31 + off) * 640)
    write_talking_video(tmp_path / "made", [(clip, mp4, audio)])  # raises if sound and frames do not match


@pytest.mark.parametrize("count", [28, 34])
def test_length(count: int) -> None:
    pictures = speak(np.pad(AUDIO, (0, 4000)), STILL.image, 25)[:count]
    with pytest.raises(BadInput, match=rf"^a.mp4: expected 31 frames at 25 fps, .* found {count}\."):
        look(pictures)


@pytest.mark.parametrize("fps", [30, 62.5, 15])
def test_another_rate_is_resampled_in_time(fps: float, tmp_path: Path) -> None:
    write_video(tmp_path / "c.mp4", speak(AUDIO, STILL.image, fps), fps)
    assert f"{fps:g} frames per second, resampled to 25" in resample_note(tmp_path / "c.mp4")
    (clip, mp4, _), note = foreign_film(CLIP, AUDIO, tmp_path / "c.mp4", STILL, None)
    assert note == resample_note(tmp_path / "c.mp4")
    assert abs(clip.frames - 31) <= 2
    own = read_video(encode_video(speak(AUDIO, STILL.image, 25), 25))[0]
    found = read_video(mp4)[0]
    dark = [video[: clip.frames, 74:114, 50:78].mean((1, 2, 3)) for video in (own, found)]
    assert np.corrcoef(*dark)[0, 1] > 0.8  # neither stretched nor late


def test_a_static_mouth() -> None:
    for noise, qp in ((0, 20), (3, 10), (8, 20)):
        pictures = np.clip(STILL.image + RNG.normal(0, noise, (31, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
        mp4 = encode_video(pictures, 25, qp=qp)
        with pytest.raises(BadInput, match=r"^a.mp4: expected a mouth that moves by 3 grey levels, found [012]\.\d: a"):
            look_at(mp4, len(AUDIO), STILL, None, name="a.mp4")
    flicker = [np.clip(STILL.image * s, 0, 255).astype(np.uint8) for s in np.linspace(0.9, 1.1, 31)]
    assert mouth_variation(flicker, MOUTH_BOX) < 3


def test_black_pictures() -> None:
    with pytest.raises(BadInput, match=r"^a.mp4, frame 0 at 25 fps: expected one face, the still image's.* found 0.00"):
        look([np.zeros_like(STILL.image)] * 31)


def test_a_face_that_leaves_its_place() -> None:
    good = speak(AUDIO, STILL.image, 25)
    moving = [np.roll(picture, max(0, t - 10), axis=1) for t, picture in enumerate(good)]
    with pytest.raises(BadInput, match=r"frame 1\d at 25 fps: .* set teacher_video.face: landmarks"):
        look(moving)
    assert likeness(good[9], STILL.image, FACE_BOX) > 0.99
    assert likeness(STILL.image[:, ::-1], STILL.image, FACE_BOX) < 0.5


def test_another_size() -> None:
    with pytest.raises(
        BadInput, match=r"^a.mp4: expected 128 x 128 pixels, like the still image, found 64 x 64\. Let the"
    ):
        look([cv2.resize(picture, (64, 64)) for picture in speak(AUDIO, STILL.image, 25)])


def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "c.mp4"
    write_video(path, speak(AUDIO, STILL.image, 25), 25)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"<html>quota exceeded</html>"):
        path.write_bytes(broken)
        with pytest.raises(BadInput, match=r"c.mp4: expected a complete video that ffmpeg can read"):
            foreign_film(CLIP, AUDIO, path, STILL, None)


def test_landmarks_hold_a_moving_head_still(tmp_path: Path) -> None:
    """A wider frame in which the head drifts: it is found by its landmarks and moved to a fixed position and size."""
    shifts = np.arange(31) * 2

    def wide(picture: np.ndarray, shift: int) -> np.ndarray:
        return np.roll(np.pad(picture, ((0, 0), (0, 128), (0, 0)), mode="edge"), shift, axis=1)

    pictures = [wide(p, int(s)) for p, s in zip(speak(AUDIO, STILL.image, 25), shifts, strict=True)]
    write_video(tmp_path / "c.mp4", pictures, 25, qp=10)

    numbers = iter(range(1000))

    def find(_: np.ndarray) -> list[np.ndarray]:
        return [POINTS + np.array([shifts[next(numbers) % 31], 0])]

    (clip, mp4, audio), _ = foreign_film(CLIP, AUDIO, tmp_path / "c.mp4", None, find)
    assert clip.frames == 31
    write_talking_video(tmp_path / "made", [(clip, mp4, audio)])
    video = open_talking_video(tmp_path / "made")
    mouths = video.mouths(video.clips[0]).astype(float)
    loudness = np.abs(AUDIO[: 31 * 640]).reshape(31, 640).mean(1)
    assert np.corrcoef(loudness, -mouths[:, 30:66, 30:66].mean((1, 2)))[0, 1] > 0.9
    faces = np.stack([likeness(f, video.frames(clip)[0], clip.face_box) for f in video.frames(clip)])
    assert faces.min() > 0.9


def test_two_faces_or_none(tmp_path: Path) -> None:
    write_video(tmp_path / "c.mp4", speak(AUDIO, STILL.image, 25), 25)
    for faces, text in (([], "no face"), ([POINTS, POINTS], "2 faces")):
        with pytest.raises(BadInput, match=rf"c.mp4, frame 0: expected one face, found {text}"):
            foreign_film(CLIP, AUDIO, tmp_path / "c.mp4", None, lambda _, faces=faces: faces)  # type: ignore[misc]


def test_videos_are_found_by_clip(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"S00_01.mp4: expected one video of the clip, found nothing. Make it"):
        find_video(tmp_path, "S00_01")
    (tmp_path / "S00_01.avi").touch()
    (tmp_path / "S00_01.txt").touch()
    assert find_video(tmp_path, "S00_01") == tmp_path / "S00_01.avi"
    (tmp_path / "S00_01.mp4").touch()
    with pytest.raises(BadInput, match=r"found S00_01.avi and S00_01.mp4. Remove all but one"):
        find_video(tmp_path, "S00_01")


def test_stills_are_of_held_out_faces(tmp_path: Path) -> None:
    def row(speaker: str, split: str, shade: int) -> tuple[VideoClip, bytes, np.ndarray]:
        clip = VideoClip(f"{speaker}{shade}", speaker, "", split, 1, 640, (), FACE_BOX, MOUTH_BOX)
        return clip, encode_video([np.full((SIZE, SIZE, 3), shade, np.uint8)], 25), np.zeros(640)

    films = [row("t", "loss", 20), row("y", "validation", 60), row("x", "validation", 120), row("x", "validation", 200)]
    write_talking_video(tmp_path / "v", films)
    video = open_talking_video(tmp_path / "v")
    one = choose_stills(["B", "A"], video, "one")
    assert {still.clip.id for still in one.values()} == {"x120"}
    named = choose_stills(["B", "A"], video, one["A"].clip.speaker)
    assert named["B"].clip == one["A"].clip
    with pytest.raises(BadInput, match=r"teacher_video\.still: expected one, per_speaker or a held-out .*, found X"):
        choose_stills(["A"], video, "X")
    each = choose_stills(["B", "A", "C"], video, "per_speaker")
    assert [each[name].clip.id for name in "ABC"] == ["x120", "y60", "x120"]
