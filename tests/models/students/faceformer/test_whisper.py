"""A FaceFormer whose speech encoder is Whisper's: training, prediction, streams, its folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.animation.animator import Animator
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.checkpoints.faceformer import export_faceformer
from learn2talk_core.models.speech_encoders.whisper import WhisperSpeechEncoder
from learn2talk_core.models.students.faceformer.network import FaceFormer, new_faceformer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.students.faceformer import train_network
from tests.animation.test_animator import speech
from tests.models.speech_encoders.test_whisper import tiny
from tests.toy import toy_corpus
from tests.training.test_student import RECIPE


def student(folder: Path) -> tuple[FaceFormer, Path]:
    corpus = toy_corpus(folder / "corpus")
    torch.manual_seed(0)
    model = new_faceformer(tiny(2), 64, 2, corpus.fps, width=8, dropout=0.0)
    torch.nn.init.normal_(model.vertice_map_r.weight, std=1e-3)
    save_student(folder / "student", model, fps=corpus.fps, speakers=corpus.train_speakers, recipe="toy")
    return model.eval(), folder / "student"


@pytest.fixture(scope="module")
def animator(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    folder = tmp_path_factory.mktemp("toy")
    student(folder)
    return load_animator(folder / "student", corpus=folder / "corpus")


def test_its_folder_describes_the_encoder(tmp_path: Path) -> None:
    model, folder = student(tmp_path)
    again, _ = load_student(folder, made_by="a test")
    assert isinstance(again, FaceFormer)
    assert isinstance(again.speech_encoder, WhisperSpeechEncoder)
    assert again.speech_encoder.frozen_layers == 2
    wave, styles = speech(1.0), torch.eye(2)
    states = again.predict_states(wave, 30, styles, 30)
    assert torch.equal(states, model.predict_states(wave, 30, styles, 30))
    with torch.no_grad():
        features = model.speech_encoder.frozen_features(wave)
        hidden = model.speech_encoder.encode(model.speech_encoder.resample(features, 30, 30)[None])
        torch.testing.assert_close(states, model.states(hidden.expand(2, -1, -1), styles))
    about = json.loads((folder / "model.json").read_text())
    about["speech_encoder"]["d_model"] = 32
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(BadInput, match=r"expected the weights of this network, found another shape of"):
        load_student(folder, made_by="a test")
    about["speech_encoder"]["frozen_layers"] = 9
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(BadInput, match=r"frozen_layers: expected a whole number 0 … 3"):
        load_student(folder, made_by="a test")


def test_training_changes_the_last_layers_only(tmp_path: Path) -> None:
    corpus, encoder = toy_corpus(tmp_path / "corpus"), tiny(2)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    clips = corpus.split("train")
    with Scratch(tmp_path / "scratch") as scratch:
        model, _ = train_network(corpus, encoder, clips, RECIPE, seed=0, scratch=scratch, description="toy")
    after = model.speech_encoder.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if key.startswith(("layers.2.", "layer_norm."))}


@pytest.mark.parametrize(("chunk", "look_ahead"), [(0.5, 0.2), (1.0, 0.0)])
def test_a_stream_is_the_offline_mode_bit_for_bit(animator: Animator, chunk: float, look_ahead: float) -> None:
    wave = speech(3.23)
    offline = animator.animate(wave, style="B", chunk=chunk, look_ahead=look_ahead)
    stream = animator.stream(style="B", chunk=chunk, look_ahead=look_ahead)
    pieces = [*(stream.feed(piece) for piece in np.array_split(wave, 23)), stream.finish()]
    np.testing.assert_array_equal(np.concatenate(pieces), offline.vertices())


def test_one_chunk_with_all_the_sound_is_the_whole(animator: Animator) -> None:
    wave = speech(2.3)
    whole, chunked = (animator.animate(wave, style="A", chunk=chunk).states for chunk in (None, 5.0))
    np.testing.assert_allclose(chunked, whole, atol=1e-4)


def test_speech_longer_than_a_window(animator: Animator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle of each window is what the window alone gives; an hour would only have more of them."""
    wave = speech(5.0)
    monkeypatch.setattr(WhisperSpeechEncoder, "window", 2.0)
    monkeypatch.setattr(WhisperSpeechEncoder, "margin", 0.5)
    states = animator.animate(wave, style="A").states
    assert len(states) == 150
    assert np.isfinite(states).all()


@pytest.mark.parametrize("samples", [1600, 2000, 16000])
def test_silence_and_short_sounds(animator: Animator, samples: int) -> None:
    states = animator.animate(np.zeros(samples, np.float32), style="A").states
    assert len(states) == max(1, samples * 30 // 16000)
    assert np.isfinite(states).all()
    stream = animator.stream(chunk=0.04, look_ahead=0.0, past=0.0)
    frames = np.concatenate([stream.feed(np.zeros(samples, np.float32)), stream.finish()])
    assert len(frames) == len(states)
    assert np.isfinite(frames).all()


def test_faceformers_own_code_has_no_whisper(tmp_path: Path) -> None:
    model, _ = student(tmp_path)
    with pytest.raises(BadInput, match=r"export: expected a student whose speech encoder is wav2vec 2.0, found whi"):
        export_faceformer(model, tmp_path / "x.pth")
    assert not (tmp_path / "x.pth").exists()
