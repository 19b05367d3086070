"""The device of a run: where networks are trained, predict and judge.

It belongs to the run, not to its parameters: `LEARN2TALK_DEVICE` is `auto` (CUDA if there is a GPU, otherwise the CPU),
`cpu`, `cuda`, or one of several GPUs, `cuda:1`. Trainings, `predict` and `evaluate` ask `run_device`; everything below
them computes where its network or its tensors are.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from learn2talk_core.run.errors import BadInput

VARIABLE = "LEARN2TALK_DEVICE"
OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED")  # in the messages of CUDA and its libraries
_inside: torch.device | None = None  # the device of the innermost `using`


def run_device() -> torch.device:
    """The device of this run.

    Raises:
        BadInput: another word in `LEARN2TALK_DEVICE`, or a GPU that torch does not see.
    """
    if _inside is not None:
        return _inside
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if wanted != "auto" and not re.fullmatch(r"cuda(:\d{1,4})?", wanted):
        raise BadInput(VARIABLE, expected="auto, cpu, cuda, or cuda:1", found=wanted, fix="Change it, or unset it.")
    device = torch.device("cuda" if wanted == "auto" else wanted)
    if (count := torch.cuda.device_count()) <= (device.index or 0):
        found = f"{count} GPUs that torch can use" if count else "no GPU that torch can use"
        fix = "Unset it, or install a driver and a torch that were built for this GPU (nvidia-smi shows it)."
        raise BadInput(VARIABLE, expected=f"a GPU for {wanted}", found=found, fix=fix)
    return device


def device_for_each(processes: int) -> torch.device:
    """The kind of device for several processes of one machine: CUDA only if each gets a GPU of its own.

    Raises:
        BadInput: `LEARN2TALK_DEVICE` asks for CUDA, and there are fewer GPUs.
    """
    device = run_device()
    if device.type == "cpu" or (count := torch.cuda.device_count()) >= processes:
        return device
    if os.environ.get(VARIABLE, "auto") == "auto":
        return torch.device("cpu")
    expected, fix = f"a GPU for each of {processes} processes", f"Start {count}, or set {VARIABLE}=cpu."
    raise BadInput(VARIABLE, expected=expected, found=f"{count}", fix=fix)


@contextmanager
def using(device: torch.device | str) -> Iterator[None]:
    """Make `device` the run's device inside the block, whatever the variable says."""
    global _inside
    before, _inside = _inside, torch.device(device)
    try:
        yield
    finally:
        _inside = before


def device_name(device: torch.device) -> str:
    """`cpu`, or the GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def device_of(network: nn.Module) -> torch.device:
    """Where the weights of `network` are."""
    return next(network.parameters()).device


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, without waiting for it: through pinned memory to CUDA; the same tensor if it is there."""
    if tensor.device == device or device.type == "cpu":
        return tensor.to(device)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


@contextmanager
def enough_memory(where: str, lower: str) -> Iterator[None]:
    """Inside the block, raise `BadInput` if the device runs out of memory, or has none left for this process.

    Args:
        where: what was computed.
        lower: the parameter to lower, for the message.
    """
    try:
        yield
    except RuntimeError as error:
        device = run_device()
        if device.type == "cpu" or not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        name, found, fix = f"{device}", "none that is free", f"Lower {lower}."
        filled = True  # so much that CUDA, or a library of it, could not even start
        if isinstance(error, torch.OutOfMemoryError):
            free, total = torch.cuda.mem_get_info(device)
            own = torch.cuda.memory_reserved(device)
            others = max(0, total - free - own)
            found = f"{total / 1e9:.1f} GB, of which this process has {own / 1e9:.1f} and others {others / 1e9:.1f}"
            name, filled = device_name(device), others > own
        if filled:
            fix = f"Wait for the other processes, choose another GPU ({VARIABLE}=cuda:1), or lower {lower}."
        raise BadInput(where, expected=f"enough memory on {name}", found=found, fix=fix) from error
