"""The compiled roll-out compared with the one in torch."""

import numpy as np
import pytest
import torch

from learn2talk_core.models.students.faceformer.compiled import _softmax
from learn2talk_core.models.students.faceformer.network import FaceFormer


@pytest.mark.parametrize(("rate", "heads", "width"), [(1, 4, 64), (2, 4, 32), (3, 1, 8)])
def test_compiled_and_torch_agree(rate: int, heads: int, width: int) -> None:
    torch.manual_seed(0)
    model = FaceFormer(9, 4, audio_width=12, width=width, heads=heads, period=7, audio_rate=rate).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    audio, style = torch.randn(3, 40 * rate, 12), torch.eye(4)[1:]
    expected = model.states(audio, style)
    assert expected.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(model.states(audio, style), expected, atol=2e-5, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(model.states(audio, style), expected, atol=2e-5, rtol=1e-5)
        # anything but float32 on the CPU runs in torch
        double = model.double().states(audio.double(), style.double())
        torch.testing.assert_close(double.float(), expected, atol=2e-5, rtol=1e-5)


def test_the_same_speech_gives_the_same_bytes() -> None:
    torch.manual_seed(0)
    model = FaceFormer(9, 2, audio_width=12, width=16).eval()
    torch.nn.init.normal_(model.vertice_map_r.weight)
    audio, style = torch.randn(1, 90, 12), torch.eye(2)[:1]
    with torch.no_grad():
        assert torch.equal(model.states(audio, style), model.states(audio, style))
        # alone or in a batch
        both = model.states(audio.expand(2, -1, -1), style.expand(2, -1))
        assert torch.equal(both[1:], both[:1])


@pytest.mark.parametrize("spread", [0.1, 5.0, 300.0])
def test_softmax(spread: float) -> None:
    score = spread * torch.randn(1001)
    expected = score.double().softmax(0).float()
    found = score.numpy().copy()
    _softmax(found, np.empty(1001, np.int32))
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-30, rtol=1e-5 * max(1.0, spread))
