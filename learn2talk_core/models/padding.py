"""Which frames of a padded batch belong to its clips."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learn2talk_core.run.device import sent


def frame_mask(lengths: Sequence[int] | None, x: Tensor) -> Tensor | None:
    """(B, T) True at the frames of each clip of x (B, T, C), False in the padding; None if there is none."""
    if lengths is None or min(lengths) == x.shape[1]:
        return None
    ends = sent(torch.as_tensor(lengths), x.device)[:, None]
    return torch.arange(x.shape[1], device=x.device)[None] < ends
