"""Pickles and arrays from strangers: data comes out, nothing in them is ever called.

A pickle is a program. Python's own unpickler runs it, and even with a whitelist of classes leaves it `__setstate__`,
the attributes of whatever it was given, the extension registry and a memory of any size. Here the program runs on a
machine that knows plain containers and makes arrays itself, from bytes whose length it has checked; a name in the file
is only looked up in the table `_KNOWN`. That is enough for what the field distributes: NumPy arrays of Python 2 and 3,
SciPy's sparse matrices, and chumpy's arrays (FLAME), which come back as NumPy arrays without chumpy.
"""

import os
import pickle
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np
import scipy.sparse

from learn2talk_core.run.errors import BadInput

_PLAIN = "plain data (numbers, text, lists, dictionaries, NumPy arrays)"
_GET_AGAIN = "Get the file again from where it is published."
_DTYPE = re.compile(r"[<>=|]?(\?|b1|[iu][1248]|f2|f4|f8|f16|c8|c16|c32|[SU][1-9]\d{0,5})")
_KEYS = (str, bytes, int, float, bool, type(None), np.generic)


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of plain data; text of Python 2 is taken as Latin-1.

    Numbers, text, bytes, lists, tuples, dictionaries, sets, NumPy arrays and scalars (no object arrays), CSC and CSR
    matrices of SciPy. Arrays of chumpy come back as NumPy arrays. Anything else is refused by name with `BadInput`, and
    so is a file that is cut short or damaged. Needs memory for about twice the file.
    """
    path = _existing(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        machine = _Machine(_Bounded(file, size), path, budget=8 * size + (1 << 20))
        try:
            result = machine.load()
            machine.refuse_unfinished(result)
        except BadInput:
            raise
        except Exception as error:  # whatever a damaged program leads to
            found = f"a damaged one ({type(error).__name__}: {str(error)[:200]})"
            raise BadInput(path, expected="a pickle", found=found, fix=_GET_AGAIN) from error
    return result


def load_array(path: str | Path, *, mmap: bool = False) -> np.ndarray:
    """Read one array from a `.npy`; objects in it are refused, a file that is cut short or too long as well.

    Args:
        path: the file.
        mmap: leave it on disk and map it read-only.
    """
    path = _existing(path)
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # compares the header with the file's length before anything
    except Exception as error:
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise BadInput(path, expected="one whole array of numbers (.npy)", found=found, fix=_GET_AGAIN) from error
    if array.dtype.hasobject or array.dtype.kind not in "biufcSU":
        _refuse(path, f"an array of {array.dtype}", expected="an array of numbers")
    if array.nbytes + array.offset != path.stat().st_size:
        found = f"{path.stat().st_size} bytes"
        raise BadInput(path, expected=f"{array.nbytes + array.offset} bytes", found=found, fix=_GET_AGAIN)
    return array if mmap else np.array(array)


@dataclass(frozen=True)
class _Name:
    """A class or function that the file mentions. It has no behaviour; `_KNOWN` says what is made for it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:100].encode("unicode_escape").decode()


@dataclass
class _DType:
    """A NumPy dtype under construction. The real ones are shared by the whole process, so the file never gets one."""

    text: str
    order: str = "="

    def dtype(self) -> np.dtype:
        return np.dtype(self.text).newbyteorder(self.order)  # type: ignore[arg-type]


