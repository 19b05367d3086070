"""Rows of untrusted parquet files: with checked types, complete, and in bounded memory.

A parquet file of a few bytes can declare any number of rows, or refer to the same long text in every row.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as parquet

from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.parquet_footer import read_footer

MULTIPLE, SPARE = 100, 64 << 20  # rows may take this many times the file's size, plus this many bytes
COMPRESSIONS = (0, 1)  # none and Snappy
CELL, RECORD = 64, 300  # bytes that a value and a record take in Python, without their text
PHONEMES = pa.list_(pa.struct([("start", pa.float64()), ("end", pa.float64()), ("name", pa.string())]))


def read_rows(
    path: Path, columns: Sequence[tuple[str, pa.DataType]], *, made_by: str, group: int | None = None
) -> list[dict[str, Any]]:
    """The rows of a parquet file, or of one of its row groups, as dictionaries.

    Takes at most about 100 times the file's size plus 64 MB of memory.

    Args:
        path: the file.
        columns: name and type of the columns to read.
        made_by: how to make the file, for errors.
        group: the row group to read; all if None.

    Raises:
        BadInput: not a parquet file, or a damaged one; a column that is missing, has another type or has empty cells;
            more values than a file of its size can hold; a compression other than Snappy, whose ratio is at most 20.
    """
    leaves = [leaf for name, kind in columns for leaf in _text_in(name, kind)]
    try:
        groups = _groups(path, [name for name, _ in columns], group)
        absent = {name for name, _ in columns} - set(parquet.read_schema(path).names)
        if absent:
            raise ValueError(f"no column {', '.join(sorted(absent))}")
        with parquet.ParquetFile(path, read_dictionary=leaves) as file:
            for name, kind in columns:
                found = _without_dictionary(file.schema_arrow.field(name).type)
                if found != kind:
                    raise ValueError(f"{name} of type {found}")
            rows: list[dict[str, Any]] = []
            left = MULTIPLE * path.stat().st_size + SPARE
            for number in groups:  # one group at a time: Arrow cannot join the dictionaries of nested columns
                table = file.read_row_group(number, columns=[name for name, _ in columns], use_threads=False)
                table.validate(full=True)
                left -= sum(_size(chunk) for column in table.columns for chunk in column.chunks)
                if left < 0:
                    raise ValueError(f"rows that take more than {MULTIPLE} times the file's size")
                rows += table.to_pylist()
            return rows
    except Exception as error:  # Arrow raises different errors for each kind of damage
        found = f"a damaged or different one ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        raise BadInput(path, expected="a parquet file", found=found, fix=f"Make it again: {made_by}.") from error


def _groups(path: Path, names: Sequence[str], group: int | None) -> list[int]:
    """The row groups to read; refused if their stated sizes are impossible for a file of this size."""
    size, groups = path.stat().st_size, read_footer(path)
    if group is not None and not 0 <= group < len(groups):
        raise ValueError(f"no row group {group}")
    chosen = list(range(len(groups))) if group is None else [group]
    columns = [column for number in chosen for column in groups[number].columns if column.path[0] in names]
    packed = [column for column in columns if column.compression not in COMPRESSIONS]
    if packed:
        raise ValueError(f"columns with an unsupported compression (code {packed[0].compression})")
    values = sum(column.values for column in columns) + sum(groups[number].rows for number in chosen)
    unpacked = sum(column.unpacked for column in columns)
    if values > size or unpacked > MULTIPLE * size + SPARE:
        raise ValueError(f"{values} values, {unpacked} bytes unpacked, in a file of {size} bytes")
    return chosen


def _text_in(name: str, kind: pa.DataType) -> list[str]:
    """Paths of the strings in a column. They are read as dictionary indices, so that each string is in memory once."""
    if pa.types.is_list(kind):
        return _text_in(f"{name}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        return [leaf for field in kind for leaf in _text_in(f"{name}.{field.name}", field.type)]
    return [name] if pa.types.is_string(kind) or pa.types.is_binary(kind) else []


def _without_dictionary(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _without_dictionary(kind.value_type)
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_dictionary(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _without_dictionary(field.type)) for field in kind])
    return kind


def _size(array: pa.Array) -> int:
    """Bytes that the values need as Python objects, counting each use of a string; empty cells are refused."""
    if array.null_count:
        raise ValueError("empty cells")
    if pa.types.is_dictionary(array.type):
        lengths = compute.take(compute.binary_length(array.dictionary), array.indices)
        return CELL * len(array) + int(compute.sum(compute.cast(lengths, pa.int64())).as_py() or 0)
    if pa.types.is_list(array.type):
        return CELL * len(array) + _size(array.flatten())
    if pa.types.is_struct(array.type):
        return RECORD * len(array) + sum(_size(field) for field in array.flatten())
    return CELL * len(array) + array.nbytes
