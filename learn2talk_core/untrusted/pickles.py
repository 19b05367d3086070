"""Untrusted pickles and arrays, read without ever calling anything that they name.

A pickle is a program. Python's own unpickler runs it. Even with a whitelist of classes, the program can use
`__setstate__`, the attributes of the objects it is given, the extension registry and unlimited memory. Here the program
runs on a restricted machine that knows plain containers and builds arrays itself, from bytes whose length it has
checked; a name in the file is only looked up in the table `KNOWN`. That is enough for the files that the field
distributes: NumPy arrays of Python 2 and 3, SciPy's sparse matrices, and chumpy's arrays (FLAME), which are returned
as NumPy arrays and do not need chumpy.

A few bytes may also refer to one list a million times, or nest lists that share their parts so deeply that printing,
comparing, hashing or copying them never ends. So every operation is charged for the memory that it may take before the
next one runs; nothing from the file is printed, compared or hashed unless its type is simple; and the result is
measured as if every shared part were written out.
"""

import os
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np
import scipy.sparse

from learn2talk_core.run.errors import BadInput

_PLAIN = "plain data (numbers, text, lists, dictionaries, NumPy arrays)"
_GET_AGAIN = "Get the file again from its publisher."
_DTYPE = re.compile(r"[<>=|]?(\?|b1|[iu][1248]|f2|f4|f8|f16|c8|c16|c32|[SU][1-9]\d{0,5})")
_KEYS = (str, bytes, int, float, bool, type(None), np.integer, np.floating, np.bool_, np.str_, np.bytes_)
_WIDEST_KEY = 63  # bits of an integer key: longer integers can be chosen so that their hashes collide
_MOST_PAIRS = 10_000  # keys that are tuples of several numbers; limited for the same reason
_MOST_NESTED = 100  # levels of nested containers
_MULTIPLE, _SPARE = 50, 16 << 20  # the memory budget: this many times the file's size, plus this many bytes
# Bytes that are charged, as upper bounds: a place on the stack or in a list; an item of a dictionary or set, whose
# tables are at most two thirds full; an entry in the memo with its number; a mark; a call; an empty object.
_PLACE, _ITEM, _MEMO, _MARK, _CALL, _OBJECT_SIZE = 16, 110, 112, 112, 300, 1000
_MOST_PARTS = 32  # parts of a key or a shape
_COPIES = 4  # copies of an array's bytes that are held while it is made


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of plain data; Python 2 strings are decoded as Latin-1.

    Supported are numbers, text, bytes, lists, tuples, dictionaries, sets, NumPy arrays and scalars (no object arrays),
    and SciPy's CSC and CSR matrices. Arrays of chumpy are returned as NumPy arrays. Anything else is refused with a
    `BadInput` that names it, and so is a truncated or damaged file.

    Takes at most 64 times the file's size plus 32 MB of memory; arrays need about three times their size. With every
    shared part written out (a sparse matrix counts as a dense one), the result would take at most 50 times the file's
    size plus 16 MB. It is nested at most 100 levels deep, and no container in it contains itself.
    """
    path = _existing(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        machine = Machine(file, size, path)
        try:
            result = machine.plain()
        except BadInput:
            raise
        except Exception as error:  # a damaged program may raise anything
            found = f"a damaged or different one ({type(error).__name__}: {str(error)[:200]})"
            raise BadInput(path, expected="a pickle", found=found, fix=_GET_AGAIN) from error
    return result


def load_array(path: str | Path, *, mmap: bool = False) -> np.ndarray:
    """Read one array from a `.npy`; object arrays and files that are truncated or too long are refused.

    Args:
        path: the file.
        mmap: memory-map it read-only instead of reading it.
    """
    path = _existing(path)
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # first compares the header with the file's length
    except Exception as error:
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise BadInput(path, expected="one complete array of numbers (.npy)", found=found, fix=_GET_AGAIN) from error
    if array.dtype.hasobject or array.dtype.kind not in "biufcSU":
        _refuse(path, f"an array of {array.dtype}", expected="an array of numbers")
    if array.nbytes + array.offset != path.stat().st_size:
        found = f"{path.stat().st_size} bytes"
        raise BadInput(path, expected=f"{array.nbytes + array.offset} bytes", found=found, fix=_GET_AGAIN)
    return array if mmap else np.array(array)


@dataclass(frozen=True)
class Name:
    """A class or function that the file names. It has no behaviour; `KNOWN` says what is created for it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:100].encode("unicode_escape").decode()


