"""Rows are read back as written; a file that claims more than it can hold is refused in bounded memory."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.parquet import PHONEMES, read_rows

COLUMNS = [("id", pa.string()), ("count", pa.int64()), ("phonemes", PHONEMES)]


def rows(count: int) -> list[dict]:
    phonemes = [{"start": 0.0, "end": 0.5, "name": "AA"}, {"start": 0.5, "end": 1.0, "name": ""}]
    return [{"id": f"clip {n}", "count": n, "phonemes": phonemes[: n % 3]} for n in range(count)]


@pytest.mark.parametrize("group", [1, 3, 100])
def test_rows_come_back(tmp_path: Path, group: int) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.Table.from_pylist(rows(7), schema=pa.schema(COLUMNS)), path, row_group_size=group)
    assert read_rows(path, COLUMNS, made_by="x") == rows(7)
    assert read_rows(path, COLUMNS[1:2], made_by="x") == [{"count": n} for n in range(7)]
    assert read_rows(path, COLUMNS[:1], made_by="x", group=0) == [{"id": row["id"]} for row in rows(7)[:group]]
    with pytest.raises(BadInput, match=r"x.parquet: expected a parquet file, found .*no row group 9"):
        read_rows(path, COLUMNS, made_by="x", group=9)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"id": ["a", None]}, "empty cells"),
        ({"id": [1, 2]}, "id of type int64"),
        ({"count": [1, 2]}, "no column id"),
        ({"id": [["a"], ["b"]]}, "a damaged or different one"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, columns: dict, found: str) -> None:
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=found):
        read_rows(tmp_path / "x.parquet", COLUMNS[:1], made_by="dvc repro corpus")


GUARDED = """
import resource, sys
from pathlib import Path
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.parquet import read_rows
from tests.untrusted.test_parquet import COLUMNS
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_rows(Path(path), COLUMNS, made_by="x")
        print("read")
    except BadInput as error:
        print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_file_makes_itself_larger(tmp_path: Path) -> None:
    many = 500_000
    phoneme = {"start": 0.0, "end": 0.0, "name": ""}
    tables = {
        "rows": {"id": ["a"] * many, "count": [0] * many, "phonemes": [[]] * many},
        "one long text": {"id": ["a" * 100_000] * 3000, "count": list(range(3000)), "phonemes": [[]] * 3000},
        "one long name": {"id": ["a"], "count": [0], "phonemes": [[{**phoneme, "name": "a" * 100_000}] * 3000]},
        "one long list": {"id": ["a"], "count": [0], "phonemes": [[phoneme] * many]},
    }
    paths = []
    for name, columns in tables.items():
        paths.append(tmp_path / f"{name}.parquet")
        parquet.write_table(pa.table(columns, schema=pa.schema(COLUMNS)), paths[-1])
        assert paths[-1].stat().st_size < 300_000
    long = pa.table({"id": ["a" * 50_000_000], "count": [0], "phonemes": [[]]}, schema=pa.schema(COLUMNS))
    for compression in ("zstd", "gzip"):
        paths.append(tmp_path / f"{compression}.parquet")
        parquet.write_table(long, paths[-1], compression=compression)
    run = subprocess.run([sys.executable, "-c", GUARDED, *paths], capture_output=True, text=True, timeout=60)
    *said, kilobytes = run.stdout.split()
    assert run.returncode == 0, run.stderr
    assert said == ["refused"] * len(paths)
    assert int(kilobytes) < 100_000
