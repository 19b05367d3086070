"""Weights that others published, read without running any code of theirs: files to state dicts, strictly into networks.

Read are safetensors, what `torch.save` writes now (a zip) and wrote before, and the parameters of TorchScript archives,
whose code is left alone.
"""

import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import frozen

AGAIN = "Download it again."
LARGEST_RATIO = 20  # of an archive's members to the archive
MOST_ATTRIBUTES = 1_000_000  # of a TorchScript archive; the largest of the field have some thousands
State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


def load_published(network: Network, path: str | Path, *, what: str, fix: str, prefix: str = "") -> Network:
    """`network` with published weights, strictly (see `fill`) and frozen.

    Args:
        network: to fill.
        path: of a file for `read_state`, or of a folder that `import-checkpoint` made of one.
        what: which network it is to be, for errors.
        fix: what to do when it is another one.
        prefix: of this network's keys in files that hold several networks; it is taken off.
    """
    path = Path(path)
    state = read_state(path / "model.safetensors" if path.is_dir() else path)
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    fill(network, own or state, path, what=what, fix=fix)
    frozen(network)
    return network


def read_state(path: str | Path) -> State:
    """The state dict in a file of weights, whatever else the file holds (optimizer, step counts).

    A `module.` before every key, which DataParallel leaves there, is taken off.

    Raises:
        BadInput: nothing there, a web page or Git LFS pointer, a part of a file, objects of unknown classes, no
            state dict, numbers that are not finite.
    """
    path = Path(path)
    found = read_file(path)
    if isinstance(found, dict):
        found = next((found[key] for key in ("state_dict", "model_state_dict", "model") if key in found), found)
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        kind = f"keys {', '.join(map(str, list(found)[:5]))}" if isinstance(found, dict) else type(found).__name__
        raise BadInput(path, expected="a state dict: tensors by name", found=kind, fix="Name a file of weights.")
    state = {str(key): value for key, value in found.items()}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    for key, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BadInput(f"{path}: {key}", expected="finite weights", found="NaN or infinity", fix=AGAIN)
    return state


