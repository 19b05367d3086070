"""Small imitations of the datasets, generated here, so that the whole pipeline can be run without them."""

from pathlib import Path
from typing import Any

from learn2talk_core.datasets import biwi, vocaset
from learn2talk_core.datasets.fixtures_biwi import write_biwi
from learn2talk_core.datasets.fixtures_folder import write_folder
from learn2talk_core.datasets.fixtures_vocaset import write_vocaset
from learn2talk_core.datasets.settings import Dataset
from learn2talk_core.run.own_folder import FIXTURES, own_folder

# Two training speakers, and one each for validation and test where the dataset has them.
VOCASET = (*vocaset.TRAIN[:2], vocaset.VALIDATION[0], vocaset.TEST[0])
BIWI = (biwi.TRAIN_SPEAKERS[0], biwi.TRAIN_SPEAKERS[3], biwi.UNSEEN_SPEAKERS[0])


def write_fixture(dataset: Dataset, folder: str | Path, seed: int = 0) -> dict[str, Any]:
    """Write the imitation of a dataset into `folder`, a few tens of megabytes; an earlier imitation there is replaced.

    Returns:
        The settings of group `corpus.source` in params.yaml that read it.

    Raises:
        BadInput: `folder` exists and is not an imitation.
    """
    folder = Path(folder)
    with own_folder(folder, FIXTURES) as partial:
        if dataset == "vocaset":
            write_vocaset(partial, seed, speakers=VOCASET, numbers=(1, 2, 21, 22), layouts=("distribution",), jobs=1)
            source: dict[str, Any] = {"path": str(folder / "distribution")}
        elif dataset == "biwi":
            write_biwi(partial, seed, speakers=BIWI, sentences=(1, 2, 33, 37), packed=True)
            source = {"path": str(folder), "recipe": "codetalker"}
        else:
            write_folder(partial, seed)
            source = {"path": str(folder), "fps": 25.0, "mm_per_unit": 1.0, "lips": "lips.txt"}
    return source
