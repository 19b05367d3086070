"""SelfTalk compared with the recorded reference at full size, and small ones with themselves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder, align_as_faceformer
from learn2talk_core.models.students.selftalk.network import SelfTalk, reading_positions
from learn2talk_core.models.students.selftalk.recogniser import CHARACTERS, TextRecogniser
from tests.golden.fill import Golden, fill_state_dict, normal, official_key, waveform, zmuv


def official_encoder(golden: Golden) -> Wav2Vec2SpeechEncoder:
    encoder = Wav2Vec2SpeechEncoder.from_numbers(**golden.info["wav2vec2_config"])
    encoder.freeze_feature_encoder()
    return encoder


@pytest.fixture(scope="module")
def official():
    """The network at full size with the weights of the golden file, its 50 Hz features and the template."""
    golden = Golden("selftalk", "vocaset")
    lips = torch.from_numpy(golden["lip_mask"].dense().astype(np.int64))
    model = SelfTalk(
        5023, 8, lip_count=254, units=CHARACTERS, audio_encoder=official_encoder(golden), width=512, alignment="vocaset"
    ).eval()
    assert fill_state_dict(model, golden.info["fill"]) == ["lips"]
    model.lips.copy_(lips)
    features = model.audio_encoder.conv_features(torch.from_numpy(zmuv(waveform(2.0)))[None]).detach()
    template = torch.from_numpy(normal("template", (1, 15069), 0.1))
    return golden, model, features, template


def test_state_dict_is_the_official_one(official) -> None:
    golden, model, *_ = official
    with torch.device("meta"):
        recogniser = TextRecogniser(Wav2Vec2SpeechEncoder.from_numbers(**golden.info["wav2vec2_config"]), CHARACTERS)
    own = {**model.state_dict(), **{f"text_encoder.{key}": value for key, value in recogniser.state_dict().items()}}
    own.pop("lips")
    assert {official_key(key): list(value.shape) for key, value in own.items()} == golden.info["keys"]


@torch.inference_mode()
def test_predict(official) -> None:
    golden, model, features, template = official
    floor = golden.info["noise_floor_f32_vs_f64"]
    states = model.predict_states(waveform(2.0), 30, torch.eye(8)[:2], 60)
    assert states.shape == (2, 59, 512)
    hidden = model.audio_encoder.encode(align_as_faceformer(features, "vocaset"))
    golden.assert_close("hidden_predict", hidden, atol=1e-4)
    moved = model.displacement(states[:1])
    vertices = moved.flatten(2) + template
    golden.assert_close("predict_vertices", vertices, atol=20 * floor["vertices"]["max_abs"])
    golden.assert_close("predict_last_frame", vertices[0, -1], atol=20 * floor["vertices"]["max_abs"])
    read, logits = model.interpret(moved[0].numpy(), 30)
    golden.assert_close("predict_lip_features", read[None], atol=20 * floor["lip_features"]["max_abs"])
    golden.assert_close("predict_logits", logits[None], atol=20 * floor["logits"]["max_abs"])


@torch.inference_mode()
def test_the_recogniser_in_evaluation_mode() -> None:
    golden = Golden("selftalk", "vocaset")
    recogniser = TextRecogniser(official_encoder(golden), CHARACTERS)
    fill_state_dict(recogniser, golden.info["fill"], rename=lambda key: "text_encoder." + official_key(key))
    recogniser.train()  # it stays as it is
    heard = recogniser.hear(waveform(2.0))
    floor = golden.info["noise_floor_f32_vs_f64"]["lip_features"]["max_abs"]
    golden.assert_close("fwd_text_hidden", heard.hidden[None], atol=20 * floor)
    golden.assert_close("fwd_text_logits", heard.logits[None], atol=20 * floor)
    assert heard.times[1] - heard.times[0] == pytest.approx(0.02)


def test_losses_and_their_gradients(official) -> None:
    """The four losses as SelfTalk's code weighs them; they are composed in training/students/selftalk.py."""
    golden, model, features, template = official
    truth = torch.from_numpy(normal("vertice", (1, 60, 15069), 0.05))
    states = model.states(model.audio_encoder.encode(align_as_faceformer(features, "vocaset", 60)))
    moved = model.displacement(states)
    golden.assert_close("fwd_vertices", moved.flatten(2) + template, atol=3e-4)
    positions = reading_positions(60, 30, "vocaset", 99)
    read, logits = model.read_lips([moved[0][:, model.lips]], [positions])
    golden.assert_close("fwd_lip_features", read, atol=4e-4)
    golden.assert_close("fwd_logits", logits, atol=4e-4)
    rec, vel = (
        F.mse_loss(a, b) for a, b in ((moved.flatten(2), truth), (moved.flatten(2).diff(dim=1), truth.diff(dim=1)))
    )
    targets = torch.tensor(
        golden.info["inputs"]["ctc targets (the real trainer decodes text_logits with the hub tokenizer)"]
    )
    ctc = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), targets[None], [99], [len(targets)], blank=0)
    recorded = golden.info["losses_total_rec_vel_lat_ctc"]
    np.testing.assert_allclose([rec.item(), vel.item(), ctc.item()], [recorded[1], recorded[2], recorded[4]], rtol=1e-5)
