"""An intact footer is read as Arrow reads it; a damaged one raises an ordinary error."""

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learn2talk_core.untrusted.parquet_footer import read_footer


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("size", [1, 20])
def test_as_arrow_reads_it(tmp_path: Path, compression: str, size: int) -> None:
    nested = [[{"start": 0.5, "name": "AA"}] * (n % 3) for n in range(40)]
    table = pa.table({"id": [f"{n:03d}" for n in range(40)], "yes": [True, False] * 20, "nested": nested})
    path = tmp_path / "x.parquet"
    parquet.write_table(table, path, row_group_size=size, compression=compression)
    codes = {"UNCOMPRESSED": 0, "SNAPPY": 1, "ZSTD": 6}
    with parquet.ParquetFile(path) as file:
        about = file.metadata
        found = read_footer(path)
        assert len(found) == about.num_row_groups
        for number, group in enumerate(found):
            expected = about.row_group(number)
            assert (group.rows, len(group.columns)) == (expected.num_rows, expected.num_columns)
            for place, column in enumerate(group.columns):
                told = expected.column(place)
                assert ".".join(column.path) == told.path_in_schema
                assert (column.values, column.unpacked) == (told.num_values, told.total_uncompressed_size)
                assert column.compression == codes[told.compression]
            assert group.columns[0].least == expected.column(0).statistics.min.encode()


def test_damaged_footers_give_an_ordinary_error(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"id": ["a", "b"], "n": [1, 2]}), path, row_group_size=1)
    whole, true, outcomes = path.read_bytes(), read_footer(path), Counter[str]()
    footer = whole[-8 - int.from_bytes(whole[-8:-4], "little") :]
    for seed in range(2000):
        choose, data = random.Random(seed), bytearray(whole)
        for _ in range(choose.randint(1, 3)):
            data[-1 - choose.randrange(len(data) // 2)] = choose.randrange(256)
        data = data[choose.choice([0, 0, 0, 4, 100]) :]
        path.write_bytes(data)
        try:
            found = read_footer(path)
        except (ValueError, TypeError, EOFError, KeyError, AttributeError):
            assert not data.endswith(footer), "a whole footer is refused"
            outcomes["refused"] += 1
            continue
        assert found == true or not data.endswith(footer)
        assert len(found) <= len(footer)
        assert all(min([group.rows, *(column.unpacked for column in group.columns)]) >= 0 for group in found)
        outcomes["read"] += 1
    assert min(outcomes["refused"], outcomes["read"]) > 300, outcomes
