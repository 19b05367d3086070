"""The `.vl` files of BIWI: one frame of vertices each, in a folder or an archive per sequence."""

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from learn2talk_core.run.errors import BadInput

_FRAME = re.compile(r"(?:^|/)(?!\.)[^/]*?(?P<number>\d+)\.vl$")
_LARGEST = 1 << 24  # bytes; the most that is read of one frame, whatever size an archive states


def vl_vertices(content: bytes, where: object, vertex_count: int) -> np.ndarray:
    """The vertices (V, 3) float32 of a `.vl` file: their count, then x y z of each, little-endian.

    The count has 4 bytes, or 8 where MATLAB's `ulong` had 8; the file's length tells which.
    """
    for size in (4, 8):
        count = int.from_bytes(content[:size], "little")
        # With an 8-byte count, a file that lost its last 4 bytes is as long as one with a 4-byte count; the upper half
        # of the count is then where the first x would be.
        if len(content) == size + 12 * count > size and (size == 8 or content[4:8] != bytes(4)):
            break
    else:
        found = f"{len(content)} bytes that begin with the count {int.from_bytes(content[:4], 'little')}"
        raise BadInput(
            where,
            expected="a vertex count (4 or 8 bytes) and 12 bytes per vertex",
            found=found,
            fix="It is truncated or not a .vl file: unpack the archive of its sequence again.",
        )
    if count != vertex_count:
        raise BadInput(
            where,
            expected=f"{vertex_count} vertices, as in the template",
            found=str(count),
            fix="Check that this file and rigid_scans are from BIWI.",
        )
    return np.frombuffer(content, "<f4", offset=size).reshape(-1, 3)


def count_frames(path: Path) -> int:
    """The number of frames that `read_frames` returns."""
    return len(_frame_names(path))


def read_frames(path: Path, vertex_count: int) -> np.ndarray:
    """The frames (T, V, 3) float32 of a folder or an archive of `.vl` files, as they are stored."""
    names = _frame_names(path)
    frames = np.empty((len(names), vertex_count, 3), np.float32)
    if path.is_dir():
        for t, name in enumerate(names):
            with (path / name).open("rb") as file:
                frames[t] = vl_vertices(file.read(_LARGEST), path / name, vertex_count)
        return frames
    place = {name: t for t, name in enumerate(names)}
    with _archive(path) as archive:
        for member in archive:  # in the archive's own order, so that a compressed archive is unpacked only once
            if member.name in place:
                packed = archive.extractfile(member)
                assert packed is not None  # it is a regular file
                where = f"{path}: {member.name}"
                frames[place[member.name]] = vl_vertices(packed.read(_LARGEST), where, vertex_count)
    return frames


def _frame_names(path: Path) -> list[str]:
    if path.is_dir():
        return _in_order(path, [file.name for file in path.iterdir()])
    with _archive(path) as archive:
        names = _in_order(path, [member.name for member in archive if member.isreg()])
        assert archive.fileobj is not None
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # no empty block at the end
            raise tarfile.ReadError(f"no end marker after {len(names)} frames")
        return names


@contextmanager
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path) as archive:
            yield archive
    except BadInput:
        raise
    except Exception as error:  # tar, gzip, zlib and value errors all mean the same here
        found = f"{type(error).__name__}: {error}"
        raise BadInput(path, expected="a whole archive of .vl files", found=found, fix="Copy it again.") from error


def _in_order(path: Path, names: list[str]) -> list[str]:
    """The names of frames among `names`, sorted by number; the numbers must be consecutive."""
    numbered = sorted((int(match["number"]), name) for name in names if (match := _FRAME.search(name)))
    if not numbered:
        raise BadInput(path, expected="frames frame_001.vl …", found="no .vl file", fix="Unpack the sequence's .tar.")
    first = min(numbered[0][0], 1)
    for expected, (number, name) in enumerate(numbered, first):
        if number != expected:
            raise BadInput(
                path,
                expected=f"frame number {expected}",
                found=name,
                fix="A frame is missing or duplicated: unpack the sequence again.",
            )
    return [name for _, name in numbered]
