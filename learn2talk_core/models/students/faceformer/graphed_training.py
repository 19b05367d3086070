"""FaceFormer's roll-out with gradient on a GPU: the kernels of all frames, and of the way back, as two CUDA graphs.

For a clip of 4 s they are some 8,000 small kernels, which Python and autograd launch more slowly than the GPU computes
them. A graph repeats exactly what it has recorded, on the same memory, so there is one pair of graphs for each size of
a batch. Lengths are rounded up, which changes nothing: no frame depends on later ones.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learn2talk_core.run.progress import log

if TYPE_CHECKING:
    from learn2talk_core.models.students.faceformer.network import FaceFormer

LENGTHS = 32  # frames; the lengths of graphs are its multiples
LONGEST = 640  # frames of the longest graph; a longer clip is rolled out without
MOST = 24  # pairs of graphs that are kept; each keeps what its way back needs

RollOutStates = Callable[..., Tensor]  # tensors → a tensor


class RecordedRollOut:
    """`run` for arguments of these shapes, recorded with its gradient. A call must be followed by its way back before
    the next call, because both use the same memory.

    Args:
        run: depends on its arguments and on `parameters` alone.
        arguments: an example; those that require a gradient get one.
        parameters: other tensors that get a gradient. They must stay where they are in memory.
    """

    def __init__(self, run: RollOutStates, arguments: Sequence[Tensor], parameters: Sequence[Tensor]) -> None:
        self.given = [x.detach().clone().requires_grad_(x.requires_grad) for x in arguments]
        wanted = [x for x in (*self.given, *parameters) if x.requires_grad]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # once before: libraries that start now cannot start in a recording
            torch.autograd.grad(run(*self.given).sum(), wanted, allow_unused=True)
        torch.cuda.current_stream().wait_stream(stream)
        self.there, self.back = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        mode = "thread_local"  # other threads load the next batch meanwhile
        with torch.cuda.stream(torch.cuda.current_stream()):  # a recording that fails leaves its own stream behind
            with torch.cuda.graph(self.there, capture_error_mode=mode):
                output = run(*self.given)
            self.of_output = torch.ones_like(output)
            with torch.cuda.graph(self.back, pool=self.there.pool(), capture_error_mode=mode):
                found = torch.autograd.grad(output, wanted, self.of_output, allow_unused=True)
        self.output = output.detach()  # without the history, which belongs to the recording's stream
        gradients = iter(found)
        self.gradients = [next(gradients) if x.requires_grad else None for x in (*self.given, *parameters)]
        self.parameters = parameters

    def __call__(self, *arguments: Tensor) -> Tensor:
        output: Tensor = _Replay.apply(self, *arguments, *self.parameters)
        return output


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recording: RecordedRollOut, *tensors: Tensor) -> Tensor:
        ctx.recording = recording
        with torch.no_grad():
            for own, x in zip(recording.given, tensors, strict=False):
                own.copy_(x)
        recording.there.replay()
        return recording.output.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_output: Tensor) -> tuple[Tensor | None, ...]:
        ctx.recording.of_output.copy_(of_output)
        ctx.recording.back.replay()
        return None, *(None if x is None else x.clone() for x in ctx.recording.gradients)


Record = Callable[[RollOutStates, Sequence[Tensor], Sequence[Tensor]], RollOutStates]
_recordings: WeakKeyDictionary[nn.Module, dict[Any, RollOutStates]] = WeakKeyDictionary()
_without: WeakSet[nn.Module] = WeakSet()  # of these a recording has failed


def graphed_training_states(
    model: "FaceFormer",
    memory: Tensor,
    transition: Tensor,
    first: Tensor,
    constant: Tensor,
    *,
    record: Record = RecordedRollOut,
) -> Tensor:
    """The states (B, T, d) of a roll-out, with gradient; they equal those of `FaceFormer._states` up to rounding.

    Args:
        model: its dropout is drawn anew in each call.
        memory: mapped audio features (B, audio_rate * T, d).
        transition, first, constant: A (d, d), the first tokens (B, d), and what is added to A h in each phase of the
            period (B, period, d), all with positions.
        record: records a function for the shapes of its arguments; see `RecordedRollOut`.
    """
    frames = memory.shape[1] // model.audio_rate
    padded = -(-frames // LENGTHS) * LENGTHS
    recordings = _recordings.setdefault(model, {})
    parameters = tuple(model.transformer_decoder.parameters())
    # what a graph has fixed, besides the shapes: the mode, the number of the random draws, and where the weights are
    key = padded, len(memory), model.training, model.dropout, memory.dtype, *(x.data_ptr() for x in parameters)
    full = key not in recordings and len(recordings) == MOST
    if padded > LONGEST or full or model in _without:
        return model._states(memory, transition, first, constant, model.bias(frames, memory))
    memory = F.pad(memory[:, : frames * model.audio_rate], (0, 0, 0, (padded - frames) * model.audio_rate))
    arguments = (memory, transition, first, constant, model.bias(padded, memory))
    if key not in recordings:
        try:
            with torch.random.fork_rng(_devices(memory)):  # a step draws the same numbers, whether it records or not
                recordings[key] = record(model._states, arguments, parameters)
        except RuntimeError as error:
            log.warning("the roll-out is trained without a CUDA graph: %s", str(error).splitlines()[0])
            _without.add(model)
            return model._states(*arguments)[:, :frames]
    return recordings[key](*arguments)[:, :frames]


def _devices(x: Tensor) -> list[torch.device]:
    return [x.device] if x.device.type == "cuda" else []
