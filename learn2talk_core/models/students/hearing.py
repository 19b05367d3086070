"""How students hear a clip: by time stamps, or as in the code that their published weights come from."""

import numpy as np
from torch import Tensor

from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.wav2vec2 import align_as_faceformer
from learn2talk_core.models.students.student import AudioAlignment


def audio_rate_of(alignment: AudioAlignment) -> int:
    """Hidden states of the speech encoder per motion frame: two in the code for BIWI."""
    return 2 if alignment == "biwi" else 1


def heard_states(
    encoder: SpeechEncoder, wave: np.ndarray, frames: int, fps: float, alignment: AudioAlignment
) -> Tensor:
    """The hidden states (1, rate * T, H) of a clip, without gradient; `rate` is that of `audio_rate_of`.

    By time, T is `frames`. With an official alignment, T follows from the number of features, as in the code of
    FaceFormer, SelfTalk and CodeTalker: 119 for 4 s at 30 frames per second.
    """
    if alignment == "time":
        return encoder.listen(wave, frames, fps)[None]
    features = align_as_faceformer(encoder.frozen_features(wave)[None], alignment)
    return encoder.encode_long(features, fps * audio_rate_of(alignment))
