"""Networks on disk: descriptions are checked before a network is built, and the check has no side effects."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from learn2talk_core.models.lipreader import LipReader
from learn2talk_core.models.syncnet3d import Shape, SyncNet3D
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import (
    check_description,
    folded,
    frozen,
    halve_files,
    load_network,
    read_origin,
    save_weights,
    write_origin,
    write_tensors,
)

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def reader_of_all_kinds() -> tuple[nn.Module, Any]:
    reader = LipReader(7, width=4, dim=16, heads=2, hidden=8, encoder_layers=1, decoder_layers=1, kernel=3, size=44)
    grey = torch.rand(2, 6, 88, 88)
    return reader, lambda network: network.features(grey, "encoder")


def syncnet_of_all_kinds() -> tuple[nn.Module, Any]:
    syncnet = SyncNet3D(Shape(5, 6, 3, 8, 1, 2, 4, 8, non_negative=True))
    nn.init.normal_(syncnet.modes)
    motion, mel = torch.randn(2, 9, 5, 3), torch.randn(3, 80, 16)
    return syncnet, lambda network: torch.cat([network.embed_mesh(motion).flatten(0, 1), network.embed_audio(mel)])


class Net(nn.Module):
    def __init__(self, width: int, layers: int = 1) -> None:
        super().__init__()
        self.drawn = float(torch.rand((), device="cpu"))  # as some networks do, on whatever device their weights are
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))


def load(folder: Path) -> tuple[Net, dict[str, Any]]:
    return load_network(folder, lambda config: Net(**config), made_by="somebody")


def test_a_network_comes_back_and_draws_what_it_would_draw_alone(tmp_path: Path) -> None:
    net = Net(4)
    save_weights(tmp_path, net, {"width": 4})
    torch.manual_seed(0)
    alone, after = Net(4).drawn, float(torch.rand(()))
    torch.manual_seed(0)
    found, config = load(tmp_path)
    assert (found.drawn, float(torch.rand(())), config) == (alone, after, {"width": 4})
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in found.state_dict().items())
    assert not found.training


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"width": 2**19}, "found another shape of layers.0.weight"),
        ({"width": 4, "layers": 200}, "found no layers.1.weight"),
        ({"width": 4, "layers": 10**9}, "layers: expected a number of at most 200, found more than 200"),
        ({"width": 2**50}, "width: expected a number of at most 1048576"),
        ({"width": "wide"}, "expected a description of a network, found an invalid one (TypeError"),
        ({"depth": 4}, "expected a description of a network, found an invalid one (TypeError"),
    ],
)
def test_numbers_that_are_not_those_of_the_weights(tmp_path: Path, config: dict, found: str) -> None:
    save_weights(tmp_path, Net(4), config)
    with pytest.raises(BadInput) as refused:
        load(tmp_path)
    assert found in str(refused.value)


@pytest.mark.parametrize("about", [[], 3, {"a": [1] * 300}, {"a": {"b": float("inf")}}, {"names": ["a"] * 200_000}])
def test_what_describes_no_network(about: Any) -> None:
    with pytest.raises(BadInput, match=r"model.json.*: expected .* Fix it\."):
        check_description(about, "model.json", fix="Fix it.")


class Mixed(nn.Module):
    """A network with all that half precision treats differently."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.large, self.norm = nn.Linear(8, 8), nn.Linear(2, 2), nn.BatchNorm1d(8)


def packaged(folder: Path, net: Mixed, **about: object) -> Path:
    save_weights(folder, net, {})
    save_weights(folder / "part", net, {})
    halve_files(folder)
    write_origin(folder, {"model": "teacher", **about})
    return folder


def mixed() -> Mixed:
    torch.manual_seed(0)
    net = Mixed()
    net.large.weight.data.fill_(70000.0)
    net.norm.running_var.fill_(1e-9)
    return net


