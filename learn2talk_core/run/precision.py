"""The precision in which networks are trained.

Like the device, it belongs to the run: `LEARN2TALK_PRECISION` is `float32` (the default) or `bf16`, mixed precision.
Then what a network computes while it is called, with gradient, follows `torch.autocast`: products in bfloat16, weights
and sums in float32. It returns float32. Everything outside a network stays float32: losses and their cosines and
logarithms, rendering, the map from states to vertices, gradients of weights, the optimiser. So does what has no
gradient, such as targets and validation.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from learn2talk_core.run.device import device_name
from learn2talk_core.run.errors import BadInput

VARIABLE = "LEARN2TALK_PRECISION"
PRECISIONS = ("float32", "bf16")
_full = False  # inside `full_precision`


def run_precision() -> str:
    """The precision of this run's trainings, `float32` or `bf16`.

    Raises:
        BadInput: another word in `LEARN2TALK_PRECISION`.
    """
    wanted = os.environ.get(VARIABLE) or "float32"
    if wanted not in PRECISIONS:
        raise BadInput(VARIABLE, expected="float32 or bf16", found=wanted, fix="Change it, or unset it.")
    return wanted


@contextmanager
def networks_in(precision: str, device: torch.device) -> Iterator[None]:
    """Inside the block, networks on `device` compute in `precision`, one of `PRECISIONS`.

    Autocast is on within the call of a module that no other module calls, and nowhere else.

    Raises:
        BadInput: a GPU without bfloat16.
    """
    if precision == "float32":
        yield
        return
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        fix = f"Unset {VARIABLE}, or use a GPU of the Ampere generation (2020) or a newer one."
        raise BadInput(VARIABLE, expected="a GPU with bfloat16", found=device_name(device), fix=fix)
    # Kept copies of weights would save little within one call, and those made without gradient would have none.
    autocast = torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
    began: list[bool] = []  # for each module that is being called, whether autocast began with it

    def enter(*_: Any) -> None:
        began.append(torch.is_grad_enabled() and not _full and True not in began)
        if began[-1]:
            autocast.__enter__()

    def leave(module: nn.Module, given: Any, output: Any) -> Any:
        if not began.pop():
            return None  # as it is
        autocast.__exit__(None, None, None)
        return in_float32(output)

    hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside the block, networks compute in float32: for many small steps in a row, whose errors would add up and whose
    time is not that of their products."""
    global _full
    before, _full = _full, True
    try:
        yield
    finally:
        _full = before


def in_float32(output: Any) -> Any:
    """What a module returned, a tensor or containers of tensors, with bfloat16 as float32."""
    if isinstance(output, Tensor):
        return output.float() if output.dtype == torch.bfloat16 else output
    if isinstance(output, dict):  # and the outputs of transformers
        return type(output)(**{name: in_float32(value) for name, value in output.items()})
    return type(output)(map(in_float32, output)) if isinstance(output, tuple | list) else output