@dataclass
class _DType:
    """A NumPy dtype under construction. Real dtypes are shared by the whole process, so the file never gets one."""

    text: str
    order: str = "="

    def dtype(self) -> np.dtype:
        return np.dtype(self.text).newbyteorder(self.order)  # type: ignore[arg-type]


class _Bounded:
    """A file that refuses reads beyond its end before memory is allocated for them."""

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


_PythonUnpickler: Any = pickle._Unpickler  # the opcode handlers of the C version cannot be replaced


def _opcodes(names: str) -> set[int]:
    return {getattr(pickle, name)[0] for name in names.split()}


_VALUES = _opcodes(
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "BINBYTES BINBYTES8 SHORT_BINBYTES UNICODE BINUNICODE BINUNICODE8 SHORT_BINUNICODE BYTEARRAY8 TUPLE EMPTY_TUPLE "
    "TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST EMPTY_DICT EMPTY_SET LIST DICT FROZENSET"
)
_REPEATS = _opcodes("DUP GET BINGET LONG_BINGET")
_COSTS = {
    **dict.fromkeys(_opcodes("PUT BINPUT LONG_BINPUT MEMOIZE"), _MEMO),
    **dict.fromkeys(_opcodes("GLOBAL STACK_GLOBAL REDUCE"), _CALL),
    pickle.MARK[0]: _MARK,
    pickle.NEWOBJ[0]: _OBJECT_SIZE,
}


def _charged(code: int, handler: Callable[["Machine"], None]) -> Callable[["Machine"], None]:
    """The `handler` of an opcode, followed by the charge for what it pushed onto the stack."""
    cost = _COSTS.get(code, _PLACE)
    if code in _REPEATS:

        def step(machine: "Machine") -> None:
            handler(machine)
            machine.spend(cost)
            machine.note_shared(machine.stack[-1])

    elif code in _VALUES:

        def step(machine: "Machine") -> None:
            handler(machine)
            machine.spend(cost + sys.getsizeof(machine.stack[-1]))

    else:

        def step(machine: "Machine") -> None:
            handler(machine)
            machine.spend(cost)

    return step


