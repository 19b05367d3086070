"""The still images that one-shot teachers make speak: pictures of held-out faces of the 2D corpus."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from learn2talk_core.corpus.talking_video import FACE_SIZE, TalkingVideo, VideoClip, crop


@dataclass(frozen=True)
class Still:
    """The static image of one-shot generation: (H, W, 3) uint8 RGB, and where its clip has face and mouth."""

    image: np.ndarray
    clip: VideoClip

    @property
    def face(self) -> np.ndarray:
        """Wav2Lip's face, uint8 (96, 96, 3)."""
        return crop(self.image[None], self.clip.face_box, FACE_SIZE)[0]


def choose_stills(
    speakers: Iterable[str], video: TalkingVideo, still: Literal["one", "per_speaker"]
) -> dict[str, Still]:
    """Speaker of the 3D corpus → still: the first frame, mouth closed before the speech begins, of held-out films."""
    first_films = {clip.speaker: clip for clip in reversed(video.split("validation"))}
    images = [Still(video.frames(clip)[0], clip) for _, clip in sorted(first_films.items())]
    images = images[:1] if still == "one" else images
    return {speaker: images[number % len(images)] for number, speaker in enumerate(sorted(speakers))}
