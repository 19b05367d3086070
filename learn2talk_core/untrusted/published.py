"""Published weights, read without running any code in the files: into state dicts, and strictly into networks.

Supported are safetensors, both formats of `torch.save` (the current zip and the older one), and the parameters of
TorchScript archives, whose code is ignored.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import frozen
from learn2talk_core.untrusted.torch_files import AGAIN, DTYPES, Module, damaged_file, read_archive, read_legacy

State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


def load_published(network: Network, path: str | Path, *, what: str, fix: str, prefix: str = "") -> Network:
    """Load published weights into `network`, strictly (see `fill`), and freeze it.

    Args:
        network: the network to fill.
        path: a file for `read_state`, or a folder that `import-checkpoint` made from one.
        what: name of the expected network, for errors.
        fix: what to do if the weights are of another network.
        prefix: prefix of this network's keys in files that hold several networks; it is removed.
    """
    path = Path(path)
    state = read_state(path / "model.safetensors" if path.is_dir() else path)
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    fill(network, own or state, path, what=what, fix=fix)
    frozen(network)
    return network


def read_state(path: str | Path) -> State:
    """The state dict in a file of weights, whatever else the file holds (optimizer, step counts).

    If every key begins with `module.`, which DataParallel adds, this prefix is removed.

    Raises:
        BadInput: no such file, a web page or Git LFS pointer, a truncated file, objects of unknown classes, no state
            dict, tensors larger than their stored data or of unusual types, numbers that are not finite.
    """
    path = Path(path)
    found = read_file(path)
    if isinstance(found, dict):
        found = next((found[key] for key in ("state_dict", "model_state_dict", "model") if key in found), found)
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        keys = ", ".join(str(key)[:60] for key in islice(found, 5)) if isinstance(found, dict) else ""
        kind = f"keys {keys}" if isinstance(found, dict) else type(found).__name__
        raise BadInput(path, expected="a state dict: tensors by name", found=kind, fix="Name a file of weights.")
    state = {str(key): value for key, value in found.items()}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    for key, value in state.items():
        if value.dtype not in DTYPES.values():
            fix = "Ask the publisher for its state_dict as float32."
            raise BadInput(f"{path}: {key}", expected="ordinary numbers", found=str(value.dtype), fix=fix)
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BadInput(f"{path}: {key}", expected="finite weights", found="NaN or infinity", fix=AGAIN)
    return state


def read_file(path: str | Path) -> Any:
    """What a file of weights holds at its top level; see `read_state` for errors, `read_archive` for memory."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="a file of weights", found="nothing", fix="Correct the path.")
    with path.open("rb") as file:
        head = file.read(200)
    if head.startswith(b"version https://git-lfs"):
        raise BadInput(path, expected="a file of weights", found="a Git LFS pointer", fix="Fetch it: git lfs pull.")
    if head.lstrip()[:1] in (b"<", b"{") and b"\0" not in head:  # a safetensors header of 0x3c20 bytes begins with " <"
        fix = "Download it again, in a browser if the site asks for a confirmation."
        raise BadInput(path, expected="a file of weights", found="a web page or other text", fix=fix)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = read_archive(path) if head.startswith(b"PK") else read_legacy(path)
    except BadInput:
        raise
    except Exception as error:  # a damaged or unrelated file may raise anything
        expected = "safetensors file" if path.suffix == ".safetensors" else "file that torch.save wrote"
        raise damaged_file(path, f"a complete {expected}", error) from error
    return _collected(found) if isinstance(found, Module) else found


def fill(network: nn.Module, state: Mapping[str, Tensor], path: object, *, what: str, fix: str) -> None:
    """Copy `state` into `network`, strictly: no key missing, none left over, all shapes equal.

    Weight normalisation may have its old names (`weight_g`, `weight_v`) or its new ones. Only the counters of batch
    normalisation may be missing: torch before 0.4.1 did not have them, and nothing reads them.

    Args:
        network: the network to fill.
        state: tensors, with the names of the network's own state dict.
        path: the file, for errors.
        what: name of the expected network, for errors.
        fix: what to do if the weights are of another network.
    """
    names = check_state(network, state, path, what=what, fix=fix)
    counters = {key: torch.tensor(0) for key in names if key.endswith("num_batches_tracked")}
    given = counters | {old_name(key): value for key, value in state.items()}
    network.load_state_dict({names[key]: value for key, value in given.items()}, strict=True)


def check_state(
    network: nn.Module, state: Mapping[str, Tensor], path: object, *, what: str, fix: str
) -> dict[str, str]:
    """Refuse a `state` that `fill` would refuse; `network` may be on the device "meta".

    Returns:
        The old names of the network's weights (see `old_name`) → its own names.
    """
    own = {old_name(key): key for key in network.state_dict()}
    given = {old_name(key): value for key, value in state.items()}
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    absent = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    extra = [key for key in given if key not in own]
    wrong = [key for key in own if key in given and tuple(given[key].shape) != shapes[own[key]]]
    problems = [f"no {_some(absent)}"] if absent else []
    problems += [f"{_some(extra)}, which it does not have"] if extra else []
    problems += [f"{key} of shape {tuple(given[key].shape)} instead of {shapes[own[key]]}" for key in wrong[:1]]
    if problems:
        raise BadInput(path, expected=f"the weights of {what}", found="; ".join(problems), fix=fix)
    return own


def old_name(key: str) -> str:
    """`key` with the names of weight normalisation up to torch 1: `weight_g` and `weight_v`."""
    return key.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def export_state(network: nn.Module) -> State:
    """The state dict of `network` on the CPU, with the names that older code expects."""
    return {old_name(key): value.detach().cpu().contiguous() for key, value in network.state_dict().items()}


def _collected(module: Module, name: str = "") -> State:
    """Parameters and buffers of a TorchScript module, by their path in its tree of modules."""
    state: State = {}
    for key, value in module.items():
        if isinstance(value, Tensor):
            state[f"{name}{key}"] = value
        elif isinstance(value, Module):
            state |= _collected(value, f"{name}{key}.")
    return state


def _some(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
