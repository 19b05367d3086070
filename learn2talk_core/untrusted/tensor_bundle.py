"""TensorFlow's checkpoint format V2 ("tensor bundle"), read without TensorFlow.

`NAME.index` is a sorted table in LevelDB's format: tensor name → protocol buffer with type, shape, place and checksum.
`NAME.data-00000-of-00001` holds the numbers, little-endian and uncompressed. Formats: LevelDB's doc/table_format.md,
and TensorFlow's tensor_bundle.proto. No code is run; every place and length is compared with the size of its file.
"""

import math
import struct
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from learn2talk_core.run.errors import BadInput

MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5  # bytes: the table's footer; type and checksum after each block
LARGEST_INDEX = 64 << 20  # bytes: some 100 bytes per tensor
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # TensorFlow's DataType → NumPy's
AGAIN = "Download the checkpoint again: its .index and .data files belong together."


class Entry(NamedTuple):
    """Where a tensor lies: NumPy's data type, shape, first byte, number of bytes, checksum."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


def read_tensor_bundle(path: str | Path, skipped: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by name.

    Args:
        path: any file of the checkpoint (`.index`, `.data-…`, `.meta`), or their common name without the ending.
        skipped: endings of the names of tensors that are not read, such as an optimiser's `/Adam`.

    Raises:
        BadInput: files missing, damaged or cut short, a checksum that differs, tensors of unusual types or in several
            parts, numbers that are not finite.
    """
    stem = bundle_stem(path)
    index, data = Path(f"{stem}.index"), Path(f"{stem}.data-00000-of-00001")
    for file in (index, data):
        if not file.is_file():
            fix = "Keep the checkpoint's .index and .data-00000-of-00001 in one folder."
            raise BadInput(file, expected="a file of a TensorFlow checkpoint", found="nothing", fix=fix)
    if index.stat().st_size > LARGEST_INDEX:
        raise BadInput(index, expected="an index of tensors", found=f"{index.stat().st_size} bytes", fix=AGAIN)
    try:
        entries = _entries(index.read_bytes())
    except (ValueError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise BadInput(index, expected="the index of a TensorFlow checkpoint", found=str(error), fix=AGAIN) from error
    tensors, length = {}, data.stat().st_size
    with data.open("rb") as numbers:
        for name, entry in entries.items():
            if name.endswith(tuple(skipped)):
                continue
            if entry.offset + entry.size > length:
                found = f"{length} bytes, which end before {name}"
                raise BadInput(data, expected="complete data", found=found, fix=AGAIN)
            numbers.seek(entry.offset)
            raw = numbers.read(entry.size)
            if masked_checksum(raw) != entry.checksum:
                raise BadInput(data, expected=f"the checksum of {name}", found="another one", fix=AGAIN)
            values = np.frombuffer(raw, entry.dtype).reshape(entry.shape)
            if not np.isfinite(values).all():
                raise BadInput(f"{data}: {name}", expected="finite weights", found="NaN or infinity", fix=AGAIN)
            tensors[name] = values
    return tensors


def bundle_stem(path: str | Path) -> Path:
    """The common name of a checkpoint's files: `path` without `.index`, `.meta` or `.data-…`."""
    path = Path(path)
    if path.suffix in (".index", ".meta") or path.suffix.startswith(".data-"):
        return path.with_suffix("")
    return path


def _entries(table: bytes) -> dict[str, Entry]:
    """The tensors in an index file."""
    if len(table) < FOOTER or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise ValueError("no table of LevelDB's format")
    footer = table[-FOOTER:]
    meta, at = _handle(footer, 0)
    root, _ = _handle(footer, at)
    _block(table, *meta)  # TensorFlow leaves it empty
    found: dict[str, Entry] = {}
    header = None
    for _, where in _rows(_block(table, *root)):
        place, _ = _handle(where, 0)
        for key, value in _rows(_block(table, *place)):
            if key == b"":
                header = dict(_fields(value))
            else:
                found[key.decode()] = _entry(value)
    if header is None or header.get(1, 0) != 1 or header.get(2, 0) != 0:
        raise ValueError("no header of one little-endian data file")
    return found


def _block(table: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + TRAILER > len(table) - FOOTER:
        raise ValueError("a block outside the file")
    kind, checksum = struct.unpack("<BI", table[end : end + TRAILER])
    if kind != 0:
        raise ValueError("compressed blocks, which TensorFlow's Saver does not write")
    if masked_checksum(table[offset : end + 1]) != checksum:
        raise ValueError("a wrong checksum")
    return table[offset:end]


def _rows(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key begins with as many bytes of the one before as its entry says."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * restarts
    at, key = 0, b""
    if end < 0:
        raise ValueError("a block that is cut short")
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + fresh + length > end:
            raise ValueError("an entry outside its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of the fields of a protocol buffer."""
    at = 0
    value: int | bytes
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            if kind == 2:
                size, at = _varint(message, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise ValueError("a field of an unknown kind")
            if at + size > len(message):
                raise ValueError("a field that is cut short")
            raw, at = message[at : at + size], at + size
            value = raw if kind == 2 else int.from_bytes(raw, "little")
        yield tag >> 3, value


def _entry(message: bytes) -> Entry:
    """A BundleEntryProto: 1 type, 2 shape, 3 number of the data file, 4 offset, 5 size, 6 checksum, 7 slices."""
    fields: dict[int, int | bytes] = {1: 0, 2: b"", 3: 0, 4: 0, 5: 0, 6: 0}
    fields.update(_fields(message))
    kind, shape = fields[1], fields[2]
    if 7 in fields or fields[3] != 0:
        raise ValueError("a tensor in several parts")
    if kind not in DTYPES:
        raise ValueError(f"a tensor of TensorFlow's type {kind!r}, not of ordinary numbers")
    sizes = []
    for number, dimension in _fields(_bytes(shape)):
        if number == 2:
            sizes.append(_number(dict(_fields(_bytes(dimension))).get(1, 0)))
    dtype = DTYPES[_number(kind)]
    size = _number(fields[5])
    if any(n >= 1 << 40 for n in sizes) or math.prod(sizes) * np.dtype(dtype).itemsize != size:
        raise ValueError(f"a tensor of shape {tuple(sizes)} in {size} bytes")
    return Entry(dtype, tuple(sizes), _number(fields[4]), size, _number(fields[6]))


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a field of another kind")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field of another kind")
    return value


@cache
def _remainders() -> list[int]:
    """CRC-32C (polynomial 0x1EDC6F41, reflected) of each byte."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def masked_checksum(data: bytes) -> int:
    """CRC-32C of `data`, rotated and shifted as LevelDB stores it."""
    table, crc = _remainders(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
