"""Networks on disk: descriptions are checked before a network is built, and the check has no side effects."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import check_description, load_network, save_weights


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
