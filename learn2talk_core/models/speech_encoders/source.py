"""The files of a speech encoder: in a folder, or of a hub model in the local cache. Nothing is ever downloaded."""

from pathlib import Path

from transformers.utils import cached_file

from learn2talk_core.run.files import inner_file, plain_name, read_json


def beside(source: str | Path, name: str) -> Path | None:
    """Path of a file in a folder, or of a hub model in the local cache; None if there is no such file."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    try:
        found = cached_file(str(source), name, local_files_only=True, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):
        return None
    return None if found is None else Path(found)


def check_links(folder: Path) -> None:
    """Refuse a folder that refers to files outside itself: by links, or by file names in its weight index."""
    made_by = "download the model"
    for file in (file for file in folder.iterdir() if not file.is_dir()):
        inner_file(file, made_by=made_by)
        if file.name.endswith(".index.json"):
            told = read_json(file, made_by=made_by)
            parts = told.get("weight_map") if isinstance(told, dict) else None
            for name in parts.values() if isinstance(parts, dict) else ():
                plain_name(name, file)
