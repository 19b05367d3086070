"""The phoneme head: batches, its folder, and what does not fit it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.models.phoneme_head import (
    PhonemeHead,
    SpeechRecogniser,
    load_recogniser,
    save_phoneme_head,
)
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import halve_files
from tests.golden.fill import waveform
from tests.models.speech_encoders.test_wav2vec2 import tiny as tiny_wav2vec2
from tests.models.speech_encoders.test_whisper import tiny as tiny_whisper


def head(width: int = 16) -> PhonemeHead:
    torch.manual_seed(0)
    return PhonemeHead(width, PHONEMES, 12).eval()


@torch.inference_mode()
def test_a_padded_batch_equals_single_clips() -> None:
    lengths = [7, 20, 3]
    hidden = torch.randn(3, 20, 16)
    found = head()(hidden, lengths)
    for row, length in enumerate(lengths):
        for both, alone in zip(found, head()(hidden[row : row + 1, :length]), strict=True):
            assert both.shape == (3, 20, 40)
            torch.testing.assert_close(both[row, :length], alone[0], atol=1e-6, rtol=1e-5)


def test_it_sees_a_tenth_of_a_second() -> None:
    hidden = torch.randn(1, 20, 16, requires_grad=True)
    head()(hidden)[0][0, 10].sum().backward()
    assert hidden.grad is not None
    assert hidden.grad[0].abs().sum(1).nonzero().ravel().tolist() == [8, 9, 10, 11, 12]


@torch.inference_mode()
def test_posteriors_are_those_of_the_encoders_own_hidden_states() -> None:
    """Whisper's features are at the times k / 50, those of wav2vec 2.0 12.5 ms later."""
    wave = waveform(1.0)
    for encoder in (tiny_whisper(), tiny_wav2vec2()):
        model = SpeechRecogniser(encoder, head(encoder.width)).eval()
        ctc, frame = model.posteriors(wave)
        assert ctc.shape == frame.shape == (50, 40)
        np.testing.assert_allclose(np.exp(frame).sum(1), 1, rtol=1e-5)
        hidden = encoder.encode(encoder.frozen_features(wave)[None])
        if encoder.offset:
            assert hidden.shape[1] == 49
            share = 1 - encoder.offset / encoder.stride
            between = share * hidden[:, 1:] + (1 - share) * hidden[:, :-1]
            hidden = torch.cat([hidden[:, :1], between, hidden[:, -1:]], dim=1)
        expected = model.head(hidden)[0][0].log_softmax(-1)
        torch.testing.assert_close(torch.from_numpy(ctc), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_saved_halved_and_loaded(tmp_path: Path) -> None:
    encoder, own = tiny_whisper(), head()
    save_phoneme_head(tmp_path, own, encoder, speech="toy")
    loaded = load_recogniser(encoder, tmp_path, made_by="a test")
    hidden = torch.randn(1, 9, 16)
    torch.testing.assert_close(loaded.head(hidden)[0], own(hidden)[0], atol=0, rtol=0)
    assert loaded.head.phonemes == PHONEMES
    assert json.loads((tmp_path / "model.json").read_text())["language"] == "English"
    halve_files(tmp_path)
    loaded = load_recogniser(encoder, tmp_path, made_by="a test")
    torch.testing.assert_close(loaded.head(hidden)[0], own(hidden)[0], atol=1e-2, rtol=1e-2)
    assert not any(p.requires_grad for p in loaded.head.parameters())


def test_another_encoder_or_kind_is_refused(tmp_path: Path) -> None:
    save_phoneme_head(tmp_path, head(16), tiny_whisper())
    pattern = r"features of width 32 \(wav2vec2\), found one for features of width 16 \(whisper\)\. Use the speech enc"
    with pytest.raises(BadInput, match=pattern):
        load_recogniser(tiny_wav2vec2(), tmp_path, made_by="a test")
    about = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**about, "encoder": "wav2vec2"}))  # the same width is not enough
    with pytest.raises(BadInput, match=r"width 16 \(whisper\), found one for features of width 16 \(wav2vec2\)"):
        load_recogniser(tiny_whisper(), tmp_path, made_by="a test")
    (tmp_path / "model.json").write_text(json.dumps({**about, "feature_width": 24}))
    with pytest.raises(BadInput, match=r"found another shape of project.weight"):
        load_recogniser(tiny_whisper(), tmp_path, made_by="a test")
    (tmp_path / "model.json").write_text(json.dumps({**about, "network": "syncnet3d"}))
    with pytest.raises(BadInput, match=r"expected a phoneme head, found a syncnet3d"):
        load_recogniser(tiny_whisper(), tmp_path, made_by="a test")
    (tmp_path / "model.json").write_text(json.dumps(about))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(BadInput, match=r"model.safetensors: expected a complete safetensors file"):
        load_recogniser(tiny_whisper(), tmp_path, made_by="a test")
    with pytest.raises(BadInput, match=r"none.model.json"):
        load_recogniser(tiny_whisper(), tmp_path / "none", made_by="a test")
