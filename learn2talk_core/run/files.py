"""Files and folders that are either complete or absent. If several processes train together, only the first writes."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.run import processes
from learn2talk_core.run.errors import BadInput

LONGEST_NAME = 200  # characters; leaves room for a suffix and for what is added while the file is written
# `.NAME.PROCESS.partial` is being written; the folder `.NAME.PROCESS.old` is being replaced.
_LEFT = re.compile(r"\.(.+)\.(\d+)\.(?:partial(?:\..*)?|old)", re.DOTALL)
_CONTENT = re.compile("[0-9a-f]{30,64}")
# How NumPy, safetensors and torch report a full disk.
_UNWRITTEN = re.compile(
    r"requested and \d+ written|os error (?:5|27|28|30|122)\b|inline_container|PytorchStreamWriter|iostream"
)
UNWRITTEN_FIX = "Free disk space or choose a writable folder; no partial output was left behind."
SYNCING = 8  # files of a folder synced at a time: a disk syncs several in the time of one


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it to disk and rename it into place.

    After a crash, a full disk or Ctrl-C there is the old file or none, never a partial new one. If `path` is a link,
    its target is written.

    Raises:
        BadInput: it cannot be written, or `path` exists and is not a file.
    """
    path = check_file(path)
    if processes.rank() > 0:
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere) / path.name
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    except Exception as error:
        if (reason := _unwritten(error, partial)) is None:
            raise
        raise BadInput(path, expected="to be able to write it", found=reason, fix=UNWRITTEN_FIX) from error
    finally:
        if partial.exists():  # `unlink` fails if the parent is not a folder
            partial.unlink()


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Like `whole_file`, for a folder: the old folder is replaced only when everything in the new one is written.

    The old folder is replaced whatever it contains; for folders that a user names, use `own_folder.own_folder`.
    """
    path = _place(path, Path.is_dir, "a folder")
    if processes.rank() > 0:
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere)
        return
    partial, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        partial.mkdir()
        yield partial
        with ThreadPoolExecutor(SYNCING) as threads:
            list(threads.map(_sync, partial.rglob("*")))
        if path.exists():
            os.replace(path, old)  # deleting takes time, during which a partial folder would look complete
        os.replace(partial, path)
        _sync(path.parent)
    except Exception as error:
        if (reason := _unwritten(error, partial)) is None:
            raise
        raise BadInput(path, expected="to be able to write it", found=reason, fix=UNWRITTEN_FIX) from error
    finally:
        if old.exists() and not path.exists():  # interrupted between the two calls of os.replace
            os.replace(old, path)
        for rest in (partial, old):
            shutil.rmtree(rest, ignore_errors=True)


def check_file(path: str | Path) -> Path:
    """Where a file written to `path` will go, links followed; call it to check the path before the work.

    Raises:
        BadInput: `path` exists and is not a file.
    """
    return _place(path, Path.is_file, "a file")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys and a final newline."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path, *, made_by: str) -> Any:
    """Read a JSON file that another stage made; errors about a missing or invalid file name `made_by`."""
    path = Path(path)
    try:
        return json.loads(regular(path, made_by=made_by).read_bytes())
    except (ValueError, RecursionError, OSError) as error:  # no JSON, no UTF-8, a number of 5000 digits, no permission
        found = f"unreadable content ({str(error)[:200]})"
        raise BadInput(path, expected="JSON", found=found, fix=f"Delete it and make it again: {made_by}.") from error


def read_about(path: str | Path, *, made_by: str, **kinds: type) -> dict[str, Any]:
    """Read a JSON file that describes the files beside it, and check its fields `kinds`.

    Args:
        path: the file.
        made_by: see `read_json`.
        kinds: name of a field → `str`; `int`, an integer from 0 to a million; `float`, a number above 0 and below a
            million; `list`, of distinct strings; `dict`.

    Raises:
        BadInput: no such file, or a field that is missing or of another kind.
    """
    about = read_json(inner_file(path, made_by=made_by), made_by=made_by)
    for name, kind in kinds.items():
        value: Any = about.get(name) if isinstance(about, dict) else None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = {
            int: number and isinstance(value, int) and 0 <= value <= 10**6,
            float: number and 0 < value < 10**6,
            list: isinstance(value, list) and all(isinstance(v, str) for v in value) and len(set(value)) == len(value),
        }.get(kind, isinstance(value, kind))
        if not right:
            found = f"{value!r:.80}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
            expected = {int: "a count", float: "a number above 0", str: "text", list: "a list of distinct strings"}
            fix = f"Make it again: {made_by}."
            raise BadInput(f"{path}: {name}", expected=expected.get(kind, "keys and values"), found=found, fix=fix)
    return about


def map_array(
    path: str | Path, *, made_by: str, shape: Sequence[int | None] | None = None, kinds: str = "biuf"
) -> np.ndarray:
    """Memory-map an `.npy` file that another stage made.

    Args:
        path: the file.
        made_by: how to make it if it is missing, damaged or the wrong one.
        shape: the required shape, with None for an axis of any length.
        kinds: codes of the allowed dtypes or of their kinds: "f4", "i2", "biuf".
    """
    path = inner_file(path, made_by=made_by)
    fix = f"Make it again: {made_by}."
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # truncated, not a NumPy file, or an invalid header: many types of error
        raise BadInput(path, expected="a complete array", found=str(error)[:200], fix=fix) from error
    sizes = shape is None or (
        array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    )
    if not sizes or (array.dtype.kind not in kinds and array.dtype.str[1:] not in kinds):
        lengths = "" if shape is None else f" of shape ({', '.join('any' if n is None else str(n) for n in shape)})"
        found = f"{str(array.dtype)[:80]} of shape {array.shape}"
        raise BadInput(path, expected=f"an array of numbers{lengths}", found=found, fix=fix)
    return array


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """Sorted contents of a folder without hidden files: macOS adds `.DS_Store`, and `._NAME` for each file."""
    found = folder.glob(pattern)
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def visible_files(folder: str | Path, suffixes: Collection[str]) -> list[Path]:
    """The visible files of a folder with one of these suffixes (upper or lower case), sorted by name."""
    return [path for path in visible(Path(folder)) if path.suffix.lower() in suffixes and path.is_file()]


def by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Stem → visible file of a folder with one of these suffixes (upper or lower case).

    If several have the same stem, the one whose suffix comes first in `suffixes` is taken.
    """
    files = visible_files(folder, suffixes)
    files.sort(key=lambda path: suffixes.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in files}


