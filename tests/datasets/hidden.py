"""Folders with the hidden files that macOS adds when it copies to a file system of another operating system."""

from pathlib import Path


def with_hidden_files(folder: Path) -> Path:
    """Add a `._NAME` for each file and folder, a `.DS_Store` to each folder, and a `.Trashes` with a clip in it."""
    paths = list(folder.rglob("*"))
    for path in paths:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for place in [folder, *(path for path in paths if path.is_dir())]:
        (place / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        trash = place / ".Trashes" / "F1"
        trash.mkdir(parents=True)
        (trash / "e01.wav").write_bytes(b"RIFF")
        (trash / "e01.npy").write_bytes(b"")
    return folder
