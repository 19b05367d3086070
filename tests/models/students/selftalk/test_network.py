"""SelfTalk compared with the recorded reference at full size, and small ones with themselves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learn2talk_core.losses.commutative import latent_consistency, text_consistency
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder, align_as_faceformer
from learn2talk_core.models.students.selftalk.network import SelfTalk, reading_positions
from learn2talk_core.models.students.selftalk.recogniser import CHARACTERS, Heard, TextRecogniser
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


def test_state_dicts_are_the_official_ones(official) -> None:
    golden, model, *_ = official
    with torch.device("meta"):
        recogniser = TextRecogniser(Wav2Vec2SpeechEncoder.from_numbers(**golden.info["wav2vec2_config"]), CHARACTERS)
        biwi = SelfTalk(
            23370, 6, lip_count=4996, units=CHARACTERS, width=1024, alignment="biwi",
            audio_encoder=Wav2Vec2SpeechEncoder.from_numbers(**golden.info["wav2vec2_config"]),
        )  # fmt: skip
    for student, expected in ((model, {}), (biwi, golden.info["keys_differ_in_BIWI"])):
        own = {**student.state_dict(), **{f"text_encoder.{k}": value for k, value in recogniser.state_dict().items()}}
        own.pop("lips")
        shapes = {official_key(key): list(value.shape) for key, value in own.items()}
        assert shapes == golden.info["keys"] | expected


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


@pytest.fixture(scope="module")
def heard() -> Heard:
    golden = Golden("selftalk", "vocaset")
    recogniser = TextRecogniser(official_encoder(golden), CHARACTERS)
    fill_state_dict(recogniser, golden.info["fill"], rename=lambda key: "text_encoder." + official_key(key))
    recogniser.train()  # it stays as it is
    return recogniser.hear(waveform(2.0))


def test_the_recogniser_in_evaluation_mode(heard: Heard) -> None:
    golden = Golden("selftalk", "vocaset")
    floor = golden.info["noise_floor_f32_vs_f64"]["lip_features"]["max_abs"]
    golden.assert_close("fwd_text_hidden", heard.hidden[None], atol=20 * floor)
    golden.assert_close("fwd_text_logits", heard.logits[None], atol=20 * floor)
    assert heard.times[1] - heard.times[0] == pytest.approx(0.02)


def test_losses_and_their_gradients(official, heard: Heard) -> None:
    """The four losses, weighted as in SelfTalk's code, and the gradients of all but the speech encoder."""
    golden, model, features, template = official
    truth = torch.from_numpy(normal("vertice", (1, 60, 15069), 0.05))
    with torch.no_grad():
        audio = model.audio_encoder.encode(align_as_faceformer(features, "vocaset", 60))
    moved = model.displacement(model.states(audio))
    golden.assert_close("fwd_vertices", moved.flatten(2) + template, atol=3e-4)
    read, logits = model.read_lips([moved[0][:, model.lips]], [reading_positions(60, 30, "vocaset", 99)])
    golden.assert_close("fwd_lip_features", read, atol=4e-4)
    golden.assert_close("fwd_logits", logits, atol=4e-4)
    targets = golden.info["inputs"]["ctc targets (the real trainer decodes text_logits with the hub tokenizer)"]
    losses = [
        F.mse_loss(moved.flatten(2), truth),
        F.mse_loss(moved.flatten(2).diff(dim=1), truth.diff(dim=1)),
        latent_consistency(read, heard.hidden[None], torch.ones(1, 99, dtype=torch.bool)),
        text_consistency(logits, [99], [torch.tensor(targets)]),
    ]
    total = sum(weight * loss for weight, loss in zip((1000, 1000, 0.001, 0.0001), losses, strict=True))
    found = [float(loss.detach()) for loss in (total, *losses)]
    np.testing.assert_allclose(found, golden.info["losses_total_rec_vel_lat_ctc"], rtol=1e-5)
    total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if not name.startswith("audio_encoder.")}
    for name, gradient in gradients.items():  # those of the key biases are zero in exact arithmetic
        np.testing.assert_allclose(
            gradient.double().norm(), golden.info["grad_norms"][name], rtol=1e-4, atol=1e-7, err_msg=name
        )
    # CTC's gradient reaches the last two only; processors without AVX-512 round them to 5e-5
    bounds = {"vertice_map_r.bias": 1e-5, "audio_feature_map.bias": 1e-5, "lip_map.bias": 1e-4, "lm_head.weight": 1e-4}
    for name, relative in bounds.items():
        scale = np.abs(golden[f"grad:{name}"].value).max()
        golden.assert_close(f"grad:{name}", gradients[name], atol=1e-4 * scale, relative=relative)
    model.zero_grad(set_to_none=True)
