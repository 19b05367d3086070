from types import SimpleNamespace

import pytest
import torch

from learn2talk_core.run import device as module
from learn2talk_core.run.device import (
    VARIABLE,
    device_for_each,
    device_name,
    device_of,
    enough_memory,
    run_device,
    sent,
    using,
)
from learn2talk_core.run.errors import BadInput


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int, wanted: str | None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if wanted is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, wanted)


@pytest.mark.parametrize(
    ("count", "wanted", "found"),
    [
        (0, None, "cpu"), (0, "auto", "cpu"), (0, "", "cpu"), (2, "cpu", "cpu"),
        (1, None, "cuda"), (1, "auto", "cuda"), (2, "cuda", "cuda"), (2, "cuda:1", "cuda:1"),
    ],
)  # fmt: skip
def test_the_variable_chooses(count: int, wanted: str | None, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, count, wanted)
    assert run_device() == torch.device(found)


@pytest.mark.parametrize(
    ("count", "wanted", "message"),
    [
        (0, "cuda", r"LEARN2TALK_DEVICE: expected a GPU for cuda, found no GPU that torch can use\. Unset it, or"),
        (1, "cuda:1", r"expected a GPU for cuda:1, found 1 GPUs that torch can use\."),
        (1, "gpu", r"expected auto, cpu, cuda, or cuda:1, found gpu\. Change it, or unset it\."),
    ],
)
def test_a_device_that_is_not_there(count: int, wanted: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, count, wanted)
    with pytest.raises(BadInput, match=message):
        run_device()


def test_each_process_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 2, None)
    assert device_for_each(2).type == "cuda"
    assert device_for_each(3).type == "cpu"
    with_gpus(monkeypatch, 2, "cuda")
    with pytest.raises(BadInput, match=r"expected a GPU for each of 3 processes, found 2\. Start 2, or set LEARN2TALK"):
        device_for_each(3)


def test_using_is_nested_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 0, "cuda")
    with using("cpu"):
        with pytest.raises(RuntimeError, match="on purpose"), using("meta"):
            assert run_device().type == "meta"
            raise RuntimeError("on purpose")
        assert run_device().type == "cpu"
    with pytest.raises(BadInput):
        run_device()


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor, network = torch.arange(3), torch.nn.Linear(2, 2)
    assert sent(tensor, torch.device("cpu")) is tensor
    assert device_of(network) == torch.device("cpu")
    assert device_name(torch.device("cpu")) == "cpu"


@pytest.mark.parametrize(
    ("own", "advice"),
    [
        (60e9, r"has 60\.0 and others 10\.0\. Lower batch\."),
        (
            2e9,
            r"has 2\.0 and others 68\.0\. Wait for the other processes, choose another GPU \(LEARN2TALK_DEVICE=",
        ),
    ],
)
def test_too_little_memory_says_what_to_lower(own: float, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "device_name", lambda _: "a GPU")
    cuda = SimpleNamespace(mem_get_info=lambda _: (10e9, 80e9), memory_reserved=lambda _: own)
    monkeypatch.setattr(module.torch, "cuda", cuda)
    with pytest.raises(BadInput, match=r"syncnet3d loss: expected enough memory on a GPU, found 80\.0 GB, .*" + advice):
        with using("cuda"), enough_memory("syncnet3d loss", "batch"):
            raise torch.OutOfMemoryError("CUDA out of memory")
