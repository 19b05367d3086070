"""The roll-out as a GPU repeats it, on the CPU: the same step, called again and again instead of replayed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from learn2talk_core.models.periodic_attention import distance_bias
from learn2talk_core.models.students.faceformer import graphed
from learn2talk_core.models.students.faceformer.graphed import graphed_states, repeat_as_graph
from learn2talk_core.models.students.faceformer.network import Alignment, FaceFormer
from tests.models.students.faceformer.test_network import naive_roll_out, small


def repeated(step: Callable[[], None], times: int) -> None:
    for _ in range(times):
        step()


@torch.no_grad()
def states(model: FaceFormer, audio: Tensor, style: Tensor) -> Tensor:
    memory, style = model.audio_feature_map(audio), model.obj_vector(style)
    transition, offset = model.transition()
    positions = model.PPE.pe[0, : model.period]
    bias = distance_bias(audio.shape[1] // model.audio_rate, model.period, model.heads).flip(1)
    constant = (offset + style)[:, None] + positions
    alignment = Alignment(model, memory)
    return graphed_states(model, alignment, transition, style + positions[0], constant, bias, repeat=repeated)


@pytest.mark.parametrize("rate", [1, 2])
def test_it_is_the_loop_through_vertices(rate: int) -> None:
    model = small(rate)
    audio, style = torch.randn(1, rate * 13, 10), torch.tensor([[0.0, 1.0, 0.0]])
    found = model.displacement(states(model, audio, style))
    torch.testing.assert_close(found, naive_roll_out(model, audio, style), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("rate", [1, 2])
def test_a_batch_equals_the_roll_out_with_gradient(rate: int) -> None:
    model = small(rate)
    audio, style = torch.randn(3, rate * 40, 10), torch.eye(3)
    torch.testing.assert_close(states(model, audio, style), model.states(audio, style), atol=2e-5, rtol=1e-5)


class FakeCUDA:
    """A GPU whose recording may fail, and which notes what is executed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: str = "") -> None:
        self.recording, self.error = False, error
        self.done: list[str] = []
        for name in ("Stream", "current_stream", "CUDAGraph"):
            monkeypatch.setattr(graphed.torch.cuda, name, lambda: self)
        monkeypatch.setattr(graphed.torch.cuda, "stream", lambda _: self.context())
        monkeypatch.setattr(graphed.torch.cuda, "graph", lambda graph, **_: self.context(records=True))

    def wait_stream(self, other: Any) -> None:
        assert other is self

    @contextmanager
    def context(self, records: bool = False) -> Iterator[None]:
        self.recording = records
        yield
        self.recording = False
        if records and self.error:
            raise RuntimeError(self.error)

    def synchronize(self) -> None:
        self.done.append("wait")

    def replay(self) -> None:
        self.done.append("replay")

    def step(self) -> None:
        if not self.recording:
            self.done.append("step")


@pytest.mark.parametrize("times", [0, 1, 5])
def test_the_first_step_is_called_and_the_others_are_replayed(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    gpu = FakeCUDA(monkeypatch)
    repeat_as_graph(gpu.step, times)
    assert gpu.done == ([*["step", *["replay"] * 4][:times], "wait"] if times else [])


def test_a_recording_that_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    gpu = FakeCUDA(monkeypatch, error="operation not permitted when stream is capturing\nmore")
    with caplog.at_level("INFO"):
        repeat_as_graph(gpu.step, 4)
    assert gpu.done == [*["step"] * 4, "wait"]
    assert "the roll-out runs without a CUDA graph: operation not permitted when stream is capturing" in caplog.text
