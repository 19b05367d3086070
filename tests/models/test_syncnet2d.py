"""SyncNet compared with outputs of its own evaluation code, with weights derived from their names."""

import numpy as np
import pytest
import torch

from learn2talk_core.metrics.lse import lse
from learn2talk_core.models.syncnet2d import SIZE, SyncNet, embeddings, load_syncnet
from learn2talk_core.run.errors import BadInput
from learn2talk_core.statistics.synchrony import shifted_distances
from tests.golden.fill import Golden, fill_state_dict, uniform, waveform

GOLDEN = Golden("syncnet", "network")
PCM = np.round(waveform(1.6).astype(np.float64) * 32767).astype(np.int16)


@pytest.fixture(scope="module")
def network() -> SyncNet:
    with torch.device("cpu"):
        network = SyncNet()
    fill_state_dict(network, GOLDEN.info["fill"])
    return network.eval()


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """40 pictures, RGB."""
    blocks = np.floor(uniform("syncnet-blocks", (40, 28, 28, 3)) * 256).astype(np.uint8)
    return np.kron(blocks, np.ones((1, 8, 8, 1), np.uint8))[..., ::-1]


@pytest.fixture(scope="module")
def embedded(network, faces) -> tuple[np.ndarray, np.ndarray]:
    return embeddings(network, faces, PCM / 32768)


def test_keys_and_shapes_are_the_official_ones():
    with torch.device("meta"):
        state = SyncNet().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == GOLDEN.info["keys"]


def test_embeddings_are_the_references(embedded):
    lips, audio = embedded
    GOLDEN.assert_close("lip_embeddings", lips, atol=5e-5)
    GOLDEN.assert_close("audio_embeddings", audio, atol=5e-5)


def test_distances_and_scores_are_the_references(embedded):
    GOLDEN.assert_close("dists", shifted_distances(*embedded, zero_padding=True), atol=2e-4)
    scores = lse(*embedded, 25, zero_padding=True)
    assert scores.offset == GOLDEN.info["offset"]
    assert scores.lse_d == pytest.approx(GOLDEN.info["lse_d"], abs=1e-4)
    assert scores.lse_c == pytest.approx(GOLDEN.info["lse_c"], abs=1e-4)


def test_pieces_of_a_clip_give_what_the_whole_gives(network, faces, embedded):
    again, _ = embeddings(network, iter(faces[:12]), PCM / 32768, batch=3)
    assert again.shape == (7, 1024)
    np.testing.assert_allclose(again, embedded[0][:7], atol=2e-5)


def test_the_shorter_of_pictures_and_sound_decides(network, faces):
    for pictures, samples, windows in [(8, 25600, 3), (40, 8 * 640 + 639, 3), (5, 25600, 0), (40, 600, 0)]:
        lips, audio = embeddings(network, faces[:pictures], PCM[:samples] / 32768)
        assert lips.shape == audio.shape == (windows, 1024)


def test_pictures_of_other_sizes_are_resized(network):
    flat = np.full((6, 60, 50, 3), 90, np.uint8)
    small, _ = embeddings(network, flat, PCM / 32768)
    large, _ = embeddings(network, np.full((6, SIZE, SIZE, 3), 90, np.uint8), PCM / 32768)
    np.testing.assert_array_equal(small, large)


def test_published_file_is_read_strictly(network, tmp_path):
    state = network.state_dict()
    torch.save(state, tmp_path / "syncnet_v2.model")
    loaded = load_syncnet(tmp_path / "syncnet_v2.model")
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    assert not loaded.training
    old = {key: value for key, value in state.items() if "num_batches" not in key}  # as torch saved it before 0.4.1
    torch.save(old, tmp_path / "old.model")
    assert torch.equal(load_syncnet(tmp_path / "old.model").netfclip[3].weight, state["netfclip.3.weight"])
    torch.save({key: value for key, value in state.items() if key != "netfclip.3.bias"}, tmp_path / "less.model")
    with pytest.raises(BadInput, match=r"expected the weights of SyncNet, found no netfclip.3.bias\. Use syncnet"):
        load_syncnet(tmp_path / "less.model")
    torch.save(state | {"more": torch.zeros(1)}, tmp_path / "more.model")
    with pytest.raises(BadInput, match=r"found more, which it does not have\. "):
        load_syncnet(tmp_path / "more.model")
    torch.save(state | {"netfclip.3.bias": torch.zeros(3)}, tmp_path / "other.model")
    with pytest.raises(BadInput, match=r"netfclip.3.bias of shape \(3,\) instead of \(1024,\)"):
        load_syncnet(tmp_path / "other.model")
    with pytest.raises(BadInput, match="expected a file of weights, found nothing"):
        load_syncnet(tmp_path / "none.model")
