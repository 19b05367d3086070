"""MeshTalk compared with the recorded reference at full size, with its own parallel form, and with naive loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learn2talk_core.models.students.meshtalk.network import (
    ContextModel,
    MeshTalk,
    MeshTalkShape,
    gumbel_noise,
    loud,
    one_hot_classes,
    smoothed_motion,
)
from learn2talk_core.run.errors import BadInput
from tests.golden.fill import Golden, fill_state_dict, normal, waveform

FRAMES, VERTICES = 7, 6172


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("meshtalk", "meshtalk")


@pytest.fixture(scope="module")
def official(golden: Golden) -> MeshTalk:
    """The published size with the golden weights; mean 0 and deviation 1, so that vertices are the reference's
    normalised ones and its assets are not needed."""
    model = MeshTalk(MeshTalkShape(VERTICES), 1, alignment="pieces", smoothed=2).eval()
    for part, fill in (("encoder", "fill"), ("vertex_unet", "fill"), ("context_model", "fill_context_model")):
        fill_state_dict(getattr(model, part), golden.info[fill])
    return model


def close(golden: Golden, name: str, actual: torch.Tensor) -> None:
    """1e-5 of the largest number."""
    golden.assert_close(name, actual, atol=1e-5 * float(np.abs(golden[name].value).max()))


def test_state_dict_is_the_official_one(golden: Golden, official: MeshTalk) -> None:
    for part, keys in golden.info["keys"].items():
        assert {k: list(v.shape) for k, v in getattr(official, part).state_dict().items()} == keys, part


@torch.inference_mode()
def test_parity_with_the_reference(golden: Golden, official: MeshTalk) -> None:
    ears, encoder = official.encoder.audio_encoder, official.encoder
    sound = loud(waveform(2.0))
    padded = F.pad(sound, ((16000 - 533) // 2,) * 2)
    close(golden, "logmel_chunk0", ears.melspec(padded[None, :16000]))
    codes = ears.of_pieces(sound)
    assert len(codes) == 60
    audio = codes[None, ::8][:, :FRAMES]
    close(golden, "audio_code", audio)
    geom = torch.from_numpy(normal("geom", (1, FRAMES, VERTICES, 3), 0.7))
    expression = encoder.expression_encoder(geom)
    close(golden, "expression_code", expression)
    close(golden, "encoder_logprobs", encoder.fusion_model(expression, audio))
    labels = official.context_model.sample(audio[0], None)
    np.testing.assert_array_equal(labels, golden["sample_labels"].dense()[0])
    one_hot = F.one_hot(labels, 128)[None].float()
    close(golden, "context_logprobs", official.context_model(labels[None], audio))
    template = torch.from_numpy(normal("template", (1, 1, VERTICES, 3), 0.5))[0]
    close(golden, "geom_normalised", template[:, None] + official.vertex_unet(template, one_hot))


def small(**words: object) -> MeshTalk:
    torch.manual_seed(3)
    model = MeshTalk(MeshTalkShape(9, heads=8, classes=4), 2, **words).eval()  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if name.startswith(("context", "vertex_unet")):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@torch.no_grad()
def test_sampling_follows_the_parallel_form() -> None:
    """Drawn one by one with the noise of a seed, the classes are the most probable ones of the parallel form, which
    sees them all, under the same noise; the masks let no class see itself or later ones."""
    context: ContextModel = small().context_model
    audio = torch.randn(12, 128, generator=torch.Generator().manual_seed(1))
    labels = context.sample(audio, torch.Generator().manual_seed(7))
    draws = torch.Generator().manual_seed(7)
    noise = torch.stack([gumbel_noise((8, 4), draws) for _ in range(12)])
    logprobs = context(labels[None], audio[None])[0]
    assert torch.equal((logprobs + noise).argmax(-1), labels)
    assert len({tuple(frame) for frame in labels.tolist()}) > 1
    assert not torch.equal(labels, context.sample(audio, torch.Generator().manual_seed(8)))
    changed = labels.clone()
    changed[6, 1] = (changed[6, 1] + 1) % 4
    moved = context(changed[None], audio[None])[0] - logprobs
    assert float(moved[:6].abs().max()) == float(moved[6, :7].abs().max()) == 0.0
    assert float(moved[6, 7].abs().max()) > 1e-4
    assert float(moved[7].abs().max()) > 1e-4


def test_gumbel_noise_draws_from_the_distribution() -> None:
    probabilities = torch.tensor([0.1, 0.6, 0.3])
    noise = gumbel_noise((20000, 3), torch.Generator().manual_seed(0))
    drawn = torch.bincount((probabilities.log() + noise).argmax(-1), minlength=3) / 20000
    torch.testing.assert_close(drawn, probabilities, atol=0.02, rtol=0)


def test_classes_are_one_hot_with_the_gradient_of_the_softmax() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    one_hot = one_hot_classes(logits.log_softmax(-1))
    torch.testing.assert_close(one_hot.detach(), F.one_hot(logits.argmax(-1), 4).float())
    (own,) = torch.autograd.grad((one_hot * weight).sum(), logits)
    (soft,) = torch.autograd.grad((logits.softmax(-1) * weight).sum(), logits)
    torch.testing.assert_close(own, soft)


@torch.no_grad()
def test_the_whole_clip_at_once_equals_a_second_of_sound_per_frame() -> None:
    """At 100 frames per second, where frames lie on mel columns, both ways of listening see the same sound."""
    model = small()
    ears, padded = model.encoder.audio_encoder, F.pad(loud(waveform(1.3)), (8000 + 480, 8000 + 640))
    # the columns of a second of sound with its true neighbours, where the reference's pieces are mirrored
    pieces = [ears(ears.melspec(padded[None, 160 * t : 160 * t + 16960])[:, :, 3:104])[:, 0] for t in range(130)]
    whole = model.audio_codes(waveform(1.3), 130, 100.0)
    torch.testing.assert_close(whole, torch.cat(pieces), atol=1e-4, rtol=1e-4)
    slow = model.audio_codes(waveform(1.3), 39, 30.0)
    torch.testing.assert_close(slow[::3], whole[::10], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(slow[1], whole[3] + (whole[4] - whole[3]) / 3, atol=1e-4, rtol=1e-4)


def test_smoothing_equals_a_loop() -> None:
    motion = torch.from_numpy(normal("motion", (6, 4, 3)))
    masks = torch.tensor([[0.0, 1.0, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0]])
    expected = motion.double().numpy().copy()
    for mask in masks.numpy():
        before = expected.copy()
        for t in range(6):
            total = sum(np.exp(-0.5 * (k / 2.0) ** 2) for k in range(-4, 5))
            mean = sum(np.exp(-0.5 * (k / 2.0) ** 2) * before[min(max(t + k, 0), 5)] for k in range(-4, 5)) / total
            expected[t] = before[t] * (1 - mask[:, None]) + mean * mask[:, None]
    np.testing.assert_allclose(smoothed_motion(motion, masks), expected, atol=1e-6)
    assert torch.equal(motion, torch.from_numpy(normal("motion", (6, 4, 3))))


@torch.no_grad()
def test_prediction_is_seeded_and_ignores_the_style() -> None:
    model = small()
    template = normal("template", (9, 3))
    states = model.predict_states(waveform(0.5), 30, torch.eye(2), 15, template)
    assert states.shape == (2, 15, 27)
    assert torch.equal(states[0], states[1])
    again = MeshTalk.from_settings({**model.settings(), "style_count": 2}).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.predict_states(waveform(0.5), 30, torch.eye(2), 15, template), states)
    other = MeshTalk.from_settings({**model.settings(), "style_count": 2, "seed": 1}).eval()
    other.load_state_dict(model.state_dict())
    assert not torch.equal(other.predict_states(waveform(0.5), 30, torch.eye(2), 15, template), states)
    with pytest.raises(BadInput, match="the face at rest"):
        model.predict_states(waveform(0.5), 30, torch.eye(2), 15)
    assert torch.isfinite(model.predict_states(np.zeros(8000, np.float32), 30, torch.eye(2), 15, template)).all()
