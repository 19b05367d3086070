"""The still images that one-shot teachers animate: held-out faces of the 2D corpus."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from learn2talk_core.run.errors import BadInput
from learn2talk_core.video.talking_video import FACE_SIZE, TalkingVideo, VideoClip, crop


@dataclass(frozen=True)
class Still:
    """The static image of one-shot generation: (H, W, 3) uint8 RGB, and the clip with its face box and mouth box."""

    image: np.ndarray
    clip: VideoClip

    @property
    def face(self) -> np.ndarray:
        """The face as Wav2Lip takes it, uint8 (96, 96, 3)."""
        return crop(self.image[None], self.clip.face_box, FACE_SIZE)[0]


def png(image: np.ndarray) -> bytes:
    """An image (H, W, 3) uint8 RGB as a PNG file. `cv2.imwrite` would say nothing of a full disk."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def choose_stills(speakers: Iterable[str], video: TalkingVideo, still: str) -> dict[str, Still]:
    """Speaker of the 3D corpus → still: first frame of a held-out film, with the mouth closed before speech begins.

    Args:
        speakers: of the 3D corpus.
        video: the 2D corpus.
        still: which face: a speaker of the validation split; or `one`, the first of them; or `per_speaker`, which
            assigns them in turn.

    Raises:
        BadInput: the validation split has no such speaker.
    """
    films = dict(sorted({clip.speaker: clip for clip in reversed(video.split("validation"))}.items()))
    if still not in ("one", "per_speaker", *films):
        expected = f"one, per_speaker or a held-out face: {', '.join(films)}"
        raise BadInput("teacher_video.still", expected=expected, found=still, fix="Choose one of them in params.yaml.")
    chosen = {"one": list(films)[:1], "per_speaker": list(films)}.get(still, [still])
    images = [Still(video.frames(films[name])[0], films[name]) for name in chosen]
    return {speaker: images[number % len(images)] for number, speaker in enumerate(sorted(speakers))}
