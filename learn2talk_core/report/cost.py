"""What each stage cost."""

from pathlib import Path

from learn2talk_core.run.files import read_json


def read_costs(folder: str | Path, without: str) -> dict[str, dict[str, float]]:
    """Stage → seconds and peak_memory_mb, from the stages' files in `folder` and below, except `without`'s."""
    costs: dict[str, dict[str, float]] = {}
    for path in sorted(Path(folder).rglob("*.json")):
        if path.stem != without:
            costs |= read_json(path, made_by="dvc repro")
    return costs
