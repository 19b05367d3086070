"""The one training loop: steps, a progress bar, checkpoints, resume."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from learn2talk_core.run import processes
from learn2talk_core.run.collectives import demand_same, mean_gradients, mean_tensors, mean_values
from learn2talk_core.run.device import enough_memory, run_device
from learn2talk_core.run.precision import networks_in, run_precision
from learn2talk_core.run.progress import log, progress
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.threads import numpy_on_one_thread
from learn2talk_core.training.scratch import Scratch

T = TypeVar("T")
SAVE_SECONDS = 20.0  # minimum time between checkpoints
BLOCK = 20  # steps after which logged values are read from a device other than the CPU, which waits for it
SAVE_RATIO = 20.0  # the same as a multiple of the last save's duration (5 % of the time); the last step is always saved


Row = Mapping[str, float | Tensor]  # named values of a step, to be logged; scalars


class Stateful(Protocol):
    """Anything that a checkpoint contains: a network, an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


@numpy_on_one_thread()
def train(
    step: Callable[[int], Row],
    state: Mapping[str, Stateful],
    *,
    steps: int,
    seed: int,
    scratch: Scratch,
    description: str,
    shown: Sequence[str] = ("loss",),
    lower: str = "batch",
) -> list[dict[str, float]]:
    """Call `step(0) … step(steps - 1)`, with checkpoints and resume.

    `step(i)` makes one update and returns values to log. It must depend only on `i` and `state`: choose the batch with
    `seed.generator(seed, "batch", i)`; torch's global generator (dropout) is seeded here from (seed, i). A run that was
    killed and resumed is then byte-identical to one that was not.

    Networks compute in the run's precision (`run/precision.py`).

    On other devices than the CPU, the values are read in blocks of `BLOCK` steps, and checkpoints are written only
    after a block, so that between them nothing waits for the device.

    With several processes (`run/processes.py`), each calls `step` with its own part of the batch. They start from the
    same weights; `update` averages the gradients. The values that `step` returns are averaged too, and so are the
    networks' buffers: running statistics of batch normalisation, norms of the gradient balance.

    Args:
        step: one update; returns named values, among them `loss`, as numbers or as scalars on the device.
        state: what training changes (networks, optimisers), by name.
        steps: total number of steps.
        seed: seeds torch before every step.
        scratch: where checkpoints go, locked by the caller.
        description: the label of the progress bar.
        shown: values in the progress bar.
        lower: the parameters that determine how much memory a step takes, for the error if it is not enough.

    Returns:
        One row per step: `step` and the values it returned, from the first step on, even if the run was resumed.

    Raises:
        FloatingPointError: the loss is not finite.
        BadInput: not enough memory on the device.
    """
    device, precision = run_device(), run_precision()
    block = 1 if device.type == "cpu" else BLOCK
    history: list[dict[str, float]] = []
    pending: list[Row] = []
    saved = processes.in_turn(scratch.load)
    if saved is not None:
        for name, value in state.items():
            value.load_state_dict(saved["state"][name])
        history = saved["history"]
        log.info("%s: resumed at step %d of %d", description, len(history), steps)
        if (before := saved.get("device", "cpu")) != (now := _place()):
            log.warning(
                "%s: begun on %s and resumed on %s; the result will differ in its bytes from a run without this change",
                description, before, now,
            )  # fmt: skip
    demand_same(scratch.folder.name, len(history), precision)
    networks = [value for value in state.values() if isinstance(value, nn.Module)]
    mean_tensors(p for network in networks for p in network.parameters())
    parent = os.getppid()
    next_save = time.monotonic() + SAVE_SECONDS
    bar = progress(range(len(history), steps), description, total=steps, start=len(history), unit="step")
    for index in bar:
        seed_torch(seed, "step", index, *processes.mark())
        with enough_memory(description, lower), networks_in(precision, device):
            pending.append(step(index))
        mean_tensors(b for network in networks for b in network.buffers())
        if len(pending) < block and index < steps - 1:
            continue
        for row in map(mean_values, read_values(pending)):
            if not math.isfinite(row["loss"]):
                raise FloatingPointError(f"{description}: the loss is {row['loss']} at step {len(history)}")
            history.append({"step": float(len(history)), **row})
        pending = []
        bar.set_postfix({name: f"{history[-1][name]:.4g}" for name in shown}, refresh=False)
        if time.monotonic() > next_save or index == steps - 1:
            next_save = _save(scratch, state, history)
        if os.getppid() != parent:  # dvc was killed: another run may need this folder
            _save(scratch, state, history)
            raise KeyboardInterrupt(f"{description}: the process that started this training is gone")
    return history


