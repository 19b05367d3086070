"""FaceFormer compared with the recorded reference at full size, and with a plain loop in vertex space."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder, align_as_faceformer
from learn2talk_core.models.students.faceformer.network import FaceFormer, causal_bias
from tests.golden.fill import Golden, fill_state_dict, normal, official_key, waveform, zmuv

OFFICIAL = {  # vertices, styles, true frames, numbers of the decoder
    "vocaset": (5023, 8, 60, {"width": 64, "period": 30, "audio_rate": 1}),
    "BIWI": (23370, 6, 50, {"width": 128, "period": 25, "audio_rate": 2}),
}


@pytest.fixture(scope="module", params=list(OFFICIAL))
def official(request):
    """The network at full size with the weights of the golden files, and its 50 Hz features of the test sound."""
    golden = Golden("faceformer", request.param)
    vertices, styles, frames, numbers = OFFICIAL[request.param]
    encoder = Wav2Vec2SpeechEncoder.from_numbers()
    encoder.freeze_feature_encoder()
    model = FaceFormer(vertices, styles, audio_encoder=encoder, **numbers).eval()
    assert fill_state_dict(model, golden.info["fill"]) == ["PPE.pe"]
    features = encoder.conv_features(torch.from_numpy(zmuv(waveform(2.0), 1e-5))[None]).detach()
    template = torch.from_numpy(normal("template", (1, 3 * vertices), 0.1))
    truth = template[:, None] + torch.from_numpy(normal("vertice", (1, frames, 3 * vertices), 0.05))
    if model.audio_rate == 2:
        frames = min(frames, features.shape[1] // 2)
    return golden, model, features, template, truth[:, :frames], torch.eye(styles)[2:3]


def test_state_dict_is_the_official_one(official) -> None:
    golden, model, *_ = official
    assert {official_key(k): list(v.shape) for k, v in model.state_dict().items()} == golden.info["keys"]
    frozen = [official_key(name) for name, p in model.named_parameters() if not p.requires_grad]
    assert sorted(frozen) == sorted(golden.info["frozen"])


@torch.inference_mode()
def test_predict(official) -> None:
    golden, model, features, template, _, style = official
    dataset = golden.info["config"]["dataset"].lower()
    audio = model.audio_encoder.encode(align_as_faceformer(features, dataset))
    vertices = model.roll_out(audio, style).flatten(2) + template
    golden.assert_close("predict", vertices)
    golden.assert_close("predict_last_frame", vertices[0, -1])
    region = torch.tensor([7, 3, 4000])
    lips = model.roll_out(audio, style, region).flatten(2)
    expected = (vertices - template).unflatten(-1, (-1, 3))[:, :, region].flatten(2)
    torch.testing.assert_close(lips, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_teacher_forced_loss(official) -> None:
    golden, model, features, template, truth, style = official
    dataset = golden.info["config"]["dataset"].lower()
    audio = model.audio_encoder.encode(align_as_faceformer(features, dataset, truth.shape[1]))
    states = model.teacher_forced(audio, style, (truth - template).unflatten(-1, (-1, 3)))
    loss = F.mse_loss(model.displacement(states).flatten(2) + template, truth)
    np.testing.assert_allclose(loss, golden.info["loss_teacher_forcing"], rtol=1e-5)


def test_autoregressive_loss_and_its_gradients(official) -> None:
    golden, model, features, template, truth, style = official
    dataset = golden.info["config"]["dataset"].lower()
    audio = model.audio_encoder.encode(align_as_faceformer(features, dataset, truth.shape[1]))
    loss = F.mse_loss(model.roll_out(audio, style).flatten(2) + template, truth)
    np.testing.assert_allclose(loss.item(), golden.info["loss_autoregressive"], rtol=1e-5)
    loss.backward()
    gradients = {official_key(name): p.grad for name, p in model.named_parameters()}
    for name, norm in golden.info["grad_norms_autoregressive_loss"].items():
        if norm is None:
            assert gradients[name] is None, name
        else:  # those of the key biases are zero in exact arithmetic: 1e-9 of rounding
            np.testing.assert_allclose(gradients[name].double().norm(), norm, rtol=5e-5, atol=5e-9, err_msg=name)
    for name in {key.partition("__")[0] for key in golden.arrays if key.startswith("grad:")}:
        scale = np.abs(golden[name].value).max()
        golden.assert_close(name, gradients[name.removeprefix("grad:")], atol=2e-5 * scale)
    model.zero_grad(set_to_none=True)


def test_causal_bias_is_the_official_mask(official) -> None:
    golden, model, *_ = official
    bias = causal_bias(600, model.period, 4)
    np.testing.assert_array_equal(bias[:, :70, :70], golden["biased_mask_first70"].dense())
    np.testing.assert_array_equal(bias[:, -1], golden["biased_mask_last_row"].dense())


def small(audio_rate: int = 1, period: int = 4, **numbers: float) -> FaceFormer:
    torch.manual_seed(1)
    model = FaceFormer(11, 3, audio_width=10, width=16, period=period, audio_rate=audio_rate, **numbers).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def naive_roll_out(model: FaceFormer, audio: Tensor, style: Tensor) -> Tensor:
    """The paper's recursion, literally: in vertex space, recomputing the whole prefix at each step, with torch's
    own decoder and explicit masks. One clip (1, n, H) -> (1, T, V, 3)."""
    rate, period, heads = model.audio_rate, model.period, model.heads
    frames = audio.shape[1] // rate
    memory = model.audio_feature_map(audio[:, : frames * rate])
    position = torch.zeros(frames, memory.shape[-1])
    for t in range(frames):
        for k in range(0, memory.shape[-1], 2):
            angle = (t % period) / 10000 ** (k / memory.shape[-1])
            position[t, k], position[t, k + 1] = math.sin(angle), math.cos(angle)
    mask = torch.full((heads, frames, frames), -math.inf)
    for h in range(heads):
        for i in range(frames):
            for j in range(i + 1):
                mask[h, i, j] = -(2.0 ** (-2 * (h + 1))) * ((i - j) // period)
    style = model.obj_vector(style)[:, None]
    tokens = style
    vertices = torch.empty(0)
    for i in range(frames):
        hidden = (torch.arange(frames * rate) // rate)[None] != torch.arange(i + 1)[:, None]
        states = model.transformer_decoder(
            tokens + position[: i + 1], memory, tgt_mask=mask[:, : i + 1, : i + 1], memory_mask=hidden
        )
        vertices = model.vertice_map_r(states)
        tokens = torch.cat((tokens, model.vertice_map(vertices[:, -1:]) + style), dim=1)
    return vertices.unflatten(-1, (-1, 3))


@pytest.mark.parametrize("rate", [1, 2])
def test_latent_roll_out_is_the_loop_through_vertices(rate: int) -> None:
    model = small(rate)
    audio, style = torch.randn(1, rate * 13 + rate - 1, 10), torch.tensor([[0.0, 1.0, 0.0]])
    expected = naive_roll_out(model, audio, style)
    torch.testing.assert_close(model.roll_out(audio, style), expected, atol=2e-5, rtol=1e-5)
    with torch.no_grad():  # the same numbers from memory that is taken once
        torch.testing.assert_close(model.roll_out(audio, style), expected, atol=2e-5, rtol=1e-5)
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad((model.roll_out(audio, style) * weight).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * weight).sum(), list(model.parameters()))
    for (name, _), a, b in zip(model.named_parameters(), ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4 * float(b.abs().max()) + 2e-5, rtol=0, msg=name)


@pytest.mark.parametrize("frames", [601, 2000])
@torch.inference_mode()
def test_long_clips(frames: int) -> None:
    """Longer than the 600 frames of the official tables. Given the roll-out's own prediction, the teacher-forced pass,
    which computes all frames at once, must give the same states."""
    model = small(period=30)
    audio, style = torch.randn(1, frames, 10), torch.tensor([[0.0, 0.0, 1.0]])
    states = model.states(audio, style)
    first = model.obj_vector(style)[:, None]
    rest = model.vertice_map(model.displacement(states[:, :-1]).flatten(2)) + first
    phase = torch.arange(frames) % 30
    memory = model.audio_feature_map(audio)
    expected = model.transformer_decoder(
        torch.cat((first, rest), dim=1) + model.PPE.pe[0, phase],
        memory,
        tgt_mask=causal_bias(frames, 30, 4),
        memory_mask=~torch.eye(frames, dtype=torch.bool),
    )
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rate", [1, 2])
@torch.inference_mode()
def test_a_padded_batch_equals_single_clips(rate: int) -> None:
    model = small(rate)
    lengths = [9, 14, 5]
    audio, style = torch.randn(3, rate * 14, 10), torch.eye(3)
    batch = model.roll_out(audio, style)
    truth = torch.randn_like(batch)
    forced = model.teacher_forced(audio, style, truth)
    for row, length in enumerate(lengths):
        clip, one = audio[row : row + 1, : rate * length], style[row : row + 1]
        torch.testing.assert_close(batch[row, :length], model.roll_out(clip, one)[0], atol=1e-6, rtol=1e-5)
        single = model.teacher_forced(clip, one, truth[row : row + 1, :length])
        torch.testing.assert_close(forced[row, :length], single[0], atol=1e-6, rtol=1e-5)


def test_teacher_forcing_with_its_own_prediction_gives_it_back() -> None:
    """Only the first token differs: the style in the roll-out, the style plus W_in's bias with teacher forcing."""
    model = small()
    torch.nn.init.zeros_(model.vertice_map.bias)
    audio, style = torch.randn(2, 20, 10), torch.eye(3)[:2]
    states = model.states(audio, style)
    forced = model.teacher_forced(audio, style, model.displacement(states))
    torch.testing.assert_close(forced, states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["vertice_map.weight", "vertice_map.bias", "vertice_map_r.weight", "vertice_map_r.bias"]
)
@torch.no_grad()
def test_weights_that_change_are_heeded(name: str) -> None:
    """The cached transition is recomputed when the weights change."""
    model, other = small(), small()
    audio, style = torch.randn(1, 9, 10), torch.eye(3)[:1]
    before = model.states(audio, style)
    for face in (model, other):
        face.get_parameter(name).mul_(-2)
    assert torch.equal(model.states(audio, style), other.states(audio, style))
    assert not torch.allclose(before, model.states(audio, style), atol=1e-3)
    model.load_state_dict(small().state_dict())
    assert torch.equal(model.states(audio, style), before)


def test_dropout_only_in_training() -> None:
    model = small(dropout=0.5)
    audio, style = torch.randn(1, 6, 10), torch.eye(3)[:1]
    torch.testing.assert_close(model.roll_out(audio, style), model.roll_out(audio, style), atol=0, rtol=0)
    model.train()
    assert not torch.allclose(model.roll_out(audio, style), model.roll_out(audio, style))


def test_an_untrained_face_rests() -> None:
    model = FaceFormer(5, 2, audio_width=4, width=8)
    assert not model.roll_out(torch.randn(1, 7, 4), torch.eye(2)[:1]).any()


def test_heads_must_be_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="heads: expected a power of two, found 3"):
        causal_bias(4, 2, 3)