class Machine(_PythonUnpickler):
    """Python's unpickler written in Python; every operation that could do more than build plain data is replaced.

    Attributes:
        path: the file's path, for messages.
        budget: bytes of memory that may still be taken.
        known: every name that a file may mention → the function that is called for it.
        content: class → the functions that make an empty object of it and that fill it.
    """

    known: ClassVar[dict[Name, Callable[..., Any]]]
    content: ClassVar[dict[Name, tuple[Callable[[], Any], Callable[..., None]]]]

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        super().__init__(_Bounded(file, size), encoding="latin1")
        self.path, self.pairs = path, 0
        self.most = self.budget = _MULTIPLE * size + _SPARE
        self.shared: set[int] = set()  # ids of containers that the file used again: only these have several owners
        # Empty objects that still need their content, by id, with the function that fills them.
        self.unfinished: dict[int, tuple[Any, Callable[[Any], None]]] = {}

    def plain(self) -> Any:
        """The content of the file, if it is plain data and not too large; see `load_pickle`."""
        result = self.load()
        self.memo.clear()
        self.refuse_unfolded(result)
        return result

    def find_class(self, module: str, name: str) -> Any:
        found = Name(module, name)
        if found not in self.known:
            self.refuse_name(found)
        return found

    def refuse_name(self, name: Name) -> NoReturn:
        _refuse(self.path, f"the name {name}")

    def spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            found = f"one that unpacks to more than {_MULTIPLE} times the file's size"
            _refuse(self.path, found, expected="a pickle of a plausible size")

    def note_shared(self, value: Any) -> None:
        if isinstance(value, _CONTAINERS) and id(value) not in self.shared:
            self.spend(_MEMO)
            self.shared.add(id(value))

    def key(self, key: Any) -> Any:
        """A key of a dictionary or a set, if hashing it is fast. It may be slow if nested tuples share their parts, a
        long text or number is used often, or numbers are chosen so that their hashes collide."""
        parts = key if isinstance(key, tuple) else (key,)
        self.spend(_ITEM)
        if len(parts) > _MOST_PARTS:
            raise ValueError(f"a key of more than {_MOST_PARTS} parts")
        numbers = 0
        for part in parts:
            if not isinstance(part, _KEYS) or isinstance(part, np.longdouble):
                raise TypeError(f"a key of type {type(part).__name__}")
            if isinstance(part, int | float | np.number):
                numbers += 1
                if isinstance(part, int) and part.bit_length() > _WIDEST_KEY:
                    raise ValueError("a key that is a number of more than 63 bits")
            elif part is not None:
                self.spend(len(part) if isinstance(part, str | bytes) else 1)
        self.pairs += numbers > 1
        if self.pairs > _MOST_PAIRS:
            raise ValueError(f"more than {_MOST_PAIRS} keys that are tuples of numbers")
        return key

    def pairs_of(self, items: list) -> Iterable[tuple[Any, Any]]:
        return zip(map(self.key, items[::2]), items[1::2], strict=True)

    def make(self, name: Any, args: Any) -> Any:
        """The result of a call in the file: only names in the table `known` can be called."""
        maker = self.known.get(name) if isinstance(name, Name) else None
        if maker is None or not isinstance(args, tuple):
            _refuse(self.path, f"a call of {_said(name)}")
        return maker(self, *args)

    def new(self, cls: Any) -> Any:
        """An empty object of a class; its content follows in a BUILD operation."""
        content = self.content.get(cls) if isinstance(cls, Name) else None
        if content is None:
            _refuse(self.path, f"an object of {_said(cls)}")
        self.spend(_OBJECT_SIZE)
        made, fill = content
        value = made()
        self.unfinished[id(value)] = (value, lambda state: fill(self, value, state))
        return value

    def refuse_unfolded(self, result: Any) -> None:
        """Refuse a result that is not plain data, or is larger than `most` bytes if each shared part counts as often as
        it is used. Shared containers are measured once. The path into the result is kept in a list, not on the call
        stack, because it may be long."""
        sizes: dict[int, int] = {}  # of shared containers; 0 while one is being measured
        sizes_above: list[int] = []
        way = [iter((result,))]
        owners: list[int] = []
        total = 0
        while way:
            value = next(way[-1], way)
            if value is way:  # the end of a container
                way.pop()
                if owners:
                    owner = owners.pop()
                    if owner in sizes:
                        sizes[owner] = total
                    total += sizes_above.pop()
            elif isinstance(value, _CONTAINERS):
                if id(value) in sizes:
                    if not sizes[id(value)]:
                        raise ValueError("a container that holds itself")
                    total += sizes[id(value)]
                else:
                    if len(way) > _MOST_NESTED:
                        raise ValueError(f"containers nested more than {_MOST_NESTED} deep")
                    if id(value) in self.shared:
                        sizes[id(value)] = 0
                    owners.append(id(value))
                    sizes_above.append(total)
                    total = sys.getsizeof(value)
                    way.append(_inside(value))
            else:
                total += self.plain_size(value)
            if total > self.most:
                found = "one that expands far beyond its size, because it repeats its parts"
                _refuse(self.path, found, expected="a pickle of a plausible size")

    def plain_size(self, value: Any) -> int:
        """Bytes of a value that is not a container; a sparse matrix counts as a dense one."""
        if isinstance(value, Name | _DType) or id(value) in self.unfinished:
            _refuse(self.path, f"a bare {value}" if isinstance(value, Name) else "an object without its content")
        if isinstance(value, np.ndarray):
            return 112 + value.nbytes
        if scipy.sparse.issparse(value):
            return _dense_size(value)
        return sys.getsizeof(value)

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.make(self.stack[-1], args)

    def load_newobj(self) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        if args != ():
            _refuse(self.path, f"an object of {_said(cls)} with arguments")
        self.append(self.new(cls))

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if isinstance(value, _DType):
            version, order, *structure = state[:5] if isinstance(state, tuple) else (None, None)
            plain = isinstance(version, int) and isinstance(order, str) and structure == [None] * 3
            if not plain or version not in (1, 3, 4) or order not in ("<", ">", "|", "="):
                _refuse(self.path, "a structured dtype", expected="arrays of numbers")
            value.order = order
            return
        if id(value) not in self.unfinished:
            _refuse(self.path, f"a state for {_said(value)}")
        _, fill = self.unfinished.pop(id(value))
        fill(state)

    def pop_mark(self) -> list:
        self.budget += _MARK  # the mark's list is freed, or charged again as a value
        return super().pop_mark()

    def load_append(self) -> None:
        value = self.stack.pop()
        self._top(list).append(value)

    def load_appends(self) -> None:
        items = self.pop_mark()
        self.spend(_PLACE * len(items))
        self._top(list).extend(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict)[self.key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._top(dict).update(self.pairs_of(items))

    def load_dict(self) -> None:
        items = self.pop_mark()  # before `append` is looked up, which `pop_mark` replaces together with the stack
        self.append(dict(self.pairs_of(items)))

    def load_additems(self) -> None:
        items = self.pop_mark()
        self._top(set).update(map(self.key, items))

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(map(self.key, items)))

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_inst(self) -> None:
        self.find_class(self.readline()[:-1].decode("latin1"), self.readline()[:-1].decode("latin1"))
        self.refuse_operation()

    def refuse_operation(self) -> None:
        _refuse(self.path, "a pickle operation that plain data does not need")

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"items for {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    _handlers: ClassVar = {
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


