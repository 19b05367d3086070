"""Arrays of numbers from untrusted `.npz` files, read in bounded memory."""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from learn2talk_core.run.errors import BadInput

INFLATED, SPARE = 100, 64 << 20  # the arrays of an .npz may take this many times its size, plus this many bytes


def read_npz(
    path: Path, names: Collection[str] | None = None, *, expected: str, fix: str, needed: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` by name: numbers, booleans and text, but no objects.

    Args:
        path: the file.
        names: the arrays to read; all if None.
        expected: what the file should be, for errors.
        fix: what to do if it is something else.
        needed: arrays that must be in it.

    Raises:
        BadInput: not an `.npz`, a damaged one, arrays larger than 100 times the file plus 64 MB, an array whose length
            differs from its header, or a missing array of `needed`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            size = sum(entry.file_size for entry in archive.infolist())
            if size > INFLATED * path.stat().st_size + SPARE:
                raise ValueError(f"{size} bytes of contents in a file of {path.stat().st_size} bytes")
            arrays = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if names is None or name in names:
                    arrays[name] = _array(archive, entry)
    except Exception as error:  # zip, zlib and NumPy raise different errors for the same problem
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise BadInput(path, expected=expected, found=found, fix=fix) from error
    absent = [name for name in needed if name not in arrays]
    if absent:
        there = ", ".join(str(entry.filename)[:40] for entry in entries[:5]) or "nothing"
        raise BadInput(path, expected=expected, found=f"no {absent[0]} ({there})", fix=fix)
    return arrays


def array_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether the order is Fortran's, dtype, and header length in bytes of an array in an `.npz`."""
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(member)
        return shape, fortran, dtype, member.tell()


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    shape, _, dtype, header = array_header(archive, entry)
    if dtype.hasobject or dtype.kind not in "biufcSU":
        raise ValueError(f"an array of {dtype}")
    if min(shape, default=0) < 0 or header + math.prod(shape) * dtype.itemsize != entry.file_size:
        raise ValueError(f"{entry.filename[:80]}, whose length does not match its shape {shape} of {dtype}")
    with archive.open(entry) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
