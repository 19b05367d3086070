"""A minimal ONNX file that acts as a face recogniser: its embedding is the mean red, green and blue.

Written directly in protobuf's wire format, because the package onnx is not a requirement.
"""

import struct
from pathlib import Path


def write_mean_colour(path: Path) -> None:
    """Pictures (1, 3, 112, 112) → (1, 3)."""
    _write(path, [_node("GlobalAveragePool", "x", "mean"), _node("Flatten", "mean", "y")], [1, 3])


def write_picture_to_picture(path: Path) -> None:
    """A network whose output is not an embedding."""
    _write(path, [_node("Relu", "x", "y")], [1, 3, 112, 112])


def _write(path: Path, nodes: list[bytes], out: list[int]) -> None:
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"g")
    graph += _field(11, _value("x", [1, 3, 112, 112])) + _field(12, _value("y", out))
    path.write_bytes(_number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13)))


def _node(kind: str, given: str, made: str) -> bytes:
    return _field(1, given.encode()) + _field(2, made.encode()) + _field(3, kind.encode()) + _field(4, kind.encode())


def _value(name: str, shape: list[int]) -> bytes:
    dims = b"".join(_field(1, _number(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, 1) + _field(2, dims)))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + struct.pack("B", value & 127 | 128), value >> 7
    return out + struct.pack("B", value)
