"""Files of `torch.save` and TorchScript, read by `pickles.Machine` into tensors and plain containers.

`torch.load` and `torch.jit.load` are not used: both create tensors that claim to be larger than the stored data, of any
type and on any device, and hash whatever the file asks them to hash.
"""

import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn

import torch
from torch import Tensor

from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.pickles import KNOWN, Machine, Name, names, whole_numbers

AGAIN = "Download it again."
COPIES = 4  # how often tensors may refer to the file's bytes: tied weights are one tensor with several names
LARGEST_RATIO = 20  # largest ratio of the size of an archive's members to that of the archive
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what files of `torch.save` before 1.6 begin with
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Module(dict):
    """A module of a TorchScript archive: its attributes by name, without code."""


def read_archive(path: Path) -> Any:
    """The content of the zip file at `path`: the object saved by `torch.save`, or the tree of `Module`s of TorchScript.

    Takes at most 64 times the file's size plus 32 MB of memory; about its size if nearly all of it is weights.

    Raises:
        BadInput: a truncated file, a wrong checksum, members much larger than the file, unknown classes, or types of
            numbers that are not in `DTYPES`.
        Exception: any, if the file is damaged in another way or a tensor is larger than its storage.
    """
    _check_members(path)
    with zipfile.ZipFile(path) as archive:
        pickled = next((n for n in archive.namelist() if n.count("/") == 1 and n.endswith("/data.pkl")), None)
        if pickled is None:
            raise BadInput(path, expected="a torch archive with data.pkl", found="no data.pkl", fix=AGAIN)
        folder = pickled.removesuffix(".pkl")
        order = pickled.removesuffix("data.pkl") + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("big-endian numbers")
        stored: dict[str, Tensor] = {}

        def storage(key: str, _dtype: torch.dtype, _count: int) -> Tensor:
            if key not in stored:  # tensors may share a storage, and may read its bytes as several types
                data = bytearray(archive.read(f"{folder}/{key}"))
                stored[key] = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
            return stored[key]

        size = min(archive.getinfo(pickled).file_size, path.stat().st_size)
        with archive.open(pickled) as file:
            return _WeightsMachine(file, size, path, storage).plain()  # type: ignore[arg-type]


def read_legacy(path: Path) -> Any:
    """The content of a file written by `torch.save` before 1.6; see `read_archive`."""
    size = path.stat().st_size
    waiting: dict[str, Tensor] = {}
    left = size

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal left
        if key not in waiting:
            left -= count * dtype.itemsize
            if count < 0 or left < 0:
                raise EOFError("the file is cut short")
            waiting[key] = torch.zeros(count * dtype.itemsize, dtype=torch.uint8)
        return waiting[key]

    with path.open("rb") as file:
        for expected in (MAGIC, PROTOCOL):
            if (found := Machine(file, size, path).plain()) != expected or type(found) is not int:
                raise ValueError("not a file of torch.save")
        Machine(file, size, path).plain()  # sizes of number types on the machine that wrote it
        result = _WeightsMachine(file, size, path, storage).plain()
        keys = Machine(file, size, path).plain()
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(waiting):
            raise ValueError("tensors without their data")
        for key in keys:
            raw = waiting[str(key)]
            (count,) = struct.unpack("<q", file.read(8))
            if not (count == 0 == len(raw)) and (count <= 0 or len(raw) % count):
                raise ValueError("a tensor whose data do not have the stated length")
            if file.readinto(raw.numpy().data) != len(raw):
                raise EOFError("the file is cut short")
    return result


