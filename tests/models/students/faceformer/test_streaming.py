from typing import Any

import pytest
import torch

from learn2talk_core.models.students.faceformer.network import FaceFormer
from learn2talk_core.models.students.faceformer.streaming import RollOut
from learn2talk_core.run.weights import frozen


def network(**numbers: Any) -> FaceFormer:
    torch.manual_seed(0)
    model = FaceFormer(12, 3, audio_width=10, width=8, period=4, **numbers)
    torch.nn.init.normal_(model.vertice_map_r.weight, std=0.3)
    torch.nn.init.normal_(model.vertice_map_r.bias, std=0.3)
    frozen(model)
    return model


@pytest.mark.parametrize("rate", [1, 2])
def test_pieces_are_the_whole_and_the_whole_is_faceformers(rate: int) -> None:
    model, style = network(audio_rate=rate), torch.tensor([0.2, 0.5, 0.3])
    audio = torch.randn(23 * rate, 10)
    whole = RollOut(model, style, 23).extend(audio)
    roll_out = RollOut(model, style, 23)
    pieces = [roll_out.extend(piece) for piece in audio.split([rate, 9 * rate, 0, 13 * rate])]
    torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        expected = model.states(audio[None], style[None])[0]
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-4)


def test_what_lies_beyond_the_memory_is_forgotten() -> None:
    model, style, audio = network(), torch.tensor([1.0, 0, 0]), torch.randn(40, 10)
    roll_out = RollOut(model, style, 6)
    short = roll_out.extend(audio)
    assert roll_out._keys.shape[1] == roll_out._values.shape[1] == 6
    whole = RollOut(model, style, 40).extend(audio)
    assert torch.equal(short[:6], whole[:6])
    assert not torch.equal(short[10:], whole[10:])
