"""CTranslate2's `model.bin` (version 6), read without running any code: a list of named arrays.

Layout, little-endian: u32 version; text, the specification's name; u32 its revision; u32 number of arrays; for each a
text, u8 rank, u32 sizes, u8 type, u32 bytes, the numbers; then aliases, pairs of texts. A text is u16 length and as
many bytes, the last of which is zero.
"""

import math
import struct
from pathlib import Path

import numpy as np
import torch

from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.published import State

VERSION = 6
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
MOST_ARRAYS, MOST_AXES = 100_000, 8
FIX = "Name the model.bin of a CTranslate2 model that is not quantised, downloaded completely."


def read_ctranslate2(path: str | Path, specification: str, prefix: str = "") -> State:
    """The arrays in the file whose names begin with `prefix`, which is removed.

    Args:
        path: the file.
        specification: the kind of model it must hold, such as "WhisperSpec".
        prefix: of the wanted arrays; the others are skipped.

    Raises:
        BadInput: no such file, another format or kind of model, truncated, arrays whose sizes do not agree with their
            bytes, or numbers that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="CTranslate2's model.bin", found="nothing", fix="Correct the path.")
    cursor = _Cursor(path)
    if (version := cursor.whole("I")) != VERSION:
        raise BadInput(path, expected=f"CTranslate2's model.bin of version {VERSION}", found=f"{version}", fix=FIX)
    if (found := cursor.text()) != specification:
        raise BadInput(path, expected=f"a model of the kind {specification}", found=repr(found[:40]), fix=FIX)
    cursor.whole("I")
    if (count := cursor.whole("I")) > MOST_ARRAYS:
        raise BadInput(path, expected=f"at most {MOST_ARRAYS} arrays", found=f"{count}", fix=FIX)
    state: State = {}
    for _ in range(count):
        name = cursor.text()
        if (rank := cursor.whole("B")) > MOST_AXES:
            raise BadInput(f"{path}: {name[:80]}", expected=f"at most {MOST_AXES} axes", found=f"{rank}", fix=FIX)
        shape = [cursor.whole("I") for _ in range(rank)]
        number, size = cursor.whole("B"), cursor.whole("I")
        content = cursor.take(size)
        if not name.startswith(prefix):
            continue
        if number not in TYPES:
            raise BadInput(f"{path}: {name[:80]}", expected="a known type", found=f"type {number}", fix=FIX)
        kind = np.dtype(TYPES[number])
        if math.prod(shape) * kind.itemsize != size:
            expected = f"{math.prod(shape) * kind.itemsize} bytes for {tuple(shape)} {kind}"
            raise BadInput(f"{path}: {name[:80]}", expected=expected, found=f"{size}", fix=FIX)
        values = np.frombuffer(content, kind).reshape(shape)
        if kind.kind == "f" and not np.isfinite(values).all():
            raise BadInput(f"{path}: {name[:80]}", expected="finite weights", found="NaN or infinity", fix=FIX)
        state[name.removeprefix(prefix)] = torch.from_numpy(values.copy())
    return state


class _Cursor:
    """A position in a file's bytes; refuses to go beyond their end."""

    def __init__(self, path: Path) -> None:
        self._path, self._data, self._at = path, memoryview(path.read_bytes()), 0

    def take(self, size: int) -> memoryview:
        if self._at + size > len(self._data):
            found = f"{len(self._data)} bytes, of which {self._at + size} are needed"
            raise BadInput(self._path, expected="a complete model.bin of CTranslate2", found=found, fix=FIX)
        self._at += size
        return self._data[self._at - size : self._at]

    def whole(self, form: str) -> int:
        """One unsigned number: B, H or I."""
        return int(struct.unpack("<" + form, self.take(struct.calcsize(form)))[0])

    def text(self) -> str:
        return bytes(self.take(self.whole("H"))).rstrip(b"\0").decode(errors="replace")
