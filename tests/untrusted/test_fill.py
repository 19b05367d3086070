"""The fill rule yields the numbers with which the golden files were made."""

import numpy as np
import torch
from torch import nn

from tests.golden.fill import Golden, fill_state_dict, filled, normal, official_key, uniform, waveform, zmuv

FILL = {"gain2": 1.0, "gainN": 1.4, "gains": [["q_proj", 2.0]], "constants": ["^3"]}


def test_waveform():
    wave = waveform(2.0)
    assert wave.dtype == np.float32
    assert wave.shape == (32000,)
    np.testing.assert_allclose(wave[[0, 100, 31999]], [0.27647981, 0.36357114, 0.39169279], rtol=1e-6)


def test_named_inputs():
    np.testing.assert_allclose(
        normal("template", (1, 4), 0.1), [[0.12775563, 0.00527615, 0.13494015, -0.00351252]], rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(uniform("x", (3,)), [0.21477389, 0.00449938, 0.83301908], rtol=1e-5, atol=1e-8)


def test_zmuv():
    wave = zmuv(waveform(2.0), 1e-5)
    assert abs(wave.mean()) < 1e-6
    np.testing.assert_allclose(wave.std(), 0.9998288, rtol=1e-6)  # below 1 because of the eps


def test_a_gain_is_chosen_by_the_key():
    weight = filled("audio_encoder.encoder.layers.0.attention.q_proj.weight", (2, 2), FILL)
    np.testing.assert_allclose(weight, [[-0.14049177, 1.2442806], [-0.10788712, 1.1477901]], rtol=1e-6, atol=1e-8)


def test_fill_of_a_module():
    module = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), nn.LayerNorm(3)
    )
    fill = FILL | {"gains": [["^0", 0.3]]}
    assert fill_state_dict(module, fill) == ["1.num_batches_tracked", "3.weight", "3.bias"]
    state = module.state_dict()
    first = {key: float(state[key].flatten()[0]) for key in state}
    expected = {"0.weight": -0.1380015, "0.bias": -0.00196323, "1.weight": 0.9788383, "1.bias": -0.02714469,
                "1.running_mean": -0.01483229, "1.running_var": 1.0170672, "2.weight_orig": 0.37905732,
                "2.weight_u": -0.09647503, "2.weight_v": -0.13879144, "3.weight": 1.0}  # fmt: skip
    for key, value in expected.items():
        np.testing.assert_allclose(first[key], value, rtol=1e-5, atol=1e-8, err_msg=key)


def test_official_names_of_weight_normalisation():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 3))
    fill_state_dict(conv, FILL, rename=lambda key: "conv." + official_key(key))
    expected = filled("conv.weight_v", (4, 4, 3), FILL)
    np.testing.assert_array_equal(conv.state_dict()["parametrizations.weight.original1"], expected)


def test_golden_arrays_whole_and_in_part():
    golden = Golden("faceformer", "vocaset")
    whole = golden["loss_teacher_forcing"]
    assert whole.index is None
    assert whole.dense().shape == (1,)
    part = golden["predict"]
    assert part.shape == (1, 59, 15069)
    assert len(part.value) == len(part.index) == 12000
    full = torch.zeros(part.shape)
    full.view(-1)[torch.from_numpy(part.index).long()] = torch.from_numpy(part.value)
    golden.assert_close("predict", full, atol=0)
