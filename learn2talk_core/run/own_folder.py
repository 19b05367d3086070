"""Output folders that a user names: never emptied or replaced unless the same command made them.

Such a folder contains `manifest.json`, with the command that made it and the files that it wrote. Files that are not
listed there are the user's.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from learn2talk_core.run import processes
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, whole_folder, write_json

MANIFEST = "manifest.json"
# The commands that make such folders, as manifests name them.
ANIMATE, FIXTURES, PACK = "learn2talk animate", "learn2talk prepare-fixtures", "learn2talk pack"
IMPORT, EXPORT = "learn2talk import-checkpoint", "learn2talk export-checkpoint"
TEACHER_INPUTS = "learn2talk teacher-inputs"


@contextmanager
def own_folder(path: str | Path, made_by: str, about: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """`files.whole_folder` for a folder that a user names; the manifest is written last.

    Call `check_own` before the work as well.

    Args:
        path: the folder.
        made_by: the command.
        about: further entries of the manifest.

    Raises:
        BadInput: as `check_own`, before and after the work, and as `whole_folder`.
    """
    check_own(path, made_by)
    with whole_folder(path) as partial:
        yield partial
        write_json(partial / MANIFEST, {**(about or {}), "made_by": made_by, **_contents(partial)})
        if processes.rank() == 0:
            check_own(path, made_by)  # the folder may have changed in the meantime


def check_own(path: str | Path, made_by: str) -> None:
    """Refuse an output folder that contains anything that the command `made_by` did not write."""
    place = Path(os.path.realpath(path))
    expected, fix = f"a folder that {made_by} made, or none", "Name another place, or move it away."
    if not place.is_dir():
        if place.exists():
            raise BadInput(path, expected=expected, found="a file", fix=fix)
        return
    if Path.cwd().is_relative_to(place):
        raise BadInput(path, expected=expected, found="the current working directory", fix=fix)
    if not any(place.iterdir()):
        return
    told = read_json(place / MANIFEST, made_by=made_by) if (place / MANIFEST).is_file() else None
    if not isinstance(told, dict) or told.get("made_by") != made_by:
        raise BadInput(path, expected=expected, found="something else, which would be lost", fix=fix)
    for kind, entries in _contents(place).items():
        known = told.get(kind)
        for name, size in entries.items():
            listed = known.get(name) if isinstance(known, dict) else None
            more = kind == "sequences" and isinstance(listed, int) and size > listed
            if not isinstance(listed, int) or more:
                found = f"{'more files in ' if more else ''}{name} there, which it did not make and which would be lost"
                raise BadInput(path, expected=expected, found=found, fix=fix)


def _contents(folder: Path) -> dict[str, dict[str, int]]:
    """Sizes of the files in a folder in bytes, and how many files each of its subfolders contains, at any depth."""
    entries = sorted(entry for entry in folder.iterdir() if entry.name != MANIFEST)
    folders = [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]
    return {
        "files": {entry.name: entry.lstat().st_size for entry in entries if entry not in folders},
        "sequences": {entry.name: sum(not file.is_dir() for file in entry.rglob("*")) for entry in folders},
    }
