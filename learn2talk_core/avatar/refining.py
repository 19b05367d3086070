"""Refine FLAME's tracked parameters together with the splats, as Qian et al. 2024 do (§3.4): a tracker's errors would
otherwise end up as blur in the splats.

The parameters of every moment are a row of a table; the picture's gradient reaches the rows through the vertices and
the triangles' frames. Only the row of the moment that is drawn takes a step. (GaussianAvatars' optimiser also moves
the others, by their momentum.) Identity and offsets of the head stay fixed.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from learn2talk_core.avatar.flame_head import POSES, FlameMotion, flame_vertices, posed_head

POSE_RATE = 1e-5
RATES_OF_FLAME = {"expr": 1e-3, **dict.fromkeys(POSES, POSE_RATE), "translation": 1e-6}  # the paper's


class RefinedMotion:
    """A tracked motion in training; its state can be saved.

    Args:
        motion: as the tracker found it.
        share: factor on the paper's learning rates.
    """

    def __init__(self, motion: FlameMotion, share: float) -> None:
        self._motion = motion
        self._face = torch.from_numpy(flame_vertices(motion.rig, motion.shape, motion.static_offset))
        self._expression = torch.from_numpy(motion.rig.expression[:, :, : motion.tables["expr"].shape[1]])
        self._tables: dict[str, nn.Embedding] = {
            name: nn.Embedding.from_pretrained(torch.from_numpy(table).clone(), freeze=False, sparse=True)
            for name, table in motion.tables.items()
        }
        groups = [
            {"params": list(table.parameters()), "lr": share * RATES_OF_FLAME[name]}
            for name, table in self._tables.items()
        ]
        self._optimiser = torch.optim.SparseAdam(groups, eps=1e-15)

    def vertices(self, time: int) -> Tensor:
        """(V, 3) float32 at a moment, differentiable by its row of the tables."""
        row = torch.tensor([self._motion.row[time]])
        now = {name: table(row)[0] for name, table in self._tables.items()}
        pose = torch.cat([now[name] for name in POSES])
        shaped = self._face + self._expression @ now["expr"]
        return (posed_head(self._motion.rig, shaped, pose) + now["translation"]).float()

    def step(self) -> None:
        """One step of Adam on the gradients."""
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    @property
    def motion(self) -> FlameMotion:
        """The motion as it is now."""
        tables = {name: table.weight.detach().numpy().copy() for name, table in self._tables.items()}
        return replace(self._motion, tables=tables)

    def state_dict(self) -> dict[str, Any]:
        tables = {name: table.state_dict() for name, table in self._tables.items()}
        return {"tables": tables, "optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        for name, table in self._tables.items():
            table.load_state_dict(state_dict["tables"][name])
        self._optimiser.load_state_dict(state_dict["optimiser"])
