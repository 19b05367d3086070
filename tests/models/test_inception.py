"""FID's Inception: its keys and number of weights, its pooling, and strict loading; without the published weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from learn2talk_core.models.inception import FEATURES, BlockA, BlockE, Inception, inception_features, load_inception
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import parameter_count


def test_number_of_weights_and_names_are_those_of_the_published_file():
    with torch.device("meta"):
        network = Inception()
    # torchvision's inception_v3: 27,161,264 with 1000 classes, 3,326,696 of them in the auxiliary head; 8 classes more.
    assert parameter_count(network) == 27_161_264 - 3_326_696 + 8 * (FEATURES + 1)
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert shapes["Conv2d_1a_3x3.conv.weight"] == [32, 3, 3, 3]
    assert shapes["Mixed_6c.branch7x7dbl_4.conv.weight"] == [160, 160, 7, 1]
    assert shapes["Mixed_7c.branch_pool.conv.weight"] == [192, 2048, 1, 1]
    assert shapes["fc.weight"] == [1008, 2048]
    assert len([key for key in shapes if key.endswith("conv.weight")]) == 94


def test_pooling_leaves_padding_out_and_ends_with_a_maximum():
    torch.manual_seed(0)
    x = torch.rand(1, 8, 5, 5)
    for block, pooled in [
        (BlockA(8, 4), functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
        (BlockE(8, pool_by_maximum=False), functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
        (BlockE(8, pool_by_maximum=True), functional.max_pool2d(x, 3, 1, 1)),
    ]:
        block.eval()
        with torch.inference_mode():
            expected = block.branch_pool(pooled)
            torch.testing.assert_close(block(x)[:, -expected.shape[1] :], expected)


def test_features_and_strict_reading(tmp_path):
    torch.manual_seed(0)
    network = Inception().eval()
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)
    found = inception_features(network, [picture, picture])
    assert found.shape == (2, FEATURES)
    np.testing.assert_allclose(found, expected.expand(2, -1).numpy(), atol=1e-6)
    assert inception_features(network, []).shape == (0, FEATURES)
    torch.save(network.state_dict(), tmp_path / "fid.pth")
    loaded = load_inception(tmp_path / "fid.pth")
    np.testing.assert_array_equal(inception_features(loaded, [picture]), found[:1])
    less = {key: value for key, value in network.state_dict().items() if not key.startswith("Mixed_7c")}
    torch.save(less, tmp_path / "less.pth")
    with pytest.raises(BadInput, match=r"the weights of FID's Inception, found no Mixed_7c.*pytorch-fid"):
        load_inception(tmp_path / "less.pth")
