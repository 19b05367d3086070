"""Head motion: transitions between blocks, and independence of how the sound is split."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from learn2talk_core.animation.head_motion import (
    BEFORE,
    HOP,
    LOOK_AHEAD,
    NECK,
    STORED,
    HeadMotion,
    frame_columns,
    head_model_about,
    in_units,
    load_head_model,
    neck,
)
from learn2talk_core.models.expnet import centred_windows
from learn2talk_core.models.posevae import BLOCK, LATENT, PoseVAE, smooth_poses
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import generator, seed_torch
from tests.animation.test_animator import speech
from tests.toy import sheet, topology


@pytest.fixture(scope="module")
def network() -> PoseVAE:
    seed_torch(0)
    made = PoseVAE(2, 3, published=False)
    torch.nn.init.normal_(made.netG.decoder.pose_linear.weight, std=1.0)
    return made.eval()


def motion(network: PoseVAE, wave: np.ndarray, seed: int = 0, fps: float = 25) -> np.ndarray:
    head = HeadMotion(network, seed)
    head.hear(wave)
    head.finish()
    return head.poses(np.arange(int(len(wave) / 16000 * fps)) / fps)


def test_a_block_is_what_the_network_makes_of_the_sound_around_it(network: PoseVAE) -> None:
    """The third block compared with the decoder applied to SadTalker's own windows of the whole sound."""
    wave = speech(5.0)
    head = HeadMotion(network, 4)
    head.hear(wave)
    mels = torch.from_numpy(centred_windows(wave))[2 * HOP : 2 * HOP + BLOCK]
    draw = [generator(4, "head", number).standard_normal(LATENT) for number in (2, 3, 4)]
    latent = torch.tensor(sum(draw) / math.sqrt(3), dtype=torch.float32)
    style = torch.tensor([int(generator(4, "head manner").integers(3))])
    with torch.inference_mode():
        heard = network.audio_encoder(mels)[None]
        expected = network.netG.decoder(latent[None], heard, torch.zeros(1, 6), style)[0]
    np.testing.assert_allclose(head._blocks[2], expected.numpy(), atol=1e-5)


def test_columns_are_sadtalkers() -> None:
    expected = [int(80 * (frame - 2) / 25) for frame in range(50, 50 + BLOCK)]
    np.testing.assert_array_equal(frame_columns(np.arange(50, 50 + BLOCK))[:, 0], expected)
    assert frame_columns(np.arange(1))[0, 0] * 200 - 400 + BEFORE > 0  # the spectrogram's own padding is not used


def test_blocks_fade_into_each_other_and_are_smoothed(network: PoseVAE) -> None:
    """Compared with blocks cross-faded by a loop, then SadTalker's filter over the whole."""
    wave = speech(6.0)
    head = HeadMotion(network, 1)
    head.hear(wave)
    head.finish()
    found = head.poses(np.arange(100) / 25)
    blocks = HeadMotion(network, 1)
    blocks.hear(np.concatenate([wave, np.zeros(32000, np.float32)]))
    whole = np.zeros((150, 6))
    for frame in range(150):
        number, place = frame // 15, frame % 15
        share = (1 - math.cos(math.pi * (place + 1) / 16)) / 2 if number else 1.0
        whole[frame] = share * blocks._blocks[number][place]
        whole[frame] += (1 - share) * blocks._blocks[number - 1][15 + place] if number else 0
    np.testing.assert_allclose(found[6:94], smooth_poses(whole)[6:94], atol=1e-6)


