"""ExpNet compared with outputs of SadTalker's own code, with weights derived from their names."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from learn2talk_core.models.expnet import ExpNet, centred_windows, expressions, load_expnet
from learn2talk_core.run.errors import BadInput
from tests.golden.fill import Golden, fill_state_dict, waveform

GOLDEN = Golden("sadtalker", "expnet")
# SadTalker read the audio from a 16-bit file.
WAVE = np.round(waveform(2.0).astype(np.float64) * 32767) / 32768


@pytest.fixture(scope="module")
def network() -> ExpNet:
    network = ExpNet()
    fill_state_dict(network, GOLDEN.info["fill"])
    return network.eval()


def test_keys_and_shapes_are_the_official_ones(network):
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == GOLDEN.info["keys"]


def test_windows_are_the_references():
    GOLDEN.assert_close("indiv_mels", centred_windows(WAVE)[None, :, None], atol=2e-5)


def test_expressions_are_the_references(network):
    mels = centred_windows(WAVE)
    with torch.inference_mode():
        GOLDEN.assert_close(
            "audio_features", network.audio_encoder(torch.from_numpy(mels)[:, None])[..., 0, 0], atol=6e-4
        )
    reference, blink = GOLDEN["ref"].dense()[0, 0, :64], GOLDEN["ratio_gt"].dense()[0, :, 0]
    found = expressions(network, mels, reference, blink, batch=17)
    GOLDEN.assert_close("exp_coeff_pred", found[None])
    assert not np.allclose(expressions(network, mels, reference), found)  # the blink input has an effect
    assert expressions(network, mels[:0], reference).shape == (0, 64)


def test_both_releases_are_read(network, tmp_path):
    state = network.state_dict()
    torch.save({"model": state, "optimizer": {}, "epoch": 300}, tmp_path / "auido2exp_00300-model.pth")
    shared = {f"audio2exp.{key}": value.clone() for key, value in state.items()}
    save_file({**shared, "audio2pose.x": torch.zeros(1)}, tmp_path / "SadTalker.safetensors")
    for name in ("auido2exp_00300-model.pth", "SadTalker.safetensors"):
        loaded = load_expnet(tmp_path / name)
        assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_file_of_another_network_is_refused(tmp_path):
    torch.save({"model": {"netG.x": torch.zeros(1)}, "epoch": 140}, tmp_path / "auido2pose_00140-model.pth")
    with pytest.raises(BadInput, match=r"the weights of ExpNet, found no audio_encoder.*auido2exp_00300-model.pth"):
        load_expnet(tmp_path / "auido2pose_00140-model.pth")
