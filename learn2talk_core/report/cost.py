"""Time and memory of each stage."""

from pathlib import Path

from learn2talk_core.run.files import read_json


def read_costs(folder: str | Path, without: str) -> dict[str, dict[str, float]]:
    """Stage → `seconds` and `peak_memory_mb`, from all JSON files below `folder` except `without`.json."""
    costs: dict[str, dict[str, float]] = {}
    for path in sorted(Path(folder).rglob("*.json")):
        if path.stem != without:
            costs |= read_json(path, made_by="dvc repro")
    return costs