def test_no_jump_where_blocks_meet(network: PoseVAE) -> None:
    """Constant blocks, alternately 0 and 1: the largest step is that of the cosine, π / 2 times its mean."""
    head = HeadMotion(network, 0)
    head._blocks = {number: np.full((BLOCK, 6), number % 2, float) for number in range(16)}
    head._next = 16
    found = head.poses(np.arange(225) / 25)
    assert np.ptp(found[:, 0]) == pytest.approx(1, abs=0.1)  # the filter overshoots a little
    assert np.abs(np.diff(found, axis=0)).max() <= math.pi / 2 / (HOP + 1)
    assert np.abs(np.diff(found, 2, axis=0)).max() <= 1.2 * math.pi**2 / 2 / (HOP + 1) ** 2  # no jump in speed


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_it_does_not_matter_how_the_sound_comes(network: PoseVAE, fps: float) -> None:
    wave = speech(7.3)
    whole = motion(network, wave, 2, fps)
    for cut in (1000, 4444, 50000):
        head, found, given = HeadMotion(network, 2), [], 0
        for start in range(0, len(wave), cut):
            head.hear(wave[start : start + cut])
            ready = max(given, int((min(start + cut, len(wave)) / 16000 - LOOK_AHEAD) * fps))
            found.append(head.poses(np.arange(given, min(ready, len(whole))) / fps))
            given = min(ready, len(whole))
        head.finish()
        found.append(head.poses(np.arange(given, len(whole)) / fps))
        np.testing.assert_array_equal(np.concatenate(found), whole)
        assert len(head._blocks) < 8


def test_too_little_sound_is_said(network: PoseVAE) -> None:
    head = HeadMotion(network, 0)
    head.hear(speech(3))
    assert len(head.poses(np.arange(0, 3 - LOOK_AHEAD, 1 / 30))) > 30
    with pytest.raises(ValueError, match=r"not enough sound for the head pose at 2\.90 s"):
        head.poses(np.array([2.9]))


def test_the_seed_decides(network: PoseVAE) -> None:
    wave = speech(3)
    np.testing.assert_array_equal(motion(network, wave, 1), motion(network, wave, 1))
    assert not np.allclose(motion(network, wave, 1), motion(network, wave, 2))


def test_the_model_that_comes_with_the_package(tmp_path: Path) -> None:
    network = load_head_model()
    assert sum(file.stat().st_size for file in STORED.iterdir()) < 1e6
    assert not network.training
    about = json.loads((STORED / "model.json").read_text())["about"]
    assert "not from people" in about["learned_from"]
    wave = speech(8)
    degrees = np.degrees(motion(network, wave)[:, :3])
    assert 0.3 < np.sqrt(np.square(degrees).mean()) < 5
    assert np.abs(degrees).max() < 20
    steps = np.abs(np.diff(motion(network, speech(60)), axis=0)).max(axis=1)
    assert np.degrees(steps.max()) < 3  # 75 degrees per second
    by_place = steps[: len(steps) // HOP * HOP].reshape(-1, HOP).mean(axis=0)
    assert by_place.max() < 1.5 * by_place.mean()  # block boundaries are not visible in the speed
    assert head_model_about(None)["sha256"] == head_model_about(STORED)["sha256"]
    state = load_file(STORED / "model.safetensors")
    (tmp_path / "model.json").write_text((STORED / "model.json").read_text())
    save_file({**state, "netG.decoder.pose_linear.bias": torch.full((6,), torch.nan)}, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match=r"pose_linear\.bias: expected finite weights, found NaN or infinity"):
        load_head_model(tmp_path)
    (tmp_path / "model.json").write_text('{"width": 100000, "styles": 3}')
    with pytest.raises(BadInput, match=r"model\.json: expected a width of 1 … 32 and 1 … 1000 styles, found 100000, 3"):
        load_head_model(tmp_path)
    with pytest.raises(BadInput, match=r"nothing\.pth: expected a file of weights, found nothing"):
        load_head_model(tmp_path / "nothing.pth")


def test_where_the_neck_is() -> None:
    lips = sheet()[topology().regions["lips"]].mean(axis=0)
    np.testing.assert_allclose(neck(sheet(), topology(), 1000), lips + np.array(NECK) / 1000, atol=1e-7)
    np.testing.assert_allclose(neck(1000 * sheet(), topology(), 1), 1000 * lips + np.array(NECK), atol=1e-4)
    unknown = type(topology())(topology().faces, {}, np.zeros((0, 2), np.int64), topology().colours)
    low, high = sheet().min(axis=0), sheet().max(axis=0)
    place = neck(sheet(), unknown, 1000)
    assert (low <= place).all()
    assert (place <= high).all()
    np.testing.assert_allclose(in_units(np.full((2, 6), 0.5), 10), [[0.5] * 3 + [5] * 3] * 2)
