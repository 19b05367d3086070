"""Files and folders that are either whole or absent. Of several processes that train together only the first writes."""

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.run import processes
from learn2talk_core.run.errors import BadInput

SYNCING = 8  # files of a folder that are synced at a time: a disk does several in the time of one


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it to disk and rename it into place.

    A crash, a full disk or Ctrl-C leaves the old file, or none: never half of a new one.
    """
    path = Path(path)
    if processes.rank() > 0:
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere) / path.name
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if partial.exists():  # `unlink` fails where the folder is none
            partial.unlink()


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Like `whole_file`, for a folder: it replaces the old folder only when everything in it is written."""
    path = Path(path)
    if processes.rank() > 0:
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere)
        return
    partial, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        with ThreadPoolExecutor(SYNCING) as threads:
            list(threads.map(_sync, partial.rglob("*")))
        if path.exists():
            os.replace(path, old)  # deleting it takes time, in which half of it would look whole
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if old.exists() and not path.exists():  # stopped between the two
            os.replace(old, path)
        for rest in (partial, old):
            shutil.rmtree(rest, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys and a final newline."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path, *, made_by: str) -> Any:
    """Read a JSON file that another stage made; `made_by` is named in the error when it is missing or broken."""
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise missing(path, made_by) from None
    except (ValueError, RecursionError, OSError) as error:  # no JSON, no UTF-8, a number of 5000 digits, a folder
        found = f"text that is not ({str(error)[:200]})"
        raise BadInput(path, expected="JSON", found=found, fix=f"Delete it and make it again: {made_by}.") from error


def map_array(path: str | Path, *, made_by: str) -> np.ndarray:
    """Map an `.npy` file that another stage made; it is read as it is used."""
    path = Path(path)
    if not path.is_file():
        raise missing(path, made_by)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:  # cut short, or not a NumPy file
        raise BadInput(path, expected="a whole array", found=str(error), fix=f"Make it again: {made_by}.") from error


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """What a folder holds, sorted, without what is hidden: macOS writes `.DS_Store` and a `._NAME` for each file."""
    found = folder.glob(pattern)
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def visible_files(folder: str | Path, suffixes: Collection[str]) -> list[Path]:
    """The visible files of a folder with one of these suffixes, in capitals or not, by name."""
    return [path for path in visible(Path(folder)) if path.suffix.lower() in suffixes and path.is_file()]


def by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """The files of a folder with one of these suffixes, in capitals or not, by their stem.

    Of several with the same stem it is the one whose suffix comes first in `suffixes`.
    """
    files = visible_files(folder, suffixes)
    files.sort(key=lambda path: suffixes.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in files}


def missing(path: str | Path, made_by: str) -> BadInput:
    """The error for an upstream file that is not there."""
    return BadInput(path, expected="a file", found="nothing", fix=f"Make it first: {made_by}.")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explained(error: OSError, path: Path) -> Exception:
    if isinstance(error, FileNotFoundError) or error.errno is None:
        return error
    return BadInput(
        path,
        expected="to be able to write it",
        found=error.strerror or str(error),
        fix="Free disk space or choose a folder that can be written; nothing half-written was left behind.",
    )
