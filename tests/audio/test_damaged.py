"""Truncated sounds and flipped bits: each is read twice, with different values in uninitialised memory."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from learn2talk_core.audio.sound import read_sound
from learn2talk_core.run.errors import BadInput
from tests.audio.sounds import KINDS, encoded

DAMAGES = 10  # of each kind
READ = """
import hashlib, json, logging, sys
from pathlib import Path
from learn2talk_core.audio.sound import read_sound
from learn2talk_core.run.errors import BadInput

logging.disable()
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        wave = read_sound(path, allow_silence=True)
        assert abs(wave).max() <= 1
        found[path.name] = hashlib.sha256(wave).hexdigest()
    except BadInput as error:
        found[path.name] = str(error)
print(json.dumps(found))
"""


def damaged(content: bytes, number: int) -> bytes:
    """Every second file is cut; all but every third have flipped bits, half of these near the start."""
    rng = np.random.default_rng(number)
    changed = bytearray(content[: int(rng.integers(1, len(content)))] if number % 2 == 0 else content)
    for _ in range(int(rng.integers(1, 6)) if number % 3 else 0):
        changed[int(rng.integers(min(len(changed), 100) if rng.random() < 0.5 else len(changed)))] ^= 1 << int(
            rng.integers(8)
        )
    return bytes(changed)


def read_in_memory_full_of(value: int, folder: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)],
        env={**os.environ, "MALLOC_PERTURB_": str(value), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_no_sound_depends_on_memory_that_nobody_wrote(tmp_path: Path) -> None:
    for kind in KINDS:
        content = encoded(kind)
        for number in range(DAMAGES):
            (tmp_path / f"{number}.{kind}").write_bytes(damaged(content, number))
    first, second = (read_in_memory_full_of(value, tmp_path) for value in (85, 170))
    assert len(first) == DAMAGES * len(KINDS)
    assert first == second


@pytest.mark.parametrize("kind", ["mp3", "bare.mp3", "ogg"])
@pytest.mark.parametrize("kept", [0.5, 1.0])
def test_room_that_was_not_filled_is_not_read(
    tmp_path: Path, kind: str, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(kind)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content[: int(kept * len(content))])
    count, zeros = itertools.count(1), np.zeros
    monkeypatch.setattr(  # memory that NumPy does not initialise holds another value each time
        np, "empty", lambda shape, dtype=float, order="C": zeros(shape, dtype) + np.dtype(dtype).type(next(count))
    )
    try:
        first = read_sound(path)
    except BadInput:
        assert kept < 1
        return
    np.testing.assert_array_equal(first, read_sound(path))
