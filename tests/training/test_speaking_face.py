"""Clips of the 2D corpus for the teacher: mapped files against the clips one by one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.audio.mel import mel_spectrogram, mel_windows, window_starts
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.wav2lip import hidden_states
from learn2talk_core.run import processes
from learn2talk_core.training.speaking_face import lips_and_mouth, speaking_faces
from learn2talk_core.video.talking_video import TalkingVideo, open_talking_video, write_talking_video
from tests.video.test_talking_video import clip, film


@pytest.fixture
def video(tmp_path: Path) -> TalkingVideo:
    write_talking_video(tmp_path / "video", [film(clip(number)) for number in range(4)])
    return open_talking_video(tmp_path / "video")


@pytest.fixture
def encoder() -> Wav2Vec2SpeechEncoder:
    return Wav2Vec2SpeechEncoder.from_numbers(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, layerdrop=0.0,
    ).eval()  # fmt: skip


def test_clips_are_those_of_the_corpus_and_are_read_once(
    video: TalkingVideo, encoder: Wav2Vec2SpeechEncoder, tmp_path: Path
) -> None:
    wanted = video.clips[1:]
    found = speaking_faces(video, wanted, encoder, tmp_path / "kept")
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == [
        "faces.npy",
        "means.npy",
        "mels.npy",
        "states.npy",
    ]
    for one, face in zip(wanted, found, strict=True):
        wave = video.audio(one)
        np.testing.assert_array_equal(face.faces, video.faces(one))
        np.testing.assert_array_equal(face.mean_face, video.faces(one).mean(axis=0, dtype=np.float32))
        np.testing.assert_array_equal(face.mel, mel_spectrogram(wave))
        np.testing.assert_array_equal(face.states, hidden_states(encoder, wave, one.frames))
        starts = window_starts(one.frames, 25)
        np.testing.assert_array_equal(
            face.mel_at(np.arange(one.frames))[:, 0], mel_windows(mel_spectrogram(wave), starts)
        )
        assert face.sound is face.states
    unread = replace(video, _shards=(tmp_path / "nowhere",))
    again = speaking_faces(unread, wanted, encoder, tmp_path / "kept")
    for one, face in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.faces, face.faces)


def test_of_several_processes_the_first_writes(
    video: TalkingVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait() -> None:  # the first process is at work while the other waits
        if processes.rank() > 0:
            with monkeypatch.context() as patch:
                patch.setattr(processes, "_rank", 0)
                speaking_faces(video, video.clips[:1], None, tmp_path / "kept")

    monkeypatch.setattr(processes, "_rank", 1)
    monkeypatch.setattr(processes, "wait", wait)
    (face,) = speaking_faces(video, video.clips[:1], None, tmp_path / "kept")
    np.testing.assert_array_equal(face.faces, video.faces(video.clips[0]))


def test_without_an_encoder_the_mel_is_heard(video: TalkingVideo, tmp_path: Path) -> None:
    (face,) = speaking_faces(video, video.clips[:1], None, tmp_path / "kept")
    assert face.states is None
    assert face.sound is face.mel


def test_lips_are_the_middle_of_the_mouth_box_in_pixels_of_the_face() -> None:
    shown = replace(clip(0), face_box=(10, 20, 106, 116), mouth_box=(30.0, 60.0, 90.0, 120.0))
    assert lips_and_mouth(shown) == ((32, 52, 68, 88), (20, 40, 80, 100))