class _Bounded:
    """A file that refuses to be asked for more than it holds, before memory is taken for it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def read(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise EOFError("the file is cut short")
        return self._file.read(count)

    def readline(self) -> bytes:
        return self._file.readline()

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)  # type: ignore[attr-defined]


_PythonUnpickler: Any = pickle._Unpickler  # the one in C cannot be opened up


class _Machine(_PythonUnpickler):
    """Python's unpickler written in Python, with every operation that could reach beyond plain data replaced.

    Attributes:
        path: of the file, for messages.
        budget: bytes that may still be copied; so that a small file cannot ask for one array a thousand times.
    """

    def __init__(self, file: _Bounded, path: Path, budget: int) -> None:
        super().__init__(file, encoding="latin1")
        self.path, self.budget = path, budget
        # Objects that were made empty and wait for their content, by id, with what takes it.
        self.unfinished: dict[int, tuple[Any, Callable[[Any], None]]] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = _Name(module, name)
        if found not in _KNOWN:
            _refuse(self.path, f"the name {found}")
        return found

    def spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise MemoryError("its arrays are larger than the file")

    def make(self, name: Any, args: Any) -> Any:
        """What the file calls: only names of the table, and of those only the ones that make something."""
        maker = _KNOWN.get(name) if isinstance(name, _Name) else None
        if maker is None or not isinstance(args, tuple):
            _refuse(self.path, f"a call of {name if isinstance(name, _Name) else type(name).__name__}")
        return maker(self, *args)

    def new(self, cls: Any) -> Any:
        """An empty object of a class; the content follows in a BUILD."""
        content = _CONTENT.get(cls) if isinstance(cls, _Name) else None
        if content is None:
            _refuse(self.path, f"an object of {cls if isinstance(cls, _Name) else type(cls).__name__}")
        made, fill = content
        value = made()
        self.unfinished[id(value)] = (value, lambda state: fill(self, value, state))
        return value

    def refuse_unfinished(self, result: Any) -> None:
        """Names, dtypes and empty objects are means to an end; a result that holds one is not plain data."""
        todo, seen = [result], set()
        while todo:
            value = todo.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, _Name | _DType) or id(value) in self.unfinished:
                _refuse(self.path, f"a bare {value}" if isinstance(value, _Name) else "an object without its content")
            if isinstance(value, dict):
                todo += value.values()
            elif isinstance(value, list | tuple):
                todo += value

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.make(self.stack[-1], args)

    def load_newobj(self) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        if args != ():
            _refuse(self.path, f"an object of {cls} with arguments")
        self.append(self.new(cls))

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if isinstance(value, _DType):
            version, order, *structure = state[:5]
            if version not in (1, 3, 4) or order not in ("<", ">", "|", "=") or any(structure):
                _refuse(self.path, "a structured dtype", expected="arrays of numbers")
            value.order = order
            return
        if id(value) not in self.unfinished:
            _refuse(self.path, f"a state for {value if isinstance(value, _Name) else type(value).__name__}")
        _, fill = self.unfinished.pop(id(value))
        fill(state)

    def load_append(self) -> None:
        value = self.stack.pop()
        self._top(list).append(value)

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._top(list).extend(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict)[_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._top(dict).update(_pairs(items))

    def load_dict(self) -> None:
        items = self.pop_mark()  # before `append` is looked up: it changes with the stack
        self.append(dict(_pairs(items)))

    def load_additems(self) -> None:
        items = self.pop_mark()
        self._top(set).update(map(_key, items))

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(map(_key, items)))

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_inst(self) -> None:
        self.find_class(self.readline()[:-1].decode("latin1"), self.readline()[:-1].decode("latin1"))
        self.refuse_operation()

    def refuse_operation(self) -> None:
        _refuse(self.path, "an operation of pickle that plain data does not need")

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"items for {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    dispatch: ClassVar = {
        **_PythonUnpickler.dispatch,
        **{
            code[0]: handler
            for code, handler in (
                (pickle.REDUCE, load_reduce),
                (pickle.NEWOBJ, load_newobj),
                (pickle.BUILD, load_build),
                (pickle.APPEND, load_append),
                (pickle.APPENDS, load_appends),
                (pickle.SETITEM, load_setitem),
                (pickle.SETITEMS, load_setitems),
                (pickle.DICT, load_dict),
                (pickle.ADDITEMS, load_additems),
                (pickle.FROZENSET, load_frozenset),
                (pickle.BYTEARRAY8, load_bytearray8),
                (pickle.INST, load_inst),
                (pickle.OBJ, refuse_operation),
                (pickle.NEWOBJ_EX, refuse_operation),
                (pickle.EXT1, refuse_operation),
                (pickle.EXT2, refuse_operation),
                (pickle.EXT4, refuse_operation),
                (pickle.PERSID, refuse_operation),
                (pickle.BINPERSID, refuse_operation),
                (pickle.NEXT_BUFFER, refuse_operation),
                (pickle.READONLY_BUFFER, refuse_operation),
            )
        },
    }


def _key(key: Any) -> Any:
    """Hashing nested tuples that share their parts takes for ever, so keys are simple."""
    if not all(isinstance(part, _KEYS) for part in (key if isinstance(key, tuple) else (key,))):
        raise TypeError(f"a key of type {type(key).__name__}")
    return key


def _pairs(items: list) -> Iterable[tuple[Any, Any]]:
    return zip(map(_key, items[::2]), items[1::2], strict=True)


def _array_from(machine: _Machine, shape: Any, dtype: Any, data: Any, order: str) -> np.ndarray:
    """An array from raw bytes, or from the Latin-1 text that Python 2's bytes were read as."""
    if not isinstance(dtype, _DType):
        _refuse(machine.path, f"an array of {type(dtype).__name__}", expected="an array of numbers")
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or not all(type(n) is int and n >= 0 for n in shape):
        raise TypeError("an array without bytes or shape")
    machine.spend(len(data))
    return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if order == "F" else "C")