class _WeightsMachine(Machine):
    """A machine that also reads tensors and TorchScript modules (without their code).

    Args:
        file, size, path: see `Machine`; `size` is that of the pickle in the file.
        storage: returns the bytes under a key, given data type and number of elements.
    """

    known: ClassVar[dict[Name, Callable[..., Any]]]

    def __init__(
        self, file: BinaryIO, size: int, path: Path, storage: Callable[[str, torch.dtype, int], Tensor]
    ) -> None:
        super().__init__(file, size, path)
        self.budget += COPIES * path.stat().st_size
        self.most += COPIES * path.stat().st_size
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        return Name("__torch__", "") if module.startswith("__torch__") else super().find_class(module, name)

    def refuse_name(self, name: Name) -> NoReturn:
        if name.module == "torch" or name.module.startswith("torch."):
            raise BadInput(
                self.path,
                expected="complete tensors on the CPU, of a supported data type",
                found=str(name),
                fix="Ask the publisher for its state_dict alone, as float32.",
            )
        raise BadInput(
            self.path,
            expected="nothing but tensors and plain containers",
            found=f"an object of {name}, which could run code",
            fix="Ask the publisher for its state_dict alone.",
        )

    def new(self, cls: Any) -> Any:
        if cls != Name("__torch__", ""):
            return super().new(cls)
        module = Module()
        self.unfinished[id(module)] = (module, lambda state: module.update(_attributes(state)))
        return module

    def load_build(self) -> None:
        if type(self.stack[-2]) is dict:  # the `_metadata` of an OrderedDict of weights
            self.stack.pop()
        else:
            super().load_build()

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count, *view = pid
        if not isinstance(dtype, Name) or dtype.name not in DTYPES or not isinstance(key, str | int):
            raise TypeError(f"numbers of type {dtype if isinstance(dtype, Name) else type(dtype).__name__}")
        if kind != "storage" or type(count) is not int:
            raise TypeError("a persistent ID that describes no storage")
        numbers = self.storage(str(key), DTYPES[dtype.name], count).view(DTYPES[dtype.name])
        if view and view[0] is not None:
            _, first, length = view[0]
            numbers = numbers[first : first + length]
        return numbers

    def plain_size(self, value: Any) -> int:
        if isinstance(value, Tensor):
            return 100 + value.nbytes
        mentioned = isinstance(value, Name) and value.module == "torch"  # a dtype among training settings
        return 100 if mentioned else super().plain_size(value)


def _attributes(state: Any) -> dict:
    if not isinstance(state, dict):
        raise TypeError(f"a module of type {type(state).__name__}")
    return state


def _tensor(machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """`torch._utils._rebuild_tensor_v2`, for tensors that are not larger than their storage."""
    size, stride = whole_numbers(size, "a shape"), whole_numbers(stride, "strides")
    if not isinstance(storage, Tensor) or type(offset) is not int:
        raise TypeError("a tensor without a storage or offset")
    if math.prod(size) > storage.numel():  # with stride 0, one stored number can become any number of elements
        raise ValueError(f"a tensor of {math.prod(size)} numbers in a storage of {storage.numel()}")
    machine.spend(500)  # overhead of a tensor
    return torch.as_strided(storage, size, stride, offset)  # refuses elements outside the storage


def _parameter(machine: Machine, data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise TypeError("a parameter without a tensor")
    return data


def _list(machine: Machine, items: Any) -> list:
    if not isinstance(items, list):
        raise TypeError(f"a list of {type(items).__name__}")
    return items


def _mention(machine: Machine, *_: Any) -> None:
    """A call of a name that is only mentioned, such as a dtype or a device: it does not matter for the weights."""


_WeightsMachine.known = {
    **KNOWN,
    **dict.fromkeys(names("torch._utils", "_rebuild_tensor _rebuild_tensor_v2"), _tensor),
    **dict.fromkeys(names("torch._utils", "_rebuild_parameter _rebuild_parameter_with_state"), _parameter),
    **dict.fromkeys(names("torch.jit._pickle", "build_intlist build_doublelist build_boollist"), _list),
    **dict.fromkeys(names("torch", " ".join(DTYPES)), _mention),
    **dict.fromkeys(names("torch", "device Size"), _mention),
    **dict.fromkeys(names("torch", "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool"), _mention),
}
_WeightsMachine.dispatch = Machine.dispatch | {
    pickle.BINPERSID[0]: Machine.load_binpersid,
    pickle.BUILD[0]: _WeightsMachine.load_build,
}


def _check_members(path: Path) -> None:
    """Refuse a zip file that is truncated, has a wrong checksum, or has members that are much larger than the file:
    torch compresses TorchScript's code, but not numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST_RATIO * os.path.getsize(path):
                raise ValueError(f"its members are more than {LARGEST_RATIO} times as large as the file")
            wrong = archive.testzip()
    except Exception as error:  # zipfile raises many kinds of error for broken files
        raise damaged_file(path, "a complete file that torch.save wrote", error) from error
    if wrong is not None:
        raise BadInput(path, expected="a complete file", found=f"a wrong checksum of {wrong[:80]}", fix=AGAIN)


def damaged_file(path: Path, expected: str, error: Exception) -> BadInput:
    """The error for a file that cannot be read completely."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BadInput(path, expected=expected, found=f"a damaged or different file ({reason[:160]})", fix=AGAIN)
