"""What each stage cost."""

from collections.abc import Mapping
from pathlib import Path

from learn2talk_core.files import read_json

Cost = Mapping[str, Mapping[str, float]]  # stage → seconds, peak_memory_mb


def read_costs(folder: str | Path, without: str) -> dict[str, dict[str, float]]:
    """The costs that the stages wrote into `folder`, one file each, except the one named `without`."""
    costs: dict[str, dict[str, float]] = {}
    for path in sorted(Path(folder).glob("*.json")):
        if path.stem != without:
            costs |= read_json(path, made_by="dvc repro")
    return costs


def cost_table(costs: Cost) -> str:
    """Markdown: stage, minutes, peak memory, and the sum of the minutes."""
    lines = ["| stage | minutes | peak memory (GB) |", "| --- | ---: | ---: |"]
    for stage, cost in costs.items():
        lines.append(f"| {stage} | {cost['seconds'] / 60:.2f} | {cost['peak_memory_mb'] / 1024:.2f} |")
    total = sum(cost["seconds"] for cost in costs.values())
    most = max((cost["peak_memory_mb"] for cost in costs.values()), default=0)
    lines.append(f"| all | {total / 60:.2f} | {most / 1024:.2f} |")
    return "\n".join(lines) + "\n"