def map_shard(
    folder: Path,
    kind: str,
    number: object,
    *,
    made_by: str,
    shape: Sequence[int | None] | None = None,
    kinds: str = "biuf",
) -> np.ndarray:
    """Memory-map `KIND-000.npy` of a folder; its tables state the `number`. See `map_array`."""
    if not isinstance(number, int) or not 0 <= number < 10**6:
        found = repr(number)[:40]
        raise BadInput(folder, expected="a shard number", found=found, fix=f"Make it again: {made_by}.")
    return map_array(folder / f"{kind}-{number:03d}.npy", made_by=made_by, shape=shape, kinds=kinds)


def inner_file(path: str | Path, *, made_by: str) -> Path:
    """Return `path` if it is a file in its folder, and not a link that points outside it.

    A link to a file whose name is a hash is accepted: the caches of DVC and of model hubs store files in this way.
    """
    path = regular(path, made_by=made_by)
    target = Path(os.path.realpath(path))
    if path.is_symlink() and not (
        target.is_relative_to(os.path.realpath(path.parent)) or _CONTENT.fullmatch(target.name)
    ):
        found = f"a link that points outside it, to {target}"
        raise BadInput(path, expected="a file in its folder", found=found, fix="Replace it by a copy.")
    return path


def regular(path: str | Path, *, made_by: str) -> Path:
    """Return `path` if it is a file or a link to one. Devices and pipes are refused: reading them might never end."""
    path = Path(path)
    if not path.is_file():
        if not path.exists():
            raise missing(path, made_by)
        found = "a folder" if path.is_dir() else "a device or a pipe"
        raise BadInput(path, expected="a file", found=found, fix=f"Make it again: {made_by}.")
    return path


def plain_name(name: object, where: object) -> str:
    """Return `name` if it can be a file name in any folder and cannot point outside it.

    Raises:
        BadInput: it is not a string, is empty, too long, has a path separator, or is `.` or `..`. The message begins
            with `where`.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or re.search(r"[/\\\0]", name) or len(name) > LONGEST_NAME:
        expected = f"a plain name without path separators, of at most {LONGEST_NAME} characters"
        found = repr(name) if isinstance(name, str) else type(name).__name__
        raise BadInput(where, expected=expected, found=found, fix="Rename it.")
    return name


def missing(path: str | Path, made_by: str) -> BadInput:
    """The error for an upstream file that does not exist."""
    return BadInput(path, expected="a file", found="nothing", fix=f"Make it first: {made_by}.")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _place(path: str | Path, right: Callable[[Path], bool], kind: str) -> Path:
    """`path` with links followed; refused if something of another kind exists there."""
    place = Path(os.path.realpath(path))
    if place.exists() and not right(place):
        found = "a folder" if place.is_dir() else "a file" if place.is_file() else "a device or a pipe"
        raise BadInput(path, expected=f"{kind} to write, or nothing", found=found, fix="Name another place.")
    return place


def _clear(path: Path) -> None:
    """Remove what killed runs left beside `path`; restore its old folder if they had moved it away."""
    for left in _left_behind(path.parent).get(path.name, ()):
        if left.suffix == ".old" and not path.exists():
            with suppress(OSError):  # another run may have restored it first
                os.replace(left, path)
        elif left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@cache
def _left_behind(folder: Path) -> dict[str, list[Path]]:
    """What dead processes left in a folder, by the name of their output; each process searches a folder once."""
    found: dict[str, list[Path]] = {}
    for name in os.listdir(folder):
        if (left := _LEFT.fullmatch(name)) and not _alive(int(left[2])):
            found.setdefault(left[1], []).append(folder / name)
    return found


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # a process of another user; not a valid process number
        return True
    return True


def _unwritten(error: Exception, partial: Path) -> str | None:
    """Why `partial` could not be written; None if the error has another cause."""
    if isinstance(error, BadInput | FileNotFoundError):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        other = error.filename is not None and not _belongs(Path(os.fsdecode(error.filename)), partial)
        return None if other else error.strerror or str(error)
    told = str(error).strip()
    return f"an incomplete write ({told.splitlines()[0]})" if _UNWRITTEN.search(told) else None


def _belongs(file: Path, partial: Path) -> bool:
    """Whether an error about `file` can come from writing `partial`: `file` is that, inside it, or a parent of it."""
    file = Path(os.path.realpath(file))
    return file.is_relative_to(partial) or partial.is_relative_to(file)
