"""teacher, corpus audio, one still image → data/teacher_video: what the teacher makes the still say, G_teach(X)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch

from learn2talk_core.audio.mel import mel_spectrogram, mel_windows, window_starts
from learn2talk_core.corpus.format import Clip, Corpus, open_corpus
from learn2talk_core.corpus.talking_video import (
    FACE_SIZE,
    VIDEO_FPS,
    TalkingVideo,
    VideoClip,
    crop,
    frames_of,
    open_talking_video,
    write_talking_video,
)
from learn2talk_core.corpus.video_file import encode_video
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, load_generator, one_shot
from learn2talk_core.progress import progress
from learn2talk_core.stage import run

CORPUS, VIDEO, TEACHER, OUT = "data/corpus", "data/talking_video", "data/models/teacher", "data/teacher_video"


@dataclass(frozen=True)
class Params:
    still: Literal["one", "per_speaker"]
    test_clips: int
    threads: int


@dataclass(frozen=True)
class Still:
    """The static image of one-shot generation: (H, W, 3) uint8 RGB, and where its clip has face and mouth."""

    image: np.ndarray
    clip: VideoClip

    @property
    def face(self) -> np.ndarray:
        return crop(self.image[None], self.clip.face_box, FACE_SIZE)[0]


def main(params: Params) -> str:
    torch.set_num_threads(params.threads)
    corpus, video = open_corpus(CORPUS), open_talking_video(VIDEO)
    generator, inputs = load_generator(TEACHER)
    clips = [*corpus.split("train", "validation"), *test_clips(corpus, params.test_clips)]
    stills = choose_stills(corpus, video, params.still)

    def films() -> Iterator[tuple[VideoClip, bytes, np.ndarray]]:
        for clip in progress(clips, "teacher video", unit="clip"):
            yield film(clip, corpus.audio(clip), stills[clip.speaker], generator, inputs)

    write_talking_video(OUT, films())
    faces = len({still.clip.id for still in stills.values()})
    return f"{len(clips)} one-shot videos of {faces} still face{'s' if faces > 1 else ''}"


def test_clips(corpus: Corpus, count: int) -> list[Clip]:
    """The first clips of both tests in turn, for the report's side-by-side video."""
    seen, unseen = corpus.split("test_seen"), corpus.split("test_unseen")
    half = (count + 1) // 2
    return [*seen[:half], *unseen[: count - half]]


def choose_stills(corpus: Corpus, video: TalkingVideo, still: str) -> dict[str, Still]:
    """Speaker → still: the first frame, mouth closed before the speech begins, of films of held-out faces."""
    first_films = {clip.speaker: clip for clip in reversed(video.split("validation"))}
    images = [Still(video.frames(clip)[0], clip) for _, clip in sorted(first_films.items())]
    images = images[:1] if still == "one" else images
    return {speaker: images[number % len(images)] for number, speaker in enumerate(sorted(corpus.templates))}


def film(
    clip: Clip, audio: np.ndarray, still: Still, generator: Wav2Lip, inputs: Inputs
) -> tuple[VideoClip, bytes, np.ndarray]:
    """The teacher's video of one clip's audio: the generated face pasted into the still, nothing else moves."""
    frames = frames_of(len(audio))
    mels = mel_windows(mel_spectrogram(audio), window_starts(frames, VIDEO_FPS))
    left, top, right, bottom = still.clip.face_box
    pictures = np.repeat(still.image[None], frames, axis=0)
    for picture, face in zip(pictures, one_shot(generator, still.face, mels, inputs), strict=True):
        picture[top:bottom, left:right] = cv2.resize(face, (right - left, bottom - top))
    described = VideoClip(
        id=clip.id,
        speaker=clip.speaker,
        text=clip.text,
        split="loss" if clip.split == "train" else "validation",
        frames=frames,
        samples=len(audio),
        phonemes=clip.phonemes,
        face_box=still.clip.face_box,
        mouth_box=still.clip.mouth_box,
    )
    return described, encode_video(pictures, VIDEO_FPS), audio


if __name__ == "__main__":
    run(main, Params)
