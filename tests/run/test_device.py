import sys
from types import SimpleNamespace

import pytest
import torch

from learn2talk_core.run import device as module
from learn2talk_core.run import stage
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


@pytest.mark.parametrize("error", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"])
def test_a_gpu_on_which_cuda_cannot_even_start(error: str) -> None:
    """Nothing more is asked of it, because that would fail in the same way."""
    with pytest.raises(BadInput, match=r"predict: expected enough memory on cuda:1, found none that is free\. Wait"):
        with using("cuda:1"), enough_memory("predict", "workers"):
            raise RuntimeError(error)


def test_other_errors_stay_as_they_are() -> None:
    for device, text in (("cuda", "CUDA error: an illegal memory access"), ("cpu", "out of memory")):
        with pytest.raises(RuntimeError, match=text), using(device), enough_memory("predict", "workers"):
            raise RuntimeError(text)


def test_a_stage_says_so_wherever_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also outside of steps, such as when the weights are sent to a GPU that others fill."""
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", SimpleNamespace(name="stages.evaluate"))
    monkeypatch.setattr(sys, "argv", ["evaluate"])
    monkeypatch.setattr(stage, "load_params", lambda *_: None)
    monkeypatch.setattr(module, "device_name", lambda _: "a GPU")

    def main(_: None) -> str:
        raise RuntimeError("CUDA error: out of memory")

    with using("cuda"), pytest.raises(SystemExit):
        stage.run(main, type(None))
    assert capsys.readouterr().err == (
        "evaluate: evaluate: expected enough memory on cuda, found none that is free. Wait for the other processes, "
        "choose another GPU (LEARN2TALK_DEVICE=cuda:1), or lower its batch sizes or workers in params.yaml.\n"
    )


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
