"""Writes checkpoints in TensorFlow's V2 format, from LevelDB's doc/table_format.md and tensor_bundle.proto."""

import struct
from pathlib import Path

import numpy as np

MAGIC = bytes.fromhex("57fb808b247547db")
TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def crc32c(data: bytes) -> int:
    """Bit by bit, and masked as LevelDB masks it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17 & 0xFFFFFFFF)) + 0xA282EAD8) & 0xFFFFFFFF


def block(rows: list[tuple[bytes, bytes]], interval: int) -> bytes:
    """Rows whose keys share their beginnings, with a restart at every `interval`-th."""
    out, restarts, before = b"", [], b""
    for i, (key, value) in enumerate(rows):
        shared = 0
        if i % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return out + b"".join(struct.pack("<I", at) for at in restarts) + struct.pack("<I", len(restarts))


def entry(array: np.ndarray, offset: int, raw: bytes, *, kind: int | None = None) -> bytes:
    shape = b"".join(
        b"\x12" + varint(len(size)) + size for size in (b"\x08" + varint(n) if n else b"" for n in array.shape)
    )
    out = b"\x08" + varint(TYPES[str(array.dtype)] if kind is None else kind)
    out += b"\x12" + varint(len(shape)) + shape
    out += (b"\x20" + varint(offset) if offset else b"") + b"\x28" + varint(len(raw))
    return out + b"\x35" + struct.pack("<I", crc32c(raw))


def write_bundle(
    stem: Path, tensors: dict[str, np.ndarray], *, per_block: int = 3, kind: int | None = None, shards: int = 1
) -> Path:
    """Write `stem`.index and `stem`.data-00000-of-00001; returns the first."""
    data, rows = b"", [(b"", b"\x08" + varint(shards) + b"\x1a\x02\x08\x01")]
    for name in sorted(tensors):
        raw = tensors[name].tobytes()
        rows.append((name.encode(), entry(tensors[name], len(data), raw, kind=kind)))
        data += raw
    table, index = b"", []
    parts = [rows[i : i + per_block] for i in range(0, len(rows), per_block)]
    for part in parts:
        place, table = stored(table, block(part, 2))
        index.append((part[-1][0] + b"~", place))  # a separator: not before the block's last key
    meta, table = stored(table, block([], 1))
    root, table = stored(table, block(index, 1))
    table += (meta + root).ljust(40, b"\0") + MAGIC
    Path(f"{stem}.data-00000-of-00001").write_bytes(data)
    Path(f"{stem}.index").write_bytes(table)
    return Path(f"{stem}.index")


def stored(table: bytes, content: bytes) -> tuple[bytes, bytes]:
    """The handle of a block and the table with it, uncompressed."""
    place = varint(len(table)) + varint(len(content))
    return place, table + content + b"\0" + struct.pack("<I", crc32c(content + b"\0"))