def _save(scratch: Scratch, state: Mapping[str, Stateful], history: list[dict[str, float]]) -> float:
    """Save a checkpoint; return when the next one is due, in `time.monotonic()`."""
    began = time.monotonic()
    states = {name: value.state_dict() for name, value in state.items()}
    if run_device().type != "cpu":
        states = on_the_cpu(states)
    scratch.save({"state": states, "history": history, "device": _place()})
    ended = time.monotonic()
    return ended + max(SAVE_SECONDS, SAVE_RATIO * (ended - began))


def _place() -> str:
    """Where networks are trained, and in which precision if it is not float32: `cuda`, `cuda, bf16`."""
    device, precision = run_device().type, run_precision()
    return device if precision == "float32" else f"{device}, {precision}"


def on_the_cpu(state: Any) -> Any:
    """Containers of tensors, with the tensors on the CPU. Waits for the device."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, Mapping):
        return {key: on_the_cpu(value) for key, value in state.items()}
    return [on_the_cpu(value) for value in state] if isinstance(state, list) else state


def read_values(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Rows of values as Python's numbers. Waits for the device, once for all of them."""
    scalars = [value.detach().double() for row in rows for value in row.values() if isinstance(value, Tensor)]
    known = iter(torch.stack(scalars).tolist() if scalars else ())
    return [{name: next(known) if isinstance(v, Tensor) else v for name, v in row.items()} for row in rows]


def update(
    loss: torch.Tensor, optimizer: torch.optim.Optimizer, *, learning_rate: float | None = None, clip: float = 1.0
) -> None:
    """One step of `optimizer` on the gradient of `loss`, with the gradient's norm clipped to `clip`.

    With several processes, each has the loss of its own part of the batch, and the step uses the mean gradient.
    """
    if learning_rate is not None:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    mean_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


def warmup_cosine(step: int, steps: int, peak: float, *, warmup: float = 0.1, floor: float = 0.01) -> float:
    """Learning rate at `step`: linear from 0 to `peak` over the first fraction `warmup` of the steps, then a cosine
    down to `floor * peak` at the last step."""
    rise = max(1.0, warmup * steps)
    if step < rise:
        return peak * (step + 1) / rise
    phase = min(1.0, (step - rise) / max(1.0, steps - 1 - rise))
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * phase)))


def made_ahead(make: Callable[[int], T]) -> Callable[[int], T]:
    """`make`, which computes its value for i + 1 in another thread while the caller works with that for i.

    For batches that depend only on the step, and that NumPy and OpenCV make without Python's lock.
    """
    thread, waiting = ThreadPoolExecutor(1), dict[int, Future[T]]()

    def get(index: int) -> T:
        now = waiting.pop(index, None) or thread.submit(make, index)
        waiting.clear()
        waiting[index + 1] = thread.submit(make, index + 1)
        return now.result()

    return get


def beside_the_step(make: Callable[[int], T]) -> Callable[[int], T]:
    """`make` on the CPU; `made_ahead(make)` for another device, which computes while data is prepared."""
    return make if run_device().type == "cpu" else made_ahead(make)


def write_curve(history: list[dict[str, float]], path: str, *, rows: int = 200) -> None:
    """Write the training curve as CSV, averaged over intervals of equal length so that it has at most `rows` rows."""
    import pandas as pd

    from learn2talk_core.run.files import whole_file

    table = pd.DataFrame(history)
    stretch = max(1, math.ceil(len(table) / rows))
    table = table.groupby(table.index // stretch).mean()
    with whole_file(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6g")
