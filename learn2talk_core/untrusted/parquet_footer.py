"""The footer of a parquet file, read without Arrow, because some damaged footers make Arrow end the whole process.

A footer is a tree in Thrift's compact protocol (Apache Thrift, doc/specs/thrift-compact-protocol.md), whose fields have
numbers instead of names (Apache Parquet, parquet.thrift, version 2.11).
"""

import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

DEEPEST = 20  # levels of nested structures; footers have six
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)


class Column(NamedTuple):
    """A column of a row group: path, compression code, number of values, uncompressed bytes, smallest value."""

    path: tuple[str, ...]
    compression: int
    values: int
    unpacked: int
    least: bytes | None


class RowGroup(NamedTuple):
    """Rows that are stored together."""

    rows: int
    columns: tuple[Column, ...]


def read_footer(path: Path) -> list[RowGroup]:
    """The row groups of a parquet file; raises any `Exception` if it is damaged."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        length, magic = struct.unpack("<I4s", file.read(8))
        if magic != b"PAR1" or length > size - 12:
            raise ValueError("no footer")
        file.seek(size - 8 - length)
        return list(_row_groups(file.read(length)))


@lru_cache(maxsize=4)  # clips are read one after another from the same file
def _row_groups(footer: bytes) -> tuple[RowGroup, ...]:
    about = _Reader(footer).structure(0)
    return tuple(
        RowGroup(_count(group[3]), tuple(_column(chunk[3]) for chunk in _all(group[1], dict)))
        for group in _all(about[4], dict)
    )


def _column(about: dict[int, Any]) -> Column:
    path = tuple(part.decode() for part in _all(about[3], bytes))
    statistics = about.get(12, {})
    least = statistics.get(6)
    if not isinstance(least, bytes | None):
        raise TypeError("invalid statistics")
    return Column(path, _count(about[4]), _count(about[5]), _count(about[6]), least)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("an invalid count")
    return value


def _all(values: Any, kind: type) -> list[Any]:
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise TypeError("fields of the wrong type")
    return values


class _Reader:
    """Reads values of Thrift's compact protocol: structures become dictionaries with field numbers as keys."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.place:
            raise EOFError("the footer is cut short")
        self.place += count
        return self.data[self.place - count : self.place]

    def whole_number(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def signed(self) -> int:
        value = self.whole_number()
        return (value >> 1) ^ -(value & 1)

    def value(self, kind: int, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError("a footer that is nested too deeply")
        if kind in INTEGERS:
            return self.signed()
        if kind == BINARY:
            return self.take(self.whole_number())
        if kind == STRUCT:
            return self.structure(depth + 1)
        if kind in (LIST, SET):
            head = self.take(1)[0]
            count, inner = head >> 4, head & 15
            return self.values(self.whole_number() if count == 15 else count, inner, depth)
        if kind == MAP:
            count = self.whole_number()
            kinds = self.take(1)[0] if count else 0
            pair = (kinds >> 4, kinds & 15)
            return [self.values(1, inner, depth) for _ in range(self.bounded(count)) for inner in pair]
        if kind in (BYTE, DOUBLE):
            return self.take(1 if kind == BYTE else 8)
        raise ValueError(f"fields of type {kind}")

    def values(self, count: int, kind: int, depth: int) -> list[Any]:
        inner = BYTE if kind in (TRUE, FALSE) else kind
        return [self.value(inner, depth + 1) for _ in range(self.bounded(count))]

    def bounded(self, count: int) -> int:
        if count > len(self.data) - self.place:  # each value takes at least one byte
            raise EOFError("the footer is cut short")
        return count

    def structure(self, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self.take(1)[0]:
            number = number + (head >> 4) if head >> 4 else self.signed()
            kind = head & 15
            fields[number] = kind == TRUE if kind in (TRUE, FALSE) else self.value(kind, depth)
        return fields
