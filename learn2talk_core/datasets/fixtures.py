"""Small imitations of the datasets, made here, so that the whole path can be run without them."""

from pathlib import Path
from typing import Any

from learn2talk_core.datasets.fixtures_biwi import write_biwi
from learn2talk_core.datasets.fixtures_folder import write_folder
from learn2talk_core.datasets.fixtures_vocaset import write_vocaset
from learn2talk_core.datasets.settings import Dataset

# Two training speakers, one of validation and one of the tests where the dataset has these, and a few sentences.
VOCASET = tuple(f"FaceTalk_{number}_TA" for number in ("170728_03272", "170904_00128", "170811_03275", "170809_00138"))
BIWI = ("F2", "M3", "F1")


def write_fixture(dataset: Dataset, folder: str | Path, seed: int = 0) -> dict[str, Any]:
    """Write the imitation of a dataset into `folder`, some tens of megabytes.

    Returns:
        What to set in group `corpus.source` of params.yaml to read it.
    """
    folder = Path(folder)
    if dataset == "vocaset":
        write_vocaset(folder, seed, speakers=VOCASET, numbers=(1, 2, 21, 22), layouts=("distribution",), jobs=1)
        return {"path": str(folder / "distribution")}
    if dataset == "biwi":
        write_biwi(folder, seed, speakers=BIWI, sentences=(1, 2, 33, 37), packed=True)
        return {"path": str(folder), "recipe": "codetalker"}
    write_folder(folder, seed)
    return {"path": str(folder), "fps": 25.0, "mm_per_unit": 1.0, "lips": "lips.txt"}
