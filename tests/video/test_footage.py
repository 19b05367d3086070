from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.face_crops import landmarks_of_box, landmarks_of_crop
from learn2talk_core.video.footage import films_of, heard
from learn2talk_core.video.landmarks import FindFaces
from learn2talk_core.video.talking_video import VideoClip, crop, grey, write_talking_video
from learn2talk_core.video.video_file import encode_video, write_video
from tests.golden.fill import waveform

FACE = np.array([[40.0, 30], [60, 30], [50, 42], [50, 52]])
VOICE = waveform(0.4)


def pictures(count: int = 10, size: int = 96) -> np.ndarray:
    """A bright disc that moves over a smooth background."""
    y, x = np.mgrid[:size, :size]
    found = []
    for t in range(count):
        disc = 90 * np.exp(-((x - 40 - t) ** 2 + (y - 60) ** 2) / 80)
        found.append(np.stack([60 + x / 2 + disc, 80 + y / 2, 90 + disc], axis=-1))
    return np.stack(found).clip(0, 255).astype(np.uint8)


def no_finder() -> FindFaces:
    raise AssertionError("no face had to be looked for")


def finder(*counts: int) -> Callable[[], FindFaces]:
    """A face finder that finds `counts[i]` faces in the i-th frame it gets, and one in all later frames."""
    left: Iterator[int] = iter(counts)
    return lambda: lambda image: [FACE] * next(left, 1)


def test_a_file_with_found_faces(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", pictures(), 25, VOICE)
    (film,) = films_of([tmp_path / "a.mp4"], finder())
    assert (film.name, film.key) == (str(tmp_path / "a.mp4"), "a")
    footage = film.open()
    assert np.array_equal(footage.landmarks, np.repeat(FACE[None], 10, axis=0))
    assert [frame.shape for frame in footage.frames()] == [(96, 96, 3)] * 10
    assert [frame.shape for frame in footage.syncnet()] == [(224, 224, 3)] * 10
    assert [frame.shape for frame in footage.mouths()] == [(96, 96)] * 10
    assert len(list(footage.frames())) == 10  # again from the start
    assert abs(len(heard(footage, film.name)) - len(VOICE)) < 2048
    assert [len(list(film.pictures()))] == [10]


def test_crops_of_syncnets_pipeline_go_as_they_are(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", pictures(), 25, VOICE)
    footage = films_of([tmp_path / "a.mp4"], no_finder, crops=True)[0].open()
    assert all(np.array_equal(*pair) for pair in zip(footage.frames(), footage.syncnet(), strict=True))
    assert np.allclose(footage.landmarks, landmarks_of_crop(96, 96))
    assert footage.landmarks.shape == (10, 4, 2)


def test_a_2d_corpus_knows_its_faces(tmp_path: Path) -> None:
    box, mouth = (8, 6, 88, 86), (30.0, 40.0, 62.0, 72.0)
    clip = VideoClip("c", "s", "", "loss", 10, 6400, (), box, mouth)
    write_talking_video(tmp_path / "corpus", [(clip, encode_video(pictures(), 25), VOICE)])
    (film,) = films_of([tmp_path / "corpus"], no_finder)
    assert (film.name, film.key) == (f"{tmp_path / 'corpus'}: c", "c")
    footage = film.open()
    frames = np.stack(list(footage.frames()))
    assert np.allclose(footage.landmarks, landmarks_of_box(box))
    assert np.array_equal(np.stack(list(footage.mouths())), crop(grey(frames), mouth, 96))
    assert np.allclose(heard(footage, "c"), VOICE, atol=1e-4)


def test_folders_and_stills(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MP4"):
        write_video(tmp_path / name, pictures(6), 25)
    cv2.imwrite(str(tmp_path / "still.png"), pictures(1)[0][..., ::-1])
    (tmp_path / "notes.txt").touch()
    assert [film.key for film in films_of([tmp_path], no_finder)] == ["a", "b"]
    films = films_of([tmp_path], no_finder, stills=True, crops=True)
    assert [film.key for film in films] == ["a", "b", "still"]
    (still,) = films[2].open().frames()
    assert np.array_equal(still, pictures(1)[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"expected videos or a 2D corpus, found neither\. Videos end in .avi"):
        films_of([tmp_path / "empty"], no_finder)


@pytest.mark.parametrize(
    ("counts", "text"), [((1, 1, 0), "frame 2: expected one face, found no face"), ((1, 2), "frame 1.*found 2 faces")]
)
def test_pictures_without_one_face_are_refused(tmp_path: Path, counts: tuple[int, ...], text: str) -> None:
    write_video(tmp_path / "a.mp4", pictures(), 25, VOICE)
    with pytest.raises(BadInput, match=text):
        films_of([tmp_path / "a.mp4"], finder(*counts))[0].open()


def test_sound_from_elsewhere(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", pictures(), 25)
    write_wave(tmp_path / "sounds" / "a.wav", VOICE)

    def sound(audio: Path | None) -> np.ndarray:
        return heard(films_of([tmp_path / "a.mp4"], finder(), audio=audio)[0].open(), "a")

    assert np.allclose(sound(tmp_path / "sounds"), VOICE, atol=1e-4)
    assert np.allclose(sound(tmp_path / "sounds" / "a.wav"), VOICE, atol=1e-4)
    with pytest.raises(BadInput, match=r"a: expected a sound track, found none\. Give the sound with --audio"):
        sound(None)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BadInput, match="expected a sound file a with one of"):
        sound(tmp_path / "nothing")


def test_silence_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", pictures(), 25, np.zeros(6400, np.float32))
    with pytest.raises(BadInput, match="a: expected speech, found silence"):
        heard(films_of([tmp_path / "a.mp4"], finder())[0].open(), "a")


def test_hidden_files_are_skipped_and_sounds_found_in_capitals(tmp_path: Path) -> None:
    write_video(tmp_path / "a.MP4", pictures(), 25)
    (tmp_path / "._a.MP4").write_bytes(b"Mac OS X")
    (tmp_path / ".DS_Store").touch()
    write_wave(tmp_path / "a.WAV", VOICE)
    (film,) = films_of([tmp_path], finder(), audio=tmp_path)
    assert np.allclose(heard(film.open(), "a"), VOICE, atol=1e-4)