Machine.dispatch = {code: _charged(code, handler) for code, handler in Machine._handlers.items()}
_CONTAINERS = (list, tuple, dict, set, frozenset)


def _inside(container: Any) -> Iterator[Any]:
    return chain(container, container.values()) if isinstance(container, dict) else iter(container)


def _said(value: Any) -> str:
    """A name in the file, or the type of a value that is not a name: printing the value itself might never end."""
    return str(value) if isinstance(value, Name) else type(value).__name__


def _dense_size(matrix: Any) -> int:
    return int(matrix.shape[0]) * int(matrix.shape[1]) * matrix.dtype.itemsize


def whole_numbers(values: Any, kind: str) -> tuple[int, ...]:
    """Check that `values`, a shape or an order of axes, are a short tuple of integers."""
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iu" and len(values) <= _MOST_PARTS:
        return tuple(values.tolist())
    if not isinstance(values, tuple | list) or len(values) > _MOST_PARTS or not all(type(n) is int for n in values):
        raise TypeError(f"{kind} that is not a tuple of integers")
    return tuple(values)


def _array_from(machine: Machine, shape: Any, dtype: Any, data: Any, order: str) -> np.ndarray:
    """An array from raw bytes, or from the bytes of Python 2, which were decoded as Latin-1 text."""
    if not isinstance(dtype, _DType):
        _refuse(machine.path, f"an array of {type(dtype).__name__}", expected="an array of numbers")
    if isinstance(data, str):
        data = data.encode("latin1")
    shape = whole_numbers(shape, "a shape")
    if not isinstance(data, bytes | bytearray) or not all(n >= 0 for n in shape):
        raise TypeError("an array without bytes or shape")
    machine.spend(_COPIES * len(data))
    return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if order == "F" else "C")


def _make_dtype(machine: Machine, text: Any, *_flags: Any) -> _DType:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        said = repr(text[:40]) if isinstance(text, str) else f"a {type(text).__name__}"
        _refuse(machine.path, f"an array of dtype {said}", expected="arrays of numbers, not of objects")
    return _DType(text)


