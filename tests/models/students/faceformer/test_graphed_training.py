"""The roll-out with gradient as a GPU repeats it, on the CPU: without graphs, and with imitated ones."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from learn2talk_core.models.students.faceformer import graphed_training
from learn2talk_core.models.students.faceformer.graphed_training import (
    LENGTHS,
    RecordedRollOut,
    graphed_training_states,
)
from learn2talk_core.models.students.faceformer.network import FaceFormer
from tests.models.students.faceformer.test_network import small

RollOutStates = Callable[..., Tensor]


class Recorder:
    """Records nothing, but notes for which shapes it was asked to."""

    def __init__(self, error: str = "") -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.error = error

    def __call__(self, run: RollOutStates, arguments: Sequence[Tensor], parameters: Sequence[Tensor]) -> RollOutStates:
        self.shapes.append(tuple(arguments[0].shape))
        torch.rand(3)  # as a recording with dropout
        if self.error:
            raise RuntimeError(self.error)
        return run


def states(model: FaceFormer, audio: Tensor, style: Tensor, record: Any) -> Tensor:
    memory, style = model.audio_feature_map(audio), model.obj_vector(style)
    transition, offset = model.transition()
    positions = model.PPE.pe[0, : model.period]
    constant = (offset + style)[:, None] + positions
    return graphed_training_states(model, memory, transition, style + positions[0], constant, record=record)


def gradients(model: FaceFormer, found: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    found.square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("rate", [1, 2])
def test_states_and_gradients_are_those_without_graphs(rate: int) -> None:
    model, record = small(rate).train(), Recorder()
    model.dropout = 0.0
    audio, style = torch.randn(2, rate * (LENGTHS + 3) + rate - 1, 10), torch.eye(3)[:2]
    plain = model.states(audio, style)
    found = states(model, audio, style, record)
    assert found.shape == (2, LENGTHS + 3, 16)
    torch.testing.assert_close(found, plain, atol=2e-5, rtol=1e-5)
    known, own = gradients(model, plain), gradients(model, found)
    assert {"transformer_decoder.layers.0.linear1.weight", "audio_feature_map.weight"} <= known.keys() == own.keys()
    for name, gradient in known.items():
        torch.testing.assert_close(own[name], gradient, atol=1e-4, rtol=1e-4)
    assert record.shapes == [(2, 2 * LENGTHS * rate, 16)]


def test_one_recording_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphed_training, "MOST", 3)
    model, record = small().train(), Recorder()

    def run(frames: int, batch: int = 1) -> int:
        states(model, torch.randn(batch, frames, 10), torch.eye(3)[:batch], record)
        return len(record.shapes)

    assert [run(LENGTHS), run(LENGTHS - 7), run(LENGTHS + 1), run(LENGTHS, batch=2)] == [1, 1, 2, 3]
    assert run(5 * LENGTHS) == 3  # no more than MOST
    assert run(graphed_training.LONGEST + 1) == 3
    assert run(LENGTHS) == 3


def test_weights_that_have_moved_are_recorded_anew() -> None:
    model, record = small().train(), Recorder()
    audio, style = torch.randn(1, 5, 10), torch.eye(3)[:1]
    states(model, audio, style, record)
    model.transformer_decoder.layers[0].linear1.weight.data = torch.zeros(32, 16)
    states(model, audio, style, record)
    assert len(record.shapes) == 2


def test_dropout_draws_the_same_numbers_in_a_step_that_records() -> None:
    model, record = small(dropout=0.5).train(), Recorder()
    audio, style = torch.randn(1, 5, 10), torch.eye(3)[:1]
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append(states(model, audio, style, record))
    assert len(record.shapes) == 1
    assert torch.equal(runs[0], runs[1])


def test_a_recording_that_fails_is_said_once_and_done_without(caplog: pytest.LogCaptureFixture) -> None:
    model, record = small(), Recorder(error="operation not permitted when stream is capturing\nmore")
    audio, style = torch.randn(1, 5, 10), torch.eye(3)[:1]
    for _ in range(2):
        torch.testing.assert_close(
            states(model, audio, style, record), model.states(audio, style), atol=2e-5, rtol=1e-5
        )
    text = "the roll-out is trained without a CUDA graph: operation not permitted when stream is capturing"
    assert caplog.messages == [text]


class ImitatedGraphs:
    """What a recording executes is its result; a replay only notes that it would compute it again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        cuda = graphed_training.torch.cuda
        for name in ("Stream", "current_stream"):
            monkeypatch.setattr(cuda, name, lambda: self)
        monkeypatch.setattr(cuda, "stream", lambda _: self.block("stream"))
        monkeypatch.setattr(cuda, "CUDAGraph", self.Graph)
        monkeypatch.setattr(cuda, "graph", lambda graph, **named: self.block(graph.begin(self.done, named)))

    def wait_stream(self, other: Any) -> None:
        assert other is self

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        self.done.append(name)
        yield

    class Graph:
        def begin(self, done: list[str], named: dict[str, Any]) -> str:
            assert named["capture_error_mode"] == "thread_local"
            self.done = done
            self.name = "back" if "pool" in named else "there"
            return f"record {self.name}"

        def pool(self) -> None:
            return None

        def replay(self) -> None:
            self.done.append(self.name)


def test_what_is_recorded_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = ImitatedGraphs(monkeypatch)
    weight = torch.randn(4, requires_grad=True)
    unused = torch.randn(2, requires_grad=True)
    x, fixed = torch.randn(3, 4, requires_grad=True), torch.randn(4)
    recording = RecordedRollOut(lambda x, fixed: weight * x * x + fixed, [x, fixed], [weight, unused])
    assert graphs.done == ["stream", "stream", "record there", "record back"]
    found = recording(x, fixed)
    torch.testing.assert_close(found, weight * x * x + fixed)
    (3 * found).sum().backward()
    assert graphs.done[4:] == ["there", "back"]
    assert (recording.of_output == 3).all()  # what the way back would be computed from
    torch.testing.assert_close(x.grad, (2 * weight * x).detach())
    torch.testing.assert_close(weight.grad, x.detach().square().sum(0))
    assert unused.grad is None
    assert fixed.grad is None
    # the memory of the graphs is their own
    other = torch.randn(3, 4, requires_grad=True)
    recording(other, fixed)
    assert torch.equal(recording.given[0], other)
    assert recording.given[0].data_ptr() != other.data_ptr()
    weight.grad.zero_()
    assert recording.gradients[2] is not None
    assert recording.gradients[2].abs().sum() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_graphs_on_a_gpu() -> None:
    model = small().train()
    model.dropout = 0.0
    for frames in (LENGTHS + 3, 7, LENGTHS + 5):  # two sizes; the last is a replay
        audio, style = torch.randn(2, frames, 10), torch.eye(3)[:2]
        model.cpu()
        plain = model.states(audio, style)
        known = gradients(model, plain)
        model.cuda()
        found = model.states(audio.cuda(), style.cuda())
        torch.testing.assert_close(found.cpu(), plain, atol=1e-4, rtol=1e-4)
        for name, gradient in gradients(model, found).items():
            torch.testing.assert_close(gradient.cpu(), known[name], atol=1e-3, rtol=1e-3)