def test_half_precision_halves_matrices_and_nothing_else(tmp_path: Path) -> None:
    net = mixed()
    whole = tmp_path / "whole"
    save_weights(whole, net, {})
    folder = packaged(tmp_path / "half", net)
    stored = load_file(folder / "model.safetensors")
    kinds = {key: value.dtype for key, value in stored.items() if value.dtype != torch.float32}
    assert kinds == {"linear.weight": torch.float16, "norm.num_batches_tracked": torch.int64}
    saved = (whole / "model.safetensors").stat().st_size - (folder / "model.safetensors").stat().st_size
    assert abs(saved - 2 * 64) < 16  # two bytes for each of the 64 numbers
    loaded, _ = load_network(folder, lambda _: Mixed(), made_by="somebody")
    for key, value in net.state_dict().items():
        found = loaded.state_dict()[key]
        assert found.dtype == value.dtype
        if key == "linear.weight":
            torch.testing.assert_close(found, value, rtol=2**-11, atol=6e-8)
            assert not torch.equal(found, value)
        else:
            assert torch.equal(found, value)


def test_the_header_of_a_file_is_kept_by_half_precision(tmp_path: Path) -> None:
    write_tensors(tmp_path / "model.safetensors", {"a": torch.ones(2, 2)}, {"format": "pt"})
    halve_files(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("a").dtype == torch.float16


def test_a_packaged_model_tells_its_origin(tmp_path: Path) -> None:
    folder = packaged(tmp_path / "teacher", mixed(), licence="mit")
    about = read_origin(folder, "teacher")
    assert about is not None
    assert about["licence"] == "mit"
    assert sorted(about["sha256"]) == ["model.json", "model.safetensors", "part/model.json", "part/model.safetensors"]
    assert read_origin(folder / "part") == about
    save_weights(tmp_path / "own", mixed(), {})
    assert read_origin(tmp_path / "own", "teacher") is None


@pytest.mark.parametrize("inside", ["", "part"])
def test_a_packaged_model_that_was_changed_by_hand(inside: str, tmp_path: Path) -> None:
    folder = packaged(tmp_path / "teacher", mixed())
    weights = folder / inside / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    pattern = (
        r"model\.safetensors: expected the file that learn2talk\.json describes \(sha256\), found another content "
    )
    with pytest.raises(BadInput, match=pattern + rf"of {len(data)} bytes\. Restore it from Git or download it again\."):
        load_network(folder / inside, lambda _: Mixed(), made_by="somebody")
    weights.write_bytes(data[:100])
    with pytest.raises(BadInput, match=pattern + "of 100 bytes"):
        load_network(folder / inside, lambda _: Mixed(), made_by="somebody")
    weights.unlink()
    with pytest.raises(BadInput, match=r"expected a file, found nothing. Make it first: git checkout"):
        load_network(folder / inside, lambda _: Mixed(), made_by="somebody")


def test_a_packaged_model_of_another_kind(tmp_path: Path) -> None:
    folder = packaged(tmp_path / "teacher", mixed())
    with pytest.raises(BadInput, match="teacher: expected a model of the kind lipreader, found teacher"):
        read_origin(folder, "lipreader")
    (folder / "learn2talk.json").write_text('{"model": "teacher"}')
    with pytest.raises(BadInput, match=r"learn2talk\.json: expected the name of a model and sha256 of its files"):
        read_origin(folder)


def test_a_description_is_checked_without_torchs_compiler() -> None:
    """Its import takes seconds, and every command that loads a network would wait for it."""
    code = """
import sys
from torch import nn
from learn2talk_core.run.weights import described
def build():
    return nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 5), nn.TransformerDecoderLayer(4, 2), nn.Conv1d(2, 3, 3))
network = described(build, "x", expected="a network", fix="")
assert all(weight.is_meta for weight in network.parameters())
assert [tuple(weight.shape) for weight in network.state_dict().values()][:3] == [(3, 4), (5, 4), (5,)]
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("build", [reader_of_all_kinds, syncnet_of_all_kinds])
def test_a_folded_network_computes_the_same_without_batch_norms(build: Callable[[], tuple[nn.Module, Any]]) -> None:
    torch.manual_seed(0)
    network, run = build()
    for module in network.modules():
        if isinstance(module, NORMS):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 2)
    frozen(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fast = folded(network)
    assert any(isinstance(module, NORMS) for module in network.modules())
    assert not any(isinstance(module, NORMS) for module in fast.modules())
    assert not any(p.requires_grad for p in fast.parameters())
    torch.testing.assert_close(run(fast), run(network), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
