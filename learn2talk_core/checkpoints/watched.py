"""DVC watches the content of the file or folder that a parameter names, and of nothing else."""

from collections.abc import Sequence
from pathlib import Path

from learn2talk_core.run.errors import BadInput


def refuse_unwatched(source: str | Path, parameter: str, beside: Sequence[str]) -> None:
    """Refuse a checkpoint that DVC cannot watch completely.

    Args:
        source: what the parameter names.
        parameter: its name, for the message.
        beside: patterns of the files that are read with a checkpoint that is a single file, in its folder.

    Raises:
        BadInput: there is no such file or folder, such as for the name of a hub model; or a file has others beside it
            that are read with it.
    """
    path = Path(source)
    how = "learn2talk import-checkpoint FILES --as KIND --out FOLDER"
    if not path.exists():
        fix = f"Give its path. A hub model in the local cache: make a folder of it with {how}, and name that."
        raise BadInput(f"params.yaml: {parameter}", expected="a file or a folder", found=f"{source}", fix=fix)
    read = sorted(file.name for pattern in beside for file in path.parent.glob(pattern)) if path.is_file() else []
    if read:
        raise BadInput(
            f"params.yaml: {parameter}",
            expected="a folder with everything that belongs to the checkpoint, since DVC watches only what is named",
            found=f"{source}, with {', '.join(read)} beside it",
            fix=f"Make a folder of them with {how}, and name that.",
        )
