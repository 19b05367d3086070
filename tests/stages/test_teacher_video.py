"""One-shot videos: only the face box changes, and it shows the generator's output."""

import numpy as np
import torch

from learn2talk_core.audio.mel import mel_spectrogram
from learn2talk_core.corpus.format import Clip
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, one_shot
from learn2talk_core.video.stills import Still
from learn2talk_core.video.talking_video import VideoClip
from learn2talk_core.video.video_file import read_video
from stages.teacher_video import wav2lip_film


def test_film_pastes_the_generated_face_into_the_still():
    torch.manual_seed(0)
    generator = Wav2Lip(0.05).eval()
    image = np.full((128, 128, 3), 90, np.uint8)
    image[40:80, 30:90] = 180
    shown = VideoClip("still", "s", "", "validation", 1, 640, (), (16, 24, 112, 120), (30, 50, 98, 118))
    audio = np.random.default_rng(0).normal(size=6000).astype(np.float32) * 0.1
    clip = Clip("c", "speaker", "sentence", "text", "train", 11, 6000, (), 0, 0, 0)
    still = Still(image, shown)
    made, mp4, sound = wav2lip_film(clip, audio, still, generator, Inputs(), None)
    assert (made.id, made.split, made.frames, made.samples) == ("c", "loss", 9, 6000)
    assert made.face_box == shown.face_box
    np.testing.assert_array_equal(sound, audio)
    frames, fps, _ = read_video(mp4)
    assert fps == 25
    assert frames.shape == (9, 128, 128, 3)
    outside = np.ones((128, 128), bool)
    outside[20:124, 12:116] = False
    np.testing.assert_allclose(
        frames[:, outside].astype(int), np.broadcast_to(image[outside], (9, outside.sum(), 3)), atol=8
    )
    faces = one_shot(generator, still.face, mel_spectrogram(audio), 9, Inputs())
    grey = frames[:, 24:120, 16:112].astype(float).mean(axis=3) - faces.astype(float).mean(axis=3)
    assert np.abs(grey).mean() < 4  # H.264 is lossy