def _reconstruct(machine: Machine, cls: Any, shape: Any, kind: Any) -> Any:
    if not isinstance(cls, Name) or cls not in _ARRAYS or whole_numbers(shape, "a shape") != (0,):
        _refuse(machine.path, f"an array of class {_said(cls)}")
    return machine.new(cls)


def _fill_array(machine: Machine, value: np.ndarray, state: Any) -> None:
    _, shape, dtype, fortran, data = state
    _become(value, _array_from(machine, shape, dtype, data, "F" if fortran else "C"))


def _become(value: np.ndarray, content: np.ndarray) -> None:
    """Fill an array in place, because other objects may refer to it already; NumPy's own unpickling does the same."""
    fortran = content.flags.f_contiguous and not content.flags.c_contiguous
    content_bytes = content.tobytes("F" if fortran else "C")
    restore: Any = value.__setstate__
    restore((1, content.shape, content.dtype, fortran, content_bytes))


def _from_buffer(machine: Machine, data: Any, dtype: Any, shape: Any, order: Any, *_axes: Any) -> np.ndarray:
    return _array_from(machine, shape, dtype, data, order if isinstance(order, str) else "C").copy(order="K")


def _scalar(machine: Machine, dtype: Any, data: Any) -> Any:
    return _array_from(machine, (), dtype, data, "C")[()]


def _reconstructor(machine: Machine, cls: Any, base: Any, state: Any) -> Any:
    if not isinstance(base, Name) or base not in _OBJECT or state is not None:
        _refuse(machine.path, f"an object of {_said(cls)} made from {_said(base)}")
    return machine.new(cls)


