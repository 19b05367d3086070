"""FaceFormer's roll-out on a GPU, without gradient: the kernels of one frame are launched at once, as a CUDA graph.

A frame is some thirty small kernels. Launched one by one from Python, they take longer than the GPU needs for them. A
graph repeats exactly what it has recorded, on the same memory. So the number of the frame is a tensor, the keys and
values of all frames have their place from the start, and the bias hides those that are not there yet.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from learn2talk_core.run.progress import log

if TYPE_CHECKING:
    from learn2talk_core.models.students.faceformer.network import Alignment, FaceFormer


@torch.no_grad()
def graphed_states(
    model: "FaceFormer",
    alignment: "Alignment",
    transition: Tensor,
    first: Tensor,
    constant: Tensor,
    bias: Tensor,
    *,
    repeat: Callable[[Callable[[], None], int], None] | None = None,
) -> Tensor:
    """The states (B, T, d) of a roll-out; they equal those of `FaceFormer._states` up to rounding.

    Args:
        model: in evaluation mode.
        alignment: of the audio features.
        transition, first, constant: A (d, d), the first tokens (B, d), and what is added to A h in each phase of the
            period (B, period, d), all with positions.
        bias: attention bias (heads, T) at distances T - 1 … 0.
        repeat: calls a function so many times, see `repeat_as_graph` (default).
    """
    heads, frames = bias.shape
    batch, width = first.shape
    token = first.clone()
    states = first.new_zeros(batch, frames, width)
    keys, values = first.new_zeros(2, batch * heads, frames, width // heads)
    # the row of frame t, at past frames 0 … T - 1, is a stretch of this; frames after t are hidden
    biases = torch.cat((bias, torch.full_like(bias, float("-inf"))), dim=1).repeat(batch, 1)[:, None]
    past = torch.arange(frames, device=first.device) + frames - 1
    t = torch.zeros(1, dtype=torch.long, device=first.device)

    def step() -> None:
        query, key, value = model._in_projection(token)
        keys.index_copy_(1, t, key)
        values.index_copy_(1, t, value)
        attended = model._attend(query, keys, values, biases.index_select(2, past - t))
        state = model._after_attention(token, attended, alignment, t)
        states.index_copy_(1, t, state[:, None])
        t.add_(1)
        added = constant.index_select(1, t % model.period)[:, 0]
        token.copy_(torch.addmm(added, state, transition.T))

    (repeat or repeat_as_graph)(step, frames)
    return states


def repeat_as_graph(step: Callable[[], None], times: int) -> None:
    """Call `step` so many times; on CUDA it is recorded once and replayed. It must depend on tensors alone, and change
    them in place.

    What is recorded is not executed, so a recording that fails has changed nothing: then `step` is called instead.
    """
    if times == 0:
        return
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # the first frame; libraries that start now cannot start in a recording
        step()
    torch.cuda.current_stream().wait_stream(stream)
    again: Callable[[], None] = step
    try:
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.stream(torch.cuda.current_stream()),  # a recording that fails leaves its own stream behind
            torch.cuda.graph(graph, capture_error_mode="thread_local"),  # other threads may use the GPU meanwhile
        ):
            step()
        again = graph.replay
    except RuntimeError as error:
        log.info("the roll-out runs without a CUDA graph: %s", str(error).splitlines()[0])
    for _ in range(times - 1):
        again()
    torch.cuda.current_stream().synchronize()  # the graph and its memory must live until it has run