def _make_dtype(machine: _Machine, text: Any, *_flags: Any) -> _DType:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        _refuse(machine.path, f"an array of dtype {text!r:.40}", expected="arrays of numbers, not of objects")
    return _DType(text)


def _reconstruct(machine: _Machine, cls: Any, shape: Any, kind: Any) -> Any:
    if cls not in _ARRAYS or shape != (0,):
        _refuse(machine.path, f"an array of class {cls}")
    return machine.new(cls)


def _fill_array(machine: _Machine, value: np.ndarray, state: Any) -> None:
    _, shape, dtype, fortran, data = state
    _become(value, _array_from(machine, shape, dtype, data, "F" if fortran else "C"))


def _become(value: np.ndarray, content: np.ndarray) -> None:
    """Give an array that others refer to already its content, in place, as NumPy's own unpickling does."""
    fortran = content.flags.f_contiguous and not content.flags.c_contiguous
    content_bytes = content.tobytes("F" if fortran else "C")
    restore: Any = value.__setstate__
    restore((1, content.shape, content.dtype, fortran, content_bytes))


def _from_buffer(machine: _Machine, data: Any, dtype: Any, shape: Any, order: Any, *_axes: Any) -> np.ndarray:
    return _array_from(machine, shape, dtype, data, order).copy(order="K")


def _scalar(machine: _Machine, dtype: Any, data: Any) -> Any:
    return _array_from(machine, (), dtype, data, "C")[()]


def _reconstructor(machine: _Machine, cls: Any, base: Any, state: Any) -> Any:
    if base not in _OBJECT or state is not None:
        _refuse(machine.path, f"an object of {cls} made from {base}")
    return machine.new(cls)


def _encode(machine: _Machine, text: str, encoding: str) -> bytes:
    machine.spend(len(text))
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise ValueError(f"the encoding {encoding!r:.40}")
    return text.encode("latin1")


def _fill_sparse(kind: type) -> Callable[[_Machine, Any, Any], None]:
    def fill(machine: _Machine, value: Any, state: Any) -> None:
        parts = [state["data"], state["indices"], state["indptr"]]
        if not all(isinstance(part, np.ndarray) for part in parts) or any(p.dtype.kind not in "iu" for p in parts[1:]):
            raise TypeError("a sparse matrix without its arrays")
        machine.spend(sum(part.nbytes for part in parts))
        built = kind(tuple(parts), shape=state.get("_shape", state.get("shape")), copy=True)
        built.check_format(full_check=True)  # an index outside would be read by SciPy's compiled code
        value.__dict__.update(built.__dict__)

    return fill


def _fill_chumpy(kind: str) -> Callable[[_Machine, Any, Any], None]:
    def fill(machine: _Machine, value: np.ndarray, state: Any) -> None:
        content = state["x"] if kind == "Ch" else state["a"]
        if not isinstance(content, np.ndarray | np.generic | int | float):
            raise TypeError(f"chumpy around {type(content).__name__}")
        content = np.asarray(content)
        if kind == "Select":
            content = content.ravel()[np.asarray(state["idxs"])]
            if state.get("preferred_shape") is not None:
                content = content.reshape(state["preferred_shape"])
        elif kind == "Reshape":
            content = content.reshape(state["newshape"])
        elif kind == "transpose":
            content = content.transpose(state.get("axes"))
        machine.spend(content.nbytes)
        _become(value, content)

    return fill


