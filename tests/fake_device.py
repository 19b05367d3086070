"""A device that computes on the CPU but says that it is elsewhere, to test code for accelerators without one.

torch lets Python stand for a device (`privateuse1`, here `fake`). A tensor on it is a `FakeTensor` around a CPU tensor.
As on CUDA, an operation on tensors of both places raises, except that scalars may lie on the CPU; so does `numpy()`.
What makes the program wait for the device is counted by the function of ours that does it: reading a value, copying to
the CPU, an upload that is not `non_blocking`, and operations whose result's shape depends on values.

FakeTensorMode cannot do this: on a CPU build of torch, autograd aborts when it sees a CUDA tensor.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from learn2talk_core.run.device import using
from learn2talk_core.training import loop

ROOT = Path(__file__).parents[1]
OURS = (str(ROOT / "learn2talk_core"), str(ROOT / "stages"))
INDEXING = ("aten.index.", "aten.index_put", "aten._index_put_impl_", "aten._unsafe_index")
SHAPED_BY_VALUES = (
    "aten.nonzero", "aten.masked_select", "aten._unique", "aten.unique", "aten.bincount", "aten.equal.",
)  # fmt: skip
ON_THE_CPU = ("aten._ctc_loss",)  # their lengths, on CUDA too
_waits: Counter[str] = Counter()
_within = ""


# When a module of tests is imported: autograd does not know a device that comes after its first backward pass.
_setup_privateuseone_for_python_backend("fake")
DEVICE = torch.device("fake:0")


@contextmanager
def fake_device(within: str = "") -> Iterator[Counter[str]]:
    """Make the fake device the run's device inside the block.

    Args:
        within: count only while this function of ours runs, such as `training/loop.py: train`.

    Yields:
        How often each function waited for the device: `training/loop.py: read_values` → 3.
    """
    global _within
    _waits.clear()
    _within = within
    tensor = torch.Tensor
    before = {name: getattr(tensor, name) for name in ("numpy", "tolist", "__array__")}
    makers = {name: getattr(torch, name) for name in ("tensor", "as_tensor")}
    try:
        with (
            using(DEVICE),
            _Everywhere(),
            mock.patch.object(loop, "ThreadPoolExecutor", _AtOnce),
            mock.patch.object(torch._VF, "lstm", _lstm(torch._VF.lstm)),
        ):
            tensor.numpy = _without_numpy(before["numpy"])  # type: ignore[method-assign]
            tensor.__array__ = _without_numpy(before["__array__"])  # type: ignore[method-assign]
            tensor.tolist = _reading(before["tolist"])  # type: ignore[method-assign]
            for name, make in makers.items():
                setattr(torch, name, _made_on_the_device(make))
            yield _waits
    finally:
        for name, value in before.items():
            setattr(tensor, name, value)
        for name, value in makers.items():
            setattr(torch, name, value)


def waits_outside(waits: Counter[str], places: set[str]) -> dict[str, int]:
    """How often the program waited for the device at other places than these."""
    return {place: count for place, count in waits.items() if place not in places}


class _AtOnce:
    """An executor without threads, which `_Everywhere` would not see."""

    def __init__(self, workers: int) -> None:
        pass

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args))
        return future


class FakeTensor(torch.Tensor):
    """A tensor on the fake device; `held` has its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "FakeTensor":
        self = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=DEVICE,
        )  # fmt: skip
        self.held = held
        return self

    def __repr__(self) -> str:  # type: ignore[override]
        return f"FakeTensor({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Also sees operations without a tensor of the device, such as those that make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = str(func)
    there = any(isinstance(x, FakeTensor) for x in _leaves((*args, *kwargs.values())))
    target = kwargs.get("device")
    if target is not None:
        target = torch.device(target).type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if not there and target != "fake":
        return func(*args, **kwargs)
    copies = name.startswith(("aten._to_copy", "aten.copy_"))
    if name.startswith("aten._local_scalar_dense"):
        _wait()
    elif copies:
        _note_copy(name, args, kwargs, target)
    elif there:
        _refuse_mixture(name, args, kwargs)
        repeats = name.startswith("aten.repeat_interleave") and kwargs.get("output_size") is None
        if repeats or name.startswith(SHAPED_BY_VALUES) or (name.startswith(INDEXING) and _has_mask(args)):
            _wait()
    out = func(*_plain(args), **{key: _plain(value) for key, value in kwargs.items()})
    if name.startswith("aten.copy_"):
        return args[0]
    if target == "cpu" and name.startswith("aten._to_copy"):
        return out
    out = _wrapped(out)
    if not (there and _aliases(func)):
        return out
    try:
        return return_and_correct_aliasing(func, args, kwargs, out)
    except RuntimeError:  # torch cannot say so of every operation
        return out


