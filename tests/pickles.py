"""Pickles for tests: as Python 2 and chumpy write them, and malicious ones."""

import os
import pickle
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np


def python2_array(array: np.ndarray, *, module: str = "numpy.core.multiarray") -> bytes:
    """What Python 2's cPickle wrote for an array with protocol 2: its bytes as a `str`."""
    data = array.tobytes()
    shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + b"t"
    kind = array.dtype.str[1:].encode()
    dtype = b"cnumpy\ndtype\n" + b"U" + bytes([len(kind)]) + kind + b"K\x00K\x01\x87R"
    dtype += b"(K\x03U\x01" + array.dtype.str[:1].encode() + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return (
        (b"c" + module.encode() + b"\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R")
        + b"(K\x01"
        + shape
        + dtype
        + b"\x89T"
        + struct.pack("<i", len(data))
        + data
        + b"tb"
    )


def chumpy(name: str, **fields: bytes) -> bytes:
    """An object of chumpy with protocol 2; the fields are programs."""
    items = b"".join(b"U" + bytes([len(key)]) + key.encode() + value for key, value in fields.items())
    module = "chumpy.ch" if name == "Ch" else "chumpy.reordering"
    return f"c{module}\n{name}\n".encode() + b")\x81}(" + items + b"ub"


class Reduces:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


class Victim:
    touched = False

    def __setstate__(self, state: Any) -> None:
        Victim.touched = True


def object_array(payload: Any) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = payload
    return array


def malicious(marker: Path) -> dict[str, bytes]:
    """Programs that create `marker` if an ordinary unpickler runs them, and others that only try."""
    touch = f"touch {marker}"
    nested = pickle.dumps(Reduces(os.system, (touch,)))
    scalar = np._core.multiarray.scalar
    short = lambda text: b"\x8c" + bytes([len(text)]) + text.encode()  # noqa: E731
    return {
        "os.system": pickle.dumps(Reduces(os.system, (touch,)), 2),
        "builtins.eval": pickle.dumps(Reduces(eval, (f"__import__('os').system('{touch}')",)), 4),
        "subprocess.Popen": pickle.dumps(Reduces(subprocess.Popen, (["touch", str(marker)],))),
        "os.system by INST": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "os.system by OBJ": f"(cos\nsystem\nS'{touch}'\no.".encode(),
        "STACK_GLOBAL": b"\x80\x04" + short("posix") + short("system") + b"\x93" + short(touch) + b"\x85R.",
        "dotted name": b"\x80\x04" + short("numpy") + short("ndarray.__class__") + b"\x93.",
        "numpy.load": b"cnumpy\nload\n(S'x.npy'\nNI01\ntR.",
        "numpy.f2py": b"cnumpy.f2py\ncompile\n(S'x'\ntR.",
        "numpy.testing": b"cnumpy.testing._private.utils\nrunstring\n(S'import os'\n}tR.",
        "numpy.memmap to write": f"cnumpy\nmemmap\n(S'{marker}'\nS'uint8'\nS'w+'\nI0\nI9\ntR.".encode(),
        "scalar of objects": pickle.dumps(Reduces(scalar, (np.dtype(object), nested)), 2),
        "array of objects": pickle.dumps(object_array(Reduces(os.system, (touch,))), 4),
        "array of numbers as objects": pickle.dumps(object_array(1), 2),
        "_reconstruct of a subclass": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmatrix\n(I0\ntS'b'\ntR.",
        "_reconstruct of a huge array": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L99999999999L\nt"
        b"S'b'\ntR.",
        "BUILD of an object": pickle.dumps(Victim(), 2).replace(b"}", b"(I1\nd"),
        "BUILD of a class": b"cnumpy\nndarray\n}S'x'\nI1\nsb.",
        "BUILD of a function": b"cnumpy.core.multiarray\n_reconstruct\n(N}S'__defaults__'\nI1\nstb.",
        "BUILD of a list": b"](I1\nI2\ntb.",
        "a structured dtype": pickle.dumps(np.zeros(2, [("a", "f4"), ("b", object)]), 2),
        "extension registry": b"\x80\x02\x82\xf0.",
        "persistent id": b"Pos.system\n.",
        "out-of-band buffer": b"\x80\x05\x97.",
        "NEWOBJ with arguments": b"\x80\x02cnumpy\nndarray\n(L99999999999L\nt\x81.",
        "NEWOBJ_EX": b"\x80\x04" + short("numpy") + short("ndarray") + b"\x93)}\x92.",
        "a reconstructor with another base": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\ncnumpy\nndarray\nNtR.",
        "chumpy's functions": b"cchumpy.ch\nChLambda\n)\x81}b.",
        "a bare class": b"](cnumpy\nndarray\nc__builtin__\nobject\ne.",
        "an object without content": b"\x80\x02cchumpy.ch\nCh\n)\x81.",
        "getattr": b"c__builtin__\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
        "copyreg.add_extension": b"ccopyreg\nadd_extension\n(S'os'\nS'system'\nI240\ntR.",
        "set of calls": b"c__builtin__\nset\n(cos\nsystem\ntR.",
        "functools.partial": b"cfunctools\npartial\n(cos\nsystem\ntR.",
        "torch": b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
    }
