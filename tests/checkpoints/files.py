"""Official files made from the golden weights: keys and shapes as recorded, random numbers seeded by the keys."""

from pathlib import Path
from typing import Any

import torch

from learn2talk_core.models.periodic_attention import periodic_positions
from tests.golden.fill import Golden, filled


def golden_state(golden: Golden, keys: dict[str, list[int]] | None = None) -> dict[str, torch.Tensor]:
    """The state dict of the reference network; counters are zero, tables are computed."""
    info: dict[str, Any] = golden.info
    state = {}
    for key, shape in (info["keys"] if keys is None else keys).items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif key == "PPE.pe":
            period = info["config"]["period"]
            state[key] = periodic_positions(period, shape[2]).repeat(shape[1] // period, 1)[None]
        else:
            state[key] = torch.from_numpy(filled(key, tuple(shape), info["fill"]))
    return state


def save(path: Path, state: dict[str, torch.Tensor], *, prefix: str = "module.", **beside: object) -> Path:
    """Saved as usual in the field: a dict that contains the state dict, with DataParallel's prefix in the keys."""
    torch.save({"state_dict": {prefix + key: value for key, value in state.items()}, **beside}, path)
    return path