def _plain(value: Any) -> Any:
    if isinstance(value, FakeTensor):
        return value.held
    return type(value)(map(_plain, value)) if isinstance(value, list | tuple) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value if isinstance(value, FakeTensor) else FakeTensor(value)
    return type(value)(map(_wrapped, value)) if isinstance(value, list | tuple) else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


@cache
def _aliases(func: Any) -> bool:
    """Whether a result of the operation is, or shares memory with, an argument."""
    return any(result.alias_info is not None for result in func._schema.returns)


def _note_copy(name: str, args: Any, kwargs: dict[str, Any], target: str | None) -> None:
    if name.startswith("aten.copy_"):
        target = "fake" if isinstance(args[0], FakeTensor) else "cpu"
        source = args[1]
        blocking = len(args) < 3 or not args[2]
    else:
        source, blocking = args[0], not kwargs.get("non_blocking", False)
    uploads = target == "fake" and not isinstance(source, FakeTensor)
    downloads = target == "cpu" and isinstance(source, FakeTensor)
    if downloads or (uploads and blocking):
        _wait()


def _refuse_mixture(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    operands = _leaves((*args, *kwargs.values()))
    strangers = [x for x in operands if type(x) in (torch.Tensor, nn.Parameter) and x.dim()]
    if strangers and not name.startswith(ON_THE_CPU):
        shapes = ", ".join(str(tuple(x.shape)) for x in strangers)
        where = next(_places(), "elsewhere")
        raise RuntimeError(f"Expected all tensors to be on the same device: {name}, {shapes} on the CPU, at {where}")


def _has_mask(args: Any) -> bool:
    if len(args) > 2 and args[2].numel() == 1:  # x[mask] = number is masked_fill
        return False
    return any(isinstance(x, torch.Tensor) and x.dtype in (torch.bool, torch.uint8) for x in args[1])


def _wait() -> None:
    places = list(_places())
    if not _within or _within in places:
        _waits[places[0] if places else "elsewhere"] += 1


def _places() -> Iterator[str]:
    """The functions of ours that are running, innermost first: `training/loop.py: train`."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(OURS):
            yield f"{code.co_filename.removeprefix(str(ROOT)).removeprefix('/learn2talk_core')[1:]}: {code.co_name}"
        frame = frame.f_back


def _without_numpy(method: Callable[..., Any]) -> Callable[..., Any]:
    def refused(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, FakeTensor):
            raise TypeError(f"can't convert a tensor of the fake device to numpy, at {next(_places(), 'elsewhere')}")
        return method(self, *args, **kwargs)

    return refused


def _reading(method: Callable[..., Any]) -> Callable[..., Any]:
    def read(self: torch.Tensor) -> Any:
        if isinstance(self, FakeTensor):
            _wait()
            return self.held.tolist()
        return method(self)

    return read


def _made_on_the_device(make: Callable[..., Any]) -> Callable[..., Any]:
    """torch.tensor(…, device=fake) allocates where no dispatch reaches; on CUDA it would wait."""

    def made(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Any:
        if isinstance(data, FakeTensor) or device is None or torch.device(device).type != "fake":
            return make(data, *args, **kwargs, **({} if device is None else {"device": device}))
        _wait()
        return FakeTensor(make(data, *args, **kwargs))

    return made


def _lstm(fused: Callable[..., Any]) -> Callable[..., Any]:
    """torch has a kernel of its own for an LSTM on each kind of device: here it is the equations, step by step."""

    def lstm(x: torch.Tensor, state: Any, weights: Any, *options: Any) -> Any:
        if not isinstance(x, FakeTensor):
            return fused(x, state, weights, *options)
        hidden, cells = [], []
        for layer in range(len(weights) // 4):
            into, inner, bias, inner_bias = weights[4 * layer : 4 * layer + 4]
            h, c, steps = state[0][layer], state[1][layer], []
            for step in x.unbind(1):  # batch first, as in all of our networks
                gates = nn.functional.linear(step, into, bias) + nn.functional.linear(h, inner, inner_bias)
                enter, forget, new, leave = gates.chunk(4, dim=-1)
                c = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
                h = leave.sigmoid() * c.tanh()
                steps.append(h)
            x = torch.stack(steps, dim=1)
            hidden.append(h)
            cells.append(c)
        return x, torch.stack(hidden), torch.stack(cells)

    return lstm
