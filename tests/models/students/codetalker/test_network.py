"""CodeTalker compared with the recorded reference at full size, and with a plain loop that decodes every prefix."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.models.periodic_attention import causal_bias
from learn2talk_core.models.speech_encoders.wav2vec2 import OFFICIAL_EPS, Wav2Vec2SpeechEncoder, align_as_faceformer
from learn2talk_core.models.students.codetalker.codec import CodecShape, MotionCodec
from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.models.students.student import AudioAlignment
from tests.golden.fill import Golden, fill_state_dict, normal, official_key, waveform
from tests.models.students.codetalker.test_codec import BIWI, VOCASET
from tests.training.test_student import encoder

Official = tuple[Golden, CodeTalker, Tensor]


@pytest.fixture(scope="module")
def official() -> Official:
    golden = Golden("codetalker", "stage2_vocaset")
    speech = Wav2Vec2SpeechEncoder.from_numbers()
    model = CodeTalker(MotionCodec(VOCASET), 8, audio_encoder=speech, layers=6, alignment="vocaset").eval()
    assert speech.eps == OFFICIAL_EPS
    tables = ["PPE.pe"] + [f"autoencoder.{part}coder.{part}coder_pos_embedding.pe" for part in ("en", "de")]
    assert fill_state_dict(model, golden.info["fill"]) == tables
    return golden, model, torch.from_numpy(normal("template", (1, 15069), 0.1))


def test_state_dicts_are_the_official_ones(official: Official) -> None:
    golden, model, _ = official
    with torch.device("meta"):
        biwi = CodeTalker(
            MotionCodec(BIWI), 6, audio_encoder=Wav2Vec2SpeechEncoder.from_numbers(),
            layers=12, period=25, alignment="biwi",
        )  # fmt: skip
    for own, keys in ((model, "keys"), (biwi, "keys_BIWI")):
        assert {official_key(k): list(v.shape) for k, v in own.state_dict().items()} == golden.info[keys]


@torch.inference_mode()
def test_predict(official: Official) -> None:
    golden, model, template = official
    states = model.predict_states(waveform(2.0), 30, torch.eye(8)[2:3], 60)
    vertices = model.displacement(states).flatten(2) + template
    golden.assert_close("predict", vertices)
    golden.assert_close("predict_last_frame", vertices[0, -1])


@torch.inference_mode()
def test_a_mixture_of_styles(official: Official) -> None:
    golden, model, template = official
    # the reference cuts the normalised sound; its own normalisation of a cut is another one
    wave = waveform(2.0)
    normal_wave = (wave - wave.mean()) / np.sqrt(wave.var() + OFFICIAL_EPS)
    assert isinstance(model.audio_encoder, Wav2Vec2SpeechEncoder)
    features = model.audio_encoder.conv_features(torch.from_numpy(normal_wave[None, :8000].astype(np.float32)))
    hidden = model.audio_encoder.encode(align_as_faceformer(features, "vocaset"))
    style = 0.3 * torch.eye(8)[2:3] + 0.7 * torch.eye(8)[0:1]
    states = model.decode_codes(model.codes(hidden, style))
    golden.assert_close("predict_style_mix_0.5s", model.displacement(states).flatten(2) + template)


@torch.inference_mode()
def test_training_losses(official: Official) -> None:
    golden, model, template = official
    truth = torch.from_numpy(normal("vertice", (1, 60, 15069), 0.05))
    truth = template[:, None] + truth - template[:, None]  # rounded as in the reference
    features = torch.from_numpy(waveform(2.0))
    features = model.audio_encoder.frozen_features(features.numpy())[None]
    hidden = model.audio_encoder.encode(align_as_faceformer(features, "vocaset", 60))
    coded = model.teacher_forced(hidden, torch.eye(8)[2:3], truth)
    motion = F.mse_loss(model.displacement(model.visible(coded)).flatten(2), truth)
    codes = F.mse_loss(coded.features, model.autoencoder.encode(truth).quantised)
    np.testing.assert_allclose([float(motion + codes), float(motion), float(codes)], golden.info["loss"], rtol=1e-5)


def small(alignment: AudioAlignment = "time", growth: float = 1.0) -> CodeTalker:
    torch.manual_seed(1)
    codec = MotionCodec(CodecShape(5, 12, 2, 2, 24, codes=4, code_width=3, entries=20, projected=True))
    model = CodeTalker(
        codec, 3, audio_encoder=encoder(), width=16, layers=2, period=4, dropout=0.0, alignment=alignment
    )
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and not name.startswith("audio_encoder"):
            torch.nn.init.normal_(parameter, std=0.4)
    model.growth = growth
    return model.eval()


def naive_codes(model: CodeTalker, audio: Tensor, style: Tensor) -> Tensor:
    """The published loop, literally: whole prefixes through torch's decoder and the codec, in vertex space."""
    rate, frames = model.audio_rate, audio.shape[1] // model.audio_rate
    memory, embedding = model.audio_feature_map(audio), (style @ model.learnable_style_emb.weight)[:, None]
    tokens = embedding if model.alignment != "time" else embedding + model.vertice_map.bias
    bias = causal_bias(frames, model.period, model.heads)
    for t in range(frames):
        allowed = torch.arange(rate * frames)[None] // rate == torch.arange(t + 1)[:, None]
        x = model.transformer_decoder(
            tokens + model.PPE.pe[:, : t + 1], memory, tgt_mask=bias[:, : t + 1, : t + 1], memory_mask=~allowed
        )
        coded = model.autoencoder.quantised(model.feat_map(x))
        shown = model.displacement(model.autoencoder.decode(coded.quantised)).flatten(2)
        tokens = torch.cat((tokens, model.vertice_map(shown[:, -1:]) + embedding), dim=1)
    return coded.numbers


@pytest.mark.parametrize("alignment", ["time", "vocaset", "biwi"])
@torch.no_grad()
def test_the_roll_out_equals_the_plain_loop(alignment: AudioAlignment) -> None:
    model = small(alignment)
    audio, style = torch.randn(1, 11 * model.audio_rate, 16), torch.tensor([[0.2, 0.8, 0.0]])
    codes = model.codes(audio, style)
    assert torch.equal(codes, naive_codes(model, audio, style))
    assert len(codes.unique()) > 5
    both = model.codes(audio.expand(2, -1, -1), torch.cat((style, torch.eye(3)[:1])))
    assert torch.equal(both[:1], codes)


@torch.no_grad()
def test_own_training_and_prediction_begin_alike() -> None:
    """With its own predictions as truth, teacher forcing repeats the roll-out: also the first token is the same."""
    model = small()
    audio, style = torch.randn(1, 6, 16), torch.eye(3)[:1]
    index = model.codes(audio, style)
    first = model.teacher_forced(audio, style, torch.zeros(1, 6, 15)).numbers[:, 0]
    assert torch.equal(first, index[:, 0])
    other = small("vocaset")
    other.load_state_dict(model.state_dict())
    token = other.learnable_style_emb.weight[:1] + other.PPE.pe[0, 0]
    heard = other.audio_feature_map(audio[:, :1])
    alone = other.transformer_decoder(token[:, None], heard)
    expected = other.autoencoder.quantised(other.feat_map(alone)).numbers[:, 0]
    assert torch.equal(other.codes(audio[:, :1], style)[:, 0], expected)  # as published: without the bias
