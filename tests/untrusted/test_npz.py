"""Arrays are read back; impossible sizes are refused before memory is allocated."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.npz import read_npz


def written(path: Path, header: dict, content: bytes) -> Path:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, **header})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", file.getvalue() + content)
    return path


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.asfortranarray(np.eye(3, 2))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = read_npz(tmp_path / "x.npz", expected="arrays", fix="Save them.")
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
        assert list(read_npz(tmp_path / "x.npz", ("b", "d"), expected="arrays", fix="Save them.")) == ["b"]
    with pytest.raises(BadInput, match=r"x.npz: expected arrays, found no d \(a.npy, b.npy, c.npy\). Save them."):
        read_npz(tmp_path / "x.npz", expected="arrays", fix="Save them.", needed=("a", "d"))


@pytest.mark.parametrize(
    ("header", "content", "found"),
    [
        ({"shape": (10**12,)}, b"12345678", "a.npy, whose length does not match its"),
        ({"shape": (2,)}, b"12345678", "a.npy, whose length does not match its"),
        ({"shape": (-1,)}, b"", "a.npy, whose length does not match its"),
        ({"shape": (1,), "descr": "|O"}, b"12345678", "an array of object"),
        ({"shape": (1,), "descr": "|V8"}, b"12345678", "an array of"),
        ({"shape": (10**7,)}, bytes(8 * 10**7), "bytes of contents in a file of"),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, header: dict, content: bytes, found: str) -> None:
    with pytest.raises(BadInput, match=f"expected arrays, found ValueError: .*{found}"):
        read_npz(written(tmp_path / "x.npz", header, content), expected="arrays", fix="Save them.")