def _bytearray(machine: _Machine, data: Any = b"", *encoding: Any) -> bytearray:
    data = _encode(machine, data, *encoding) if encoding else data
    if not isinstance(data, bytes):
        raise TypeError("a bytearray without bytes")
    machine.spend(len(data))
    return bytearray(data)


def _set(kind: type) -> Callable[..., Any]:
    def make(machine: _Machine, items: Any = ()) -> Any:
        if not isinstance(items, list | tuple):
            raise TypeError(f"a set of {type(items).__name__}")
        machine.spend(len(items))
        return kind(map(_key, items))

    return make


def _dictionary(machine: _Machine, *args: Any) -> dict:
    """OrderedDict and defaultdict, as plain dictionaries: both keep the order, and a factory is code."""
    items = [] if not args or isinstance(args[0], _Name) or args[0] is None else args[0]
    machine.spend(len(items))
    return {_key(key): value for key, value in items}


def _no_call(machine: _Machine, *_args: Any) -> NoReturn:
    _refuse(machine.path, "a call of a class")


def _names(modules: str, names: str) -> list[_Name]:
    return [_Name(module, name) for module in modules.split() for name in names.split()]


_OBJECT = set(_names("__builtin__ builtins", "object"))
_ARRAYS = {*_names("numpy", "ndarray memmap"), *_names("numpy.core.memmap numpy._core.memmap", "memmap")}
_CHUMPY = {
    _Name("chumpy.ch", "Ch"): "Ch",
    **{n: n.name for n in _names("chumpy.reordering", "Select Reshape transpose")},
}
_SPARSE = {
    **dict.fromkeys(_names("scipy.sparse.csc scipy.sparse._csc", "csc_matrix"), scipy.sparse.csc_matrix),
    **dict.fromkeys(_names("scipy.sparse.csr scipy.sparse._csr", "csr_matrix"), scipy.sparse.csr_matrix),
}


def _empty_array() -> np.ndarray:
    return np.ndarray((0,), np.uint8)


# Class → how an empty object of it is made, and what takes its content.
_CONTENT: dict[_Name, tuple[Callable[[], Any], Callable[[_Machine, Any, Any], None]]] = {
    **dict.fromkeys(_ARRAYS, (_empty_array, _fill_array)),
    **{name: (_empty_array, _fill_chumpy(kind)) for name, kind in _CHUMPY.items()},
    **{name: (partial(kind, (1, 1)), _fill_sparse(kind)) for name, kind in _SPARSE.items()},
}
# Every name that a file may mention → what a call of it gives.
_KNOWN: dict[_Name, Callable[..., Any]] = {
    **dict.fromkeys([*_OBJECT, *_CONTENT, *_names("__builtin__ builtins", "list dict int float")], _no_call),
    **dict.fromkeys(_names("numpy.core.multiarray numpy._core.multiarray", "_reconstruct"), _reconstruct),
    **dict.fromkeys(_names("numpy.core.multiarray numpy._core.multiarray", "scalar"), _scalar),
    **dict.fromkeys(_names("numpy.core.numeric numpy._core.numeric", "_frombuffer"), _from_buffer),
    **dict.fromkeys(_names("copy_reg copyreg", "_reconstructor"), _reconstructor),
    **dict.fromkeys(_names("collections", "OrderedDict defaultdict"), _dictionary),
    **dict.fromkeys(_names("__builtin__ builtins", "set"), _set(set)),
    **dict.fromkeys(_names("__builtin__ builtins", "frozenset"), _set(frozenset)),
    **dict.fromkeys(_names("__builtin__ builtins", "bytes"), lambda machine: b""),
    **dict.fromkeys(_names("__builtin__ builtins", "bytearray"), _bytearray),
    **dict.fromkeys(_names("__builtin__ builtins", "complex"), lambda machine, real, imag: complex(real, imag)),
    _Name("_codecs", "encode"): _encode,
    _Name("numpy", "dtype"): _make_dtype,
}


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        found = "a folder" if os.path.isdir(path) else "nothing"
        raise BadInput(path, expected="a file", found=found, fix="Check the path.")
    return path


def _refuse(path: Path, found: str, expected: str = _PLAIN) -> NoReturn:
    raise BadInput(
        path,
        expected=expected,
        found=found,
        fix="Nothing in the file was run. It may be meant to run code: get it from where it is published.",
    )
