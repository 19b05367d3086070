"""Videos to be scored, from files, folders and 2D corpora: frames at 25 fps, sound, and the position of the face."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learn2talk_core.audio.sound import SUFFIXES as SOUNDS
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.audio.waveform import SILENCE_PEAK
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import by_stem, visible_files
from learn2talk_core.video.face_crops import landmarks_of_box, landmarks_of_crop, syncnet_crops
from learn2talk_core.video.landmarks import FindFaces, follow_face, mouth_crops
from learn2talk_core.video.recorded import SUFFIXES
from learn2talk_core.video.talking_video import (
    MOUTH_SIZE,
    VIDEO_FPS,
    TalkingVideo,
    VideoClip,
    crop,
    grey,
    open_talking_video,
)
from learn2talk_core.video.video_file import video_audio, video_frames

STILLS = {".png", ".jpg", ".jpeg"}

Pictures = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Footage:
    """An opened video. Frames are decoded again at each call, so that a video of any length fits in memory.

    frames: all frames, uint8 (H, W, 3) RGB; landmarks: (T, 4, 2) pixels, see `landmarks`; syncnet: SyncNet's input,
    uint8 RGB; mouths: a lip reader's input, uint8 (96, 96) grey; audio: (N,) in [−1, 1] at 16 kHz, starting at the
    first frame; None if the video has no sound.
    """

    frames: Pictures
    landmarks: np.ndarray
    syncnet: Pictures
    mouths: Pictures
    audio: np.ndarray | None


@dataclass(frozen=True)
class Film:
    """A video before it is opened.

    name: used in tables and errors; key: its file's stem or its clip's id, used to look up its reference; pictures: its
    frames, for uses that need no face; open: opens it, raises BadInput if it cannot be scored.
    """

    name: str
    key: str
    pictures: Pictures
    open: Callable[[], Footage]


def films_of(
    paths: Iterable[str | Path],
    find: Callable[[], FindFaces],
    *,
    audio: str | Path | None = None,
    crops: bool = False,
    stills: bool = False,
) -> list[Film]:
    """The videos that `paths` name: files, folders of files, or folders with a 2D corpus (`films-*.parquet`).

    Args:
        paths: see above. A missing or unreadable file raises an error only when it is opened.
        find: returns a face finder; called when a file is opened whose face position is not known.
        audio: a sound file that replaces the videos' own sound, or a folder with one file per video of the same stem.
        crops: the files are face crops as SyncNet's pipeline writes them; no face is searched for.
        stills: treat image files in folders as videos of one frame.
    """
    found: list[Film] = []
    for path in map(Path, paths):
        if path.is_dir() and any(path.glob("films-*.parquet")):
            corpus = open_talking_video(path)
            found += [_from_corpus(corpus, clip) for clip in corpus.clips]
        elif path.is_dir():
            files = visible_files(path, SUFFIXES | STILLS if stills else SUFFIXES)
            if not files:
                raise BadInput(
                    path,
                    expected="videos or a 2D corpus",
                    found="neither",
                    fix=f"Videos end in {', '.join(sorted(SUFFIXES))}.",
                )
            found += [_from_file(file, find, audio, crops) for file in files]
        else:
            found.append(_from_file(path, find, audio, crops))
    return found


def _from_file(path: Path, find: Callable[[], FindFaces], audio: str | Path | None, crops: bool) -> Film:
    def pictures() -> Iterator[np.ndarray]:
        return video_frames(path, fps=VIDEO_FPS)

    def opened() -> Footage:
        sound = _sound(path, audio)
        if crops:
            shapes = [frame.shape for frame in pictures()]
            landmarks = np.repeat(landmarks_of_crop(*shapes[0][:2])[None], len(shapes), axis=0)
        else:
            landmarks = follow_face(pictures(), find(), name=str(path))
        return Footage(
            frames=pictures,
            landmarks=landmarks,
            syncnet=pictures if crops else lambda: syncnet_crops(pictures(), landmarks),
            mouths=lambda: mouth_crops(pictures(), landmarks),
            audio=sound,
        )

    return Film(str(path), path.stem, pictures, opened)


def _from_corpus(corpus: TalkingVideo, clip: VideoClip) -> Film:
    def pictures() -> Iterator[np.ndarray]:
        return iter(corpus.frames(clip))

    landmarks = np.repeat(landmarks_of_box(clip.face_box)[None], clip.frames, axis=0)

    def opened() -> Footage:
        return Footage(
            frames=pictures,
            landmarks=landmarks,
            syncnet=lambda: syncnet_crops(pictures(), landmarks),
            mouths=lambda: iter(crop(grey(corpus.frames(clip)), clip.mouth_box, MOUTH_SIZE)),
            audio=corpus.audio(clip),
        )

    return Film(f"{corpus.folder}: {clip.id}", clip.id, pictures, opened)


def _sound(path: Path, audio: str | Path | None) -> np.ndarray | None:
    if audio is None:
        return None if path.suffix.lower() in STILLS else video_audio(path)
    if Path(audio).is_dir():
        sound = by_stem(Path(audio), SOUNDS).get(path.stem)
        if sound is None:
            raise BadInput(
                audio,
                expected=f"a sound file {path.stem} with one of the suffixes {', '.join(SOUNDS[:5])} …",
                found="no such file",
                fix="Name sound files after their videos.",
            )
        return read_sound(sound)
    return read_sound(audio)


def heard(footage: Footage, name: str) -> np.ndarray:
    """The video's sound; raises BadInput if it has none or if it is silent."""
    if footage.audio is None or len(footage.audio) == 0:
        raise BadInput(name, expected="a sound track", found="none", fix="Give the sound with --audio.")
    if np.abs(footage.audio).max() < SILENCE_PEAK:
        raise BadInput(name, expected="speech", found="silence", fix="Give the sound with --audio.")
    return footage.audio
