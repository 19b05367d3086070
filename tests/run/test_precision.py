from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from learn2talk_core.run import precision as module
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.precision import VARIABLE, full_precision, networks_in, run_precision

CPU = torch.device("cpu")


class Network(nn.Module):
    """Notes the type of a product inside it; returns what transformers and others return."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.seen: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Any:
        y = self.inner(x)
        self.seen.append(y.dtype)
        return BaseModelOutput(last_hidden_state=y), (y, [y.float(), None, 1])


def global_hooks() -> int:
    hooks = nn.modules.module
    return len(hooks._global_forward_pre_hooks) + len(hooks._global_forward_hooks)


@pytest.mark.parametrize(
    ("said", "meant"), [(None, "float32"), ("", "float32"), ("float32", "float32"), ("bf16", "bf16")]
)
def test_the_variable_chooses(said: str | None, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if said is not None:
        monkeypatch.setenv(VARIABLE, said)
    assert run_precision() == meant


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "fp16")
    message = r"LEARN2TALK_PRECISION: expected float32 or bf16, found fp16\. Change it, or unset it\."
    with pytest.raises(BadInput, match=message):
        run_precision()


def test_a_gpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(module, "device_name", lambda _: "an old GPU")
    with pytest.raises(BadInput, match=r"expected a GPU with bfloat16, found an old GPU\. Unset LEARN2TALK_PRECISION"):
        with networks_in("bf16", torch.device("cuda")):
            pass


def test_float32_changes_nothing() -> None:
    network = Network()
    with networks_in("float32", CPU):
        assert global_hooks() == 0
        network(torch.ones(1, 3))
    assert network.seen == [torch.float32]


def test_networks_compute_in_bfloat16_and_return_float32() -> None:
    network, x = Network(), torch.ones(1, 3)
    with networks_in("bf16", CPU):
        output, (y, (copy, *others)) = network(x)
        assert (x @ x.T).dtype == torch.float32  # outside a network
        assert network.inner(x).dtype == torch.float32
    assert network.seen == [torch.bfloat16]
    assert {part.dtype for part in (output.last_hidden_state, y, copy)} == {torch.float32}
    assert others == [None, 1]
    y.sum().backward()
    assert network.inner.weight.grad is not None
    assert network.inner.weight.grad.dtype == torch.float32
    assert global_hooks() == 0


@contextmanager
def nothing_else() -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("inside", "seen"),
    [(nothing_else, torch.bfloat16), (torch.no_grad, torch.float32), (full_precision, torch.float32)],
)
def test_what_stays_in_float32(inside: Any, seen: torch.dtype) -> None:
    network = Network()
    with networks_in("bf16", CPU):
        with inside():
            network(torch.ones(1, 3))
        network(torch.ones(1, 3))
    assert network.seen == [seen, torch.bfloat16]


def test_an_error_in_a_network_leaves_nothing_behind() -> None:
    network = Network()
    with networks_in("bf16", CPU):
        with pytest.raises(RuntimeError, match="shapes"):
            network(torch.ones(1, 4))
        assert not torch.is_autocast_enabled("cpu")
        network(torch.ones(1, 3))
    assert network.seen == [torch.bfloat16]
    assert global_hooks() == 0
