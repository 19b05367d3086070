"""Clips of the 2D corpus as the teacher's trainings read them: faces, sound, and where the lips are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learn2talk_core.audio.mel import BANDS, HOP, mel_spectrogram
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.sync_expert2d import FRAMES
from learn2talk_core.models.wav2lip import STATES_PER_FRAME, Inputs, heard_at, hidden_states
from learn2talk_core.run import processes
from learn2talk_core.run.files import map_array, whole_folder
from learn2talk_core.run.progress import progress
from learn2talk_core.video.talking_video import FACE_SIZE, TalkingVideo, VideoClip, crop

LIPS_SHARE = 0.6  # width of the lips as a share of the mouth box's 9 cm


@dataclass(frozen=True)
class SpeakingFace:
    """A clip.

    Attributes:
        faces: (T, 96, 96, 3) uint8 RGB at 25 fps.
        mel: (80, columns) float32, the mel spectrogram, which the sync expert hears.
        lips: (left, top, right, bottom), box of the lips in pixels of the face, whole numbers.
        mouth: the lip reader's mouth box in pixels of the face, any numbers.
        mean_face: (96, 96, 3) float32, mean over the clip.
        states: (2 T, C), see `hidden_states`; None if the generator hears the mel spectrogram too.
    """

    faces: np.ndarray
    mel: np.ndarray
    lips: tuple[int, int, int, int]
    mouth: tuple[float, float, float, float]
    mean_face: np.ndarray
    states: np.ndarray | None = None

    @property
    def windows(self) -> int:
        """Number of windows of five frames."""
        return len(self.faces) - FRAMES + 1

    @property
    def sound(self) -> np.ndarray:
        """What the generator hears."""
        return self.mel if self.states is None else self.states

    def mel_at(self, starts: np.ndarray) -> np.ndarray:
        """(n, 1, 80, 16): the mel windows that begin at the frames `starts` (n,), for the sync expert."""
        return heard_at(self.mel, starts, Inputs())


def speaking_face(
    clip: VideoClip, frames: np.ndarray, wave: np.ndarray, encoder: SpeechEncoder | None = None
) -> SpeakingFace:
    """A clip from its frames (T, H, W, 3) and its sound (samples,); with the hidden states of `encoder`, if given."""
    states = None if encoder is None else hidden_states(encoder, wave, len(frames))
    faces = crop(frames, clip.face_box, FACE_SIZE)
    mean_face = faces.mean(axis=0, dtype=np.float32)
    return SpeakingFace(faces, mel_spectrogram(wave), *lips_and_mouth(clip), mean_face, states)


def speaking_faces(
    video: TalkingVideo, clips: Sequence[VideoClip], encoder: SpeechEncoder | None, folder: Path
) -> list[SpeakingFace]:
    """Many clips, read once. Hours of faces would not fit in memory: they are in files in `folder`, which are mapped.
    So are their means: as arrays, made one by one between batches, they would keep 20 GB of freed memory in pieces.

    If the files are there already, nothing is read again; they must then be of the same clips. If several processes
    train together, the first one writes the files.
    """
    frames = np.cumsum([0, *(clip.frames for clip in clips)])
    columns = np.cumsum([0, *(1 + clip.samples // HOP for clip in clips)])

    def write() -> None:
        if folder.is_dir():
            return
        with whole_folder(folder) as partial:
            faces = _new(partial, "faces", np.uint8, (frames[-1], FACE_SIZE, FACE_SIZE, 3))
            means = _new(partial, "means", np.float32, (len(clips), FACE_SIZE, FACE_SIZE, 3))
            mels = _new(partial, "mels", np.float32, (columns[-1], BANDS))
            if encoder is not None:
                states = _new(partial, "states", np.float16, (STATES_PER_FRAME * frames[-1], encoder.width))
            read = progress(video.films(clips), "faces", total=len(clips), unit="clip")
            for number, (clip, pictures, wave) in enumerate(read):
                one = speaking_face(clip, pictures, wave, encoder)
                faces[frames[number] : frames[number + 1]], means[number] = one.faces, one.mean_face
                mels[columns[number] : columns[number + 1]] = one.mel.T
                if one.states is not None:
                    states[STATES_PER_FRAME * frames[number] : STATES_PER_FRAME * frames[number + 1]] = one.states

    processes.in_turn(write)
    made_by = "dvc repro teacher"
    faces, means, mels = (map_array(folder / f"{name}.npy", made_by=made_by) for name in ("faces", "means", "mels"))
    heard = None if encoder is None else map_array(folder / "states.npy", made_by=made_by)
    return [
        SpeakingFace(
            faces[frames[i] : frames[i + 1]],
            mels[columns[i] : columns[i + 1]].T,
            *lips_and_mouth(clip),
            means[i],
            None if heard is None else heard[STATES_PER_FRAME * frames[i] : STATES_PER_FRAME * frames[i + 1]],
        )
        for i, clip in enumerate(clips)
    ]


def lips_and_mouth(clip: VideoClip) -> tuple[tuple[int, int, int, int], tuple[float, float, float, float]]:
    """The lips and the lip reader's mouth box, of which they fill the central part, in pixels of the 96 x 96 face."""
    left, top, right, bottom = clip.face_box
    scale = np.array([FACE_SIZE / (right - left), FACE_SIZE / (bottom - top)] * 2)
    mouth = (np.array(clip.mouth_box) - (left, top, left, top)) * scale
    middle = (mouth[:2] + mouth[2:])[[0, 1, 0, 1]] / 2
    lips = (middle + LIPS_SHARE * (mouth - middle)).round().astype(int).clip(0, FACE_SIZE)
    return tuple(lips.tolist()), tuple(mouth.tolist())


def _new(folder: Path, name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=tuple(map(int, shape)))
