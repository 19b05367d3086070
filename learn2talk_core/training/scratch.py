"""The scratch folder of one training: its checkpoint, keyed by everything that decides the result.

The key is a hash of the stage's name, its parameters, the source code that it imports and the content of its inputs. A
killed stage finds its checkpoint again; a stage whose parameters, code or data changed never finds an old one. A lock
in the folder excludes a second training. If several processes train together, only the first one locks, saves and
removes.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch

from learn2talk_core.run import processes
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.imports import ROOT, closure, data_beside
from learn2talk_core.run.progress import log

WAIT_SECONDS = 60.0  # how long to wait for another training, which may be about to stop because its parent has died


class Scratch:
    """A locked folder with one checkpoint or none. Use as a context manager; `remove()` when all outputs are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / "checkpoint.pt"
        self._lock: IO[str] | None = None

    def __enter__(self) -> "Scratch":
        if processes.rank() > 0:
            return self
        deadline = time.monotonic() + WAIT_SECONDS
        while (lock := _locked(self.folder / "lock")) is None:
            if time.monotonic() > deadline:
                raise BadInput(
                    self.folder,
                    expected="no other training in this folder",
                    found=f"process {_owner(self.folder / 'lock')}",
                    fix="Wait for it or stop it, then try again.",
                )
            time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint with `state` (tensors and plain containers), which is not copied in memory."""
        if processes.rank() > 0:
            return
        with whole_file(self.checkpoint) as partial, partial.open("wb") as file:
            stream = _Stream(file)
            torch.save(state, stream)  # type: ignore[arg-type]
            if stream.error:
                raise stream.error

    def load(self) -> dict[str, Any] | None:
        """The checkpoint, or None if there is none. A damaged one is deleted; training starts from the beginning."""
        if not self.checkpoint.is_file():
            return None
        try:
            return torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:  # any kind of damage: a checkpoint only saves time
            log.warning("%s cannot be read (%s): starting from the beginning", self.checkpoint, error)
            self.checkpoint.unlink()
            return None

    def remove(self) -> None:
        """Delete the folder: the outputs are written and the checkpoint is no longer needed."""
        if processes.rank() == 0:
            gone = self.folder.with_name(f"{self.folder.name}.{os.getpid()}.done")
            self.folder.rename(gone)  # atomic, so that no other process finds a part of it
            shutil.rmtree(gone, ignore_errors=True)


class _Stream:
    """A file for `torch.save`, which would replace an OSError of `write` by its own RuntimeError.

    The first OSError is kept in `error`, and later data is dropped.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        pass


def _locked(path: Path) -> IO[str] | None:
    """The lock file, locked by us; None if another process has the lock."""
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(path.open("a+"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The owner may have removed the folder since we opened the file, and a third process created a new one.
            if not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return None
        except (BlockingIOError, FileNotFoundError):
            return None
        stack.pop_all()
        return lock


def _owner(path: Path) -> str:
    try:
        return path.read_text().strip() or "unknown"
    except FileNotFoundError:
        return "unknown"


def open_scratch(name: str, params: Any, inputs: Iterable[str | Path]) -> Scratch:
    """The scratch folder for stage `name` with `params` (a dataclass, or a tuple of dataclasses) and the files or
    folders `inputs`.

    Its name is a hash of their content and of the code that the modules of the classes of `params` import, directly or
    indirectly. It is in `$DVC_ROOT/.scratch`, which stays the same when DVC runs an experiment in a temporary copy.
    """
    root = Path(os.environ.get("DVC_ROOT", "."))
    key = hashlib.sha256()
    together = [processes.count()] if processes.count() > 1 else []  # the total batch differs
    key.update(json.dumps([name, *map(asdict, _each(params)), *together], sort_keys=True).encode())
    for file in _code(params):
        key.update(file.encode())
        _hash_file(ROOT / file, key)
    for path in map(Path, sorted(map(str, inputs))):
        _hash_tree(path, key)
    return Scratch(root / ".scratch" / f"{name}-{key.hexdigest()[:16]}")


def _each(params: Any) -> tuple[Any, ...]:
    return params if isinstance(params, tuple) else (params,)


def _code(params: Any) -> list[str]:
    """The source files that a stage with these parameters runs, and the data files beside them."""
    sources: set[str] = set()
    for part in _each(params):
        module = sys.modules[type(part).__module__].__spec__  # correct for `python -m` too
        assert module is not None, "parameters of a script that was not started with python -m"
        sources |= closure(module.name)
    return sorted(sources | data_beside(sources))


def fingerprint(path: str | Path) -> str:
    """16 hexadecimal digits that depend on the content of a file or folder, and on the names in the folder."""
    key = hashlib.sha256()
    _hash_tree(Path(path), key)
    return key.hexdigest()[:16]


def _hash_tree(path: Path, key: Any) -> None:
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    for file in files:
        key.update(str(file.relative_to(path)).encode())
        _hash_file(file, key)


def _hash_file(file: Path, key: Any) -> None:
    with file.open("rb") as handle:
        key.update(hashlib.file_digest(handle, "blake2b").digest())