def _encode(machine: Machine, text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("text in an encoding other than Latin-1")
    machine.spend(_COPIES * len(text))
    return text.encode("latin1")


def _fill_sparse(kind: type) -> Callable[[Machine, Any, Any], None]:
    def fill(machine: Machine, value: Any, state: Any) -> None:
        parts = [state["data"], state["indices"], state["indptr"]]
        shape = whole_numbers(state.get("_shape", state.get("shape")), "a shape")
        if not all(isinstance(part, np.ndarray) for part in parts) or any(p.dtype.kind not in "iu" for p in parts[1:]):
            raise TypeError("a sparse matrix without its arrays")
        machine.spend(sum(part.nbytes + 16 * part.size for part in parts))  # indices may become wider
        built = kind(tuple(parts), shape=shape, copy=True)
        built.check_format(full_check=True)  # SciPy's compiled code would read out of bounds at an invalid index
        machine.spend(_dense_size(built))  # the caller may convert it to a dense matrix
        value.__dict__.update(built.__dict__)

    return fill


def _fill_chumpy(kind: str) -> Callable[[Machine, Any, Any], None]:
    def fill(machine: Machine, value: np.ndarray, state: Any) -> None:
        content = state["x"] if kind == "Ch" else state["a"]
        if not isinstance(content, np.ndarray | np.generic | int | float):
            raise TypeError(f"chumpy around {type(content).__name__}")
        content = np.asarray(content)
        if content.dtype.hasobject:  # an integer of more than 64 bits
            raise TypeError("chumpy around an integer of more than 64 bits")
        if kind == "Select":
            ids = state["idxs"]
            ids = ids if isinstance(ids, np.ndarray) else np.array(whole_numbers(ids, "a list of numbers"), np.int64)
            machine.spend(_COPIES * ids.size * content.itemsize)
            content = content.ravel()[ids]
            if state.get("preferred_shape") is not None:
                content = content.reshape(whole_numbers(state["preferred_shape"], "a shape"))
        elif kind == "Reshape":
            content = content.reshape(whole_numbers(state["newshape"], "a shape"))
        elif kind == "transpose":
            axes = state.get("axes")
            content = content.transpose(None if axes is None else whole_numbers(axes, "axes"))
        machine.spend(_COPIES * content.nbytes)
        _become(value, content)

    return fill


def _bytearray(machine: Machine, data: Any = b"", *encoding: Any) -> bytearray:
    data = _encode(machine, data, *encoding) if encoding else data
    if not isinstance(data, bytes):
        raise TypeError("a bytearray without bytes")
    machine.spend(_COPIES * len(data))
    return bytearray(data)


def _set(kind: type) -> Callable[..., Any]:
    def make(machine: Machine, items: Any = ()) -> Any:
        if not isinstance(items, list | tuple):
            raise TypeError(f"a set of {type(items).__name__}")
        return kind(map(machine.key, items))

    return make


def _dictionary(machine: Machine, *args: Any) -> dict:
    """OrderedDict and defaultdict, as plain dictionaries: these keep the order, and a default factory is code."""
    items = [] if not args or isinstance(args[0], Name) or args[0] is None else args[0]
    if not isinstance(items, list | tuple):
        raise TypeError(f"a dictionary of {type(items).__name__}")
    return {machine.key(key): value for key, value in items}


def _complex(machine: Machine, real: Any, imag: Any) -> complex:
    if not isinstance(real, int | float) or not isinstance(imag, int | float):
        raise TypeError("a complex number whose parts are not numbers")
    return complex(real, imag)


def _no_call(machine: Machine, *_args: Any) -> NoReturn:
    _refuse(machine.path, "a call of a class")


def names(modules: str, names: str) -> list[Name]:
    return [Name(module, name) for module in modules.split() for name in names.split()]


_OBJECT = set(names("__builtin__ builtins", "object"))
_ARRAYS = {*names("numpy", "ndarray memmap"), *names("numpy.core.memmap numpy._core.memmap", "memmap")}
_CHUMPY = {
    Name("chumpy.ch", "Ch"): "Ch",
    **{n: n.name for n in names("chumpy.reordering", "Select Reshape transpose")},
}
_SPARSE = {
    **dict.fromkeys(names("scipy.sparse.csc scipy.sparse._csc", "csc_matrix"), scipy.sparse.csc_matrix),
    **dict.fromkeys(names("scipy.sparse.csr scipy.sparse._csr", "csr_matrix"), scipy.sparse.csr_matrix),
}


def _empty_array() -> np.ndarray:
    return np.ndarray((0,), np.uint8)


# Class → the functions that make an empty object of it and that fill it.
CONTENT: dict[Name, tuple[Callable[[], Any], Callable[[Machine, Any, Any], None]]] = {
    **dict.fromkeys(_ARRAYS, (_empty_array, _fill_array)),
    **{name: (_empty_array, _fill_chumpy(kind)) for name, kind in _CHUMPY.items()},
    **{name: (partial(kind, (1, 1)), _fill_sparse(kind)) for name, kind in _SPARSE.items()},
}
# Every name that a file may mention → the function that is called for it.
KNOWN: dict[Name, Callable[..., Any]] = {
    **dict.fromkeys([*_OBJECT, *CONTENT, *names("__builtin__ builtins", "list dict int float")], _no_call),
    **dict.fromkeys(names("numpy.core.multiarray numpy._core.multiarray", "_reconstruct"), _reconstruct),
    **dict.fromkeys(names("numpy.core.multiarray numpy._core.multiarray", "scalar"), _scalar),
    **dict.fromkeys(names("numpy.core.numeric numpy._core.numeric", "_frombuffer"), _from_buffer),
    **dict.fromkeys(names("copy_reg copyreg", "_reconstructor"), _reconstructor),
    **dict.fromkeys(names("collections", "OrderedDict defaultdict"), _dictionary),
    **dict.fromkeys(names("__builtin__ builtins", "set"), _set(set)),
    **dict.fromkeys(names("__builtin__ builtins", "frozenset"), _set(frozenset)),
    **dict.fromkeys(names("__builtin__ builtins", "bytes"), lambda machine: b""),
    **dict.fromkeys(names("__builtin__ builtins", "bytearray"), _bytearray),
    **dict.fromkeys(names("__builtin__ builtins", "complex"), _complex),
    Name("_codecs", "encode"): _encode,
    Name("numpy", "dtype"): _make_dtype,
}


Machine.known, Machine.content = KNOWN, CONTENT


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
        fix="Nothing in the file was run, but it may be malicious: get it again from its publisher.",
    )