def read_file(path: str | Path) -> Any:
    """What a file of weights holds at its top level; see `read_state`."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="a file of weights", found="nothing", fix="Mend the path.")
    with path.open("rb") as file:
        head = file.read(200)
    if head.startswith(b"version https://git-lfs"):
        raise BadInput(path, expected="a file of weights", found="a Git LFS pointer", fix="Fetch it: git lfs pull.")
    if head.lstrip()[:1] in (b"<", b"{") and b"\0" not in head:  # a safetensors header of 0x3c20 bytes begins with " <"
        fix = "Download it again, in a browser if the site asks for a confirmation."
        raise BadInput(path, expected="a file of weights", found="a web page or other text", fix=fix)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, ValueError, OSError) as error:
            raise _broken(path, "a whole safetensors file", error) from error
    script = False
    if head.startswith(b"PK"):
        script = _checked_archive(path)
    try:
        return torchscript_state(path) if script else torch.load(path, map_location="cpu", weights_only=True)
    except BadInput:
        raise
    except Exception as error:  # a broken or foreign pickle may raise anything
        refused = re.search(r"GLOBAL (\S+)|Trying to \S+ (\S+)|class (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise _unknown_class(path, next(filter(None, refused.groups()))) from error
        raise _broken(path, "a whole file that torch.save wrote", error) from error


def fill(network: nn.Module, state: Mapping[str, Tensor], path: object, *, what: str, fix: str) -> None:
    """Copy `state` into `network`, key by key: none missing, none left over, every shape the same.

    Weight normalisation may be under its old names (`weight_g`, `weight_v`) or its new ones. Only the counters of batch
    normalisation, which torch before 0.4.1 did not have and nothing reads, may be absent.

    Args:
        network: to fill.
        state: by the names of the network's own state dict.
        path: of the file, for errors.
        what: which network it is to be, for errors.
        fix: what to do when it is another one.
    """
    own = {old_name(key): key for key in network.state_dict()}
    counters = {key: torch.tensor(0) for key in own if key.endswith("num_batches_tracked")}
    given = counters | {old_name(key): value for key, value in state.items()}
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    absent, extra = [key for key in own if key not in given], [key for key in given if key not in own]
    wrong = [key for key in own if key in given and tuple(given[key].shape) != shapes[own[key]]]
    problems = [f"no {_some(absent)}"] if absent else []
    problems += [f"{_some(extra)}, which it does not have"] if extra else []
    problems += [f"{key} of shape {tuple(given[key].shape)} instead of {shapes[own[key]]}" for key in wrong[:1]]
    if problems:
        raise BadInput(path, expected=f"the weights of {what}", found="; ".join(problems), fix=fix)
    network.load_state_dict({own[key]: value for key, value in given.items()}, strict=True)


def old_name(key: str) -> str:
    """Weight normalisation under the names that it had up to torch 1: `weight_g` and `weight_v`."""
    return key.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def export_state(network: nn.Module) -> State:
    """The state dict of `network` on the CPU under the names that older code knows."""
    return {old_name(key): value.detach().cpu().contiguous() for key, value in network.state_dict().items()}


def torchscript_state(path: str | Path) -> State:
    """Parameters and buffers of a TorchScript archive by name. Its code is not read, let alone run.

    The archive's `data.pkl` is the tree of modules, each with its attributes; the path to a tensor is its name.
    """
    state: State = {}
    with zipfile.ZipFile(path) as archive:
        pickled = next((n for n in archive.namelist() if n.count("/") == 1 and n.endswith("/data.pkl")), None)
        if pickled is None:
            raise BadInput(path, expected="a TorchScript archive with data.pkl", found="none", fix=AGAIN)
        with archive.open(pickled) as file:
            tree = _ModuleUnpickler(file, archive, pickled.removesuffix(".pkl"), Path(path)).load()

    attributes = 0

    def collect(node: Any, name: str) -> None:
        nonlocal attributes
        for key, value in vars(node).items():
            attributes += 1
            if attributes > MOST_ATTRIBUTES:  # a few modules that share each other have any number of paths
                found = f"more than {MOST_ATTRIBUTES}"
                raise BadInput(path, expected="a network with some thousand attributes", found=found, fix=AGAIN)
            if isinstance(value, Tensor):
                state[name + key] = value.clone()
            elif isinstance(value, _Attributes):
                collect(value, f"{name}{key}.")

    collect(tree, "")
    return state


class _Attributes:
    """Any module of a TorchScript archive: nothing but its attributes."""


class _ModuleUnpickler(pickle.Unpickler):
    """Knows modules without code, tensors and plain containers; everything else is refused."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str, path: Path) -> None:
        super().__init__(file)
        self.archive, self.folder, self.path = archive, folder, path
        self.storages: dict[tuple[str, torch.dtype], Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Attributes
        if module == "torch" and name.endswith("Storage") and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch.jit._pickle" and name in ("build_intlist", "build_doublelist", "build_boollist"):
            return list
        raise _unknown_class(self.path, f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        if (key, dtype) not in self.storages:  # tensors may share one
            data = bytearray(self.archive.read(f"{self.folder}/{key}"))
            self.storages[key, dtype] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self.storages[key, dtype]


_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def _rebuilt(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if math.prod(size) > storage.numel():  # stride 0 makes one number any number of them
        raise ValueError(f"a tensor of {math.prod(size)} numbers in a storage of {storage.numel()}")
    return torch.as_strided(storage, size, stride, offset)  # refuses what lies outside the storage


def _checked_archive(path: Path) -> bool:
    """Whether a zip file is TorchScript; one that is cut short or has a wrong checksum is refused.

    So is one whose members are much larger than the file: torch compresses TorchScript's code, but no numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_RATIO * path.stat().st_size:
                raise ValueError(f"its members are more than {LARGEST_RATIO} times as large as the file")
            wrong = archive.testzip()
            names = archive.namelist()
    except Exception as error:  # zipfile raises many kinds of error at broken files
        raise _broken(path, "a whole file that torch.save wrote", error) from error
    if wrong is not None:
        raise BadInput(path, expected="a whole file", found=f"a wrong checksum of {wrong}", fix=AGAIN)
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in names)


def _broken(path: Path, expected: str, error: Exception) -> BadInput:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BadInput(path, expected=expected, found=f"a part of one, or something else ({reason[:160]})", fix=AGAIN)


def _unknown_class(path: Path, name: str) -> BadInput:
    return BadInput(
        path,
        expected="nothing but tensors and plain containers",
        found=f"an object of {name}, which could run code",
        fix="Ask for its state_dict, saved alone.",
    )


def _some(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
