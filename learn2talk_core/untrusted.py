"""Files of strangers: nothing in them is run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.errors import BadInput

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of arrays and plain containers; anything else is refused."""
    try:
        with Path(path).open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except Exception as error:
        raise BadInput(
            path, expected="a pickle of arrays", found=f"{type(error).__name__}: {error}", fix="Export it again."
        ) from error


def load_array(path: str | Path, *, mmap: bool = False) -> np.ndarray:
    """Read a `.npy` without objects."""
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BadInput(path, expected="a whole array", found=str(error), fix="Copy or export it again.") from error
