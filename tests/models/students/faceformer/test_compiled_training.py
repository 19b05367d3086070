"""The compiled roll-out with gradient compared with autograd through the loop in torch, in double precision."""

import pytest
import torch
from torch import Tensor

from learn2talk_core.models.students.faceformer import network
from learn2talk_core.models.students.faceformer.network import FaceFormer


def sample(heads: int, width: int) -> FaceFormer:
    torch.manual_seed(0)
    model = FaceFormer(9, 4, audio_width=12, width=width, heads=heads, period=7, dropout=0.0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def gradients(model: FaceFormer, audio: Tensor, style: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """The states, and the gradients of their weighted sum."""
    inputs = {"audio": audio.clone().requires_grad_(), **dict(model.named_parameters())}
    states = model.states(inputs["audio"], style)
    found = torch.autograd.grad((weight * states).sum(), inputs.values(), materialize_grads=True)
    return {"states": states.detach(), **dict(zip(inputs, found, strict=True))}


@pytest.mark.parametrize(("heads", "width", "frames"), [(4, 64, 30), (1, 8, 40), (2, 32, 1), (4, 16, 5)])
def test_states_and_gradients_are_autograds(heads: int, width: int, frames: int) -> None:
    model, torch_generator = sample(heads, width), torch.manual_seed(1)
    audio, style = torch.randn(3, frames, 12, generator=torch_generator), torch.eye(4)[1:]
    weight = torch.randn(3, frames, width, generator=torch_generator)
    weight[1, frames // 2 :] = 0  # padding
    found = gradients(model, audio, style, weight)
    expected = gradients(model.double(), audio.double(), style.double(), weight.double())
    for name, value in expected.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(found[name].double() / scale, value / scale, atol=3e-6, rtol=0, msg=name)


def test_training_uses_it_and_dropout_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Tensor) -> Tensor:
        calls.append(len(arguments))
        return original(*arguments)

    original = network.trained_states
    monkeypatch.setattr(network, "trained_states", counted)
    model, audio, style = sample(4, 16).train(), torch.randn(2, 9, 12), torch.eye(4)[:2]
    model.states(audio, style)
    assert len(calls) == 1
    model.dropout = 0.1
    model.states(audio, style)
    assert len(calls) == 1
