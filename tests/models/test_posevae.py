"""PoseVAE compared with outputs of SadTalker's own code, with weights derived from their names."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from learn2talk_core.models.expnet import centred_windows
from learn2talk_core.models.posevae import BLOCK, PoseVAE, blocks, load_posevae, sample, smooth_poses
from learn2talk_core.run.errors import BadInput
from tests.golden.fill import Golden, fill_state_dict, normal, waveform

GOLDEN = Golden("sadtalker", "posevae")
MELS = centred_windows(np.round(waveform(2.0).astype(np.float64) * 32767) / 32768)
STILL = Golden("sadtalker", "expnet")["ref"].dense()[0, 0, 64:]


@pytest.fixture(scope="module")
def network() -> PoseVAE:
    network = PoseVAE()
    fill_state_dict(network, GOLDEN.info["fill"])
    return network.eval()


def poses(network: PoseVAE, frames: int, latents: torch.Tensor) -> np.ndarray:
    still = torch.from_numpy(STILL)
    with torch.inference_mode():
        return network(torch.from_numpy(MELS[:frames]), still, GOLDEN.info["class_id"], latents).numpy()


def test_keys_and_shapes_are_the_official_ones(network):
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == GOLDEN.info["keys"]


def test_poses_are_the_references(network):
    found = poses(network, 50, torch.from_numpy(GOLDEN["z"].dense()))
    GOLDEN.assert_close("pose_pred", found[None])
    GOLDEN.assert_close("pose_motion_pred", found[None] - STILL)
    GOLDEN.assert_close("pose_pred_savgol13_2", smooth_poses(found)[None])


def test_training_networks_are_the_references(network):
    motion = torch.from_numpy(normal("pose_motion_gt", (2, BLOCK, 6), 0.2))
    still, style = torch.from_numpy(normal("pose_ref", (2, 6), 0.2)), torch.tensor([3, 40])
    with torch.inference_mode():
        heard = network.audio_encoder(torch.from_numpy(MELS[1 : 1 + BLOCK]))
        GOLDEN.assert_close("audio_emb_first32", heard[None], atol=6e-4)
        heard = heard.expand(2, -1, -1)
        means, logarithms = network.netG.encoder(motion, heard, still, style)
        GOLDEN.assert_close("enc_mu", means, atol=1e-5)
        GOLDEN.assert_close("enc_logvar", logarithms, atol=1e-5)
        GOLDEN.assert_close("dec_from_mu", network.netG.decoder(means, heard, still, style))
        GOLDEN.assert_close("disc", network.netD_motion(motion))


@pytest.mark.parametrize("frames", [0, 1, 2, 20, 32, 33, 34, 50])
def test_every_length_has_its_poses(network, frames):
    latents = torch.from_numpy(normal("latents", (blocks(frames), 64)))
    found = poses(network, frames, latents)
    assert found.shape == (frames, 6)
    if frames:
        np.testing.assert_array_equal(found[0], STILL)
    if frames > 1:
        # The last frame is the last of a block that ends there; in shorter clips the first sound fills its beginning.
        windows = np.concatenate([MELS[1:2]] * max(0, BLOCK + 1 - frames) + [MELS[1:frames]])
        with torch.inference_mode():
            heard = network.audio_encoder(torch.from_numpy(windows[-BLOCK:]))[None]
            style = torch.tensor([GOLDEN.info["class_id"]])
            last = network.netG.decoder(latents[-1:], heard, torch.from_numpy(STILL)[None], style)[0, -1]
        np.testing.assert_allclose(found[-1], STILL + last.numpy(), atol=4e-6)


def test_samples_are_repeatable_and_differ_by_seed_and_style(network):
    def draw(seed: int, style: int, **more: bool) -> np.ndarray:
        return sample(network, MELS, rng=np.random.default_rng(seed), style=style, **more)

    first = draw(0, 7)
    assert first.shape == (50, 6)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, draw(0, 7))
    assert not np.allclose(first, draw(1, 7))
    assert not np.allclose(first, draw(0, 8))
    rough = draw(0, 7, smoothed=False)
    assert np.abs(np.diff(first, axis=0)).max() < np.abs(np.diff(rough, axis=0)).max()
    with pytest.raises(ValueError, match="0 … 45, not 46"):
        draw(0, 46)


def test_smoothing_keeps_a_parabola_and_short_clips():
    time = np.arange(40, dtype=np.float32)[:, None]
    parabola = 0.01 * time**2 - 0.3 * time + np.arange(6)
    np.testing.assert_allclose(smooth_poses(parabola), parabola, atol=1e-4)
    for frames in (0, 1, 2):
        np.testing.assert_array_equal(smooth_poses(parabola[:frames]), parabola[:frames])
    np.testing.assert_allclose(smooth_poses(parabola[:4]), parabola[:4], atol=1e-4)


def test_both_releases_are_read(network, tmp_path):
    state = network.state_dict()
    torch.save({"model": state, "optimizer": {}, "epoch": 140}, tmp_path / "auido2pose_00140-model.pth")
    save_file({f"audio2pose.{key}": value.clone() for key, value in state.items()}, tmp_path / "S.safetensors")
    for name in ("auido2pose_00140-model.pth", "S.safetensors"):
        loaded = load_posevae(tmp_path / name)
        assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match=r"PoseVAE, found no .* and \d+ more; x, which it does not have\. Use SadTalker"):
        load_posevae(tmp_path / "other.pth")
