"""Arrays of numbers in `.npz` files from strangers, in bounded memory."""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from learn2talk_core.run.errors import BadInput

INFLATED, SPARE = 100, 64 << 20  # an .npz may hold so many times its size, and so many bytes more


def read_npz(
    path: Path, names: Collection[str] | None = None, *, expected: str, fix: str, needed: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` by name; numbers, truth values and text, no objects.

    Args:
        path: the file.
        names: those to read; all when not given.
        expected: what the file should be, for errors.
        fix: what to do when it is something else.
        needed: those that must be there.

    Raises:
        BadInput: no `.npz`, a damaged one, arrays that hold more than 100 times the file and 64 MB, one of another
            length than it says, or one of `needed` that is absent.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            size = sum(entry.file_size for entry in archive.infolist())
            if size > INFLATED * path.stat().st_size + SPARE:
                raise ValueError(f"{size} bytes packed into {path.stat().st_size}")
            arrays = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if names is None or name in names:
                    arrays[name] = _array(archive, entry)
    except Exception as error:  # zip, zlib and NumPy each have their own errors for the same thing
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise BadInput(path, expected=expected, found=found, fix=fix) from error
    absent = [name for name in needed if name not in arrays]
    if absent:
        there = ", ".join(str(entry.filename)[:40] for entry in entries[:5]) or "nothing"
        raise BadInput(path, expected=expected, found=f"no {absent[0]} ({there})", fix=fix)
    return arrays


def array_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran's order, dtype, and the length of the header of an array in an `.npz`."""
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
        raise ValueError(f"{entry.filename[:80]} of another length than its {shape} of {dtype}")
    with archive.open(entry) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
