"""What a mouth that moves looks like, in a few numbers.

The lower face of a still image changes by a sum of linear modes, as in active appearance models (Cootes et al. 2001).
Their weights follow from a short code of the mouth's position and from the look of the still face. Speech decides the
code (Suwajanakorn et al. 2017, "Synthesizing Obama", predict such a code too): the mean of codes is a mouth half open,
with its teeth, where the mean of pictures is a blur.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

ROWS, COLUMNS = slice(44, 96), slice(8, 88)  # of the 96 x 96 face: what moves in speech, from the nose to the chin
SIDE = 96
PIXELS = 3 * (ROWS.stop - ROWS.start) * (COLUMNS.stop - COLUMNS.start)
MODES = 128  # of the change
LOOKS = 32  # numbers that describe the still face
HIDDEN = 512  # width of the decoder of codes
DARKEST = 0.02  # pixels are taken as at least this and at most 1 minus it, so that their logits are finite


class MouthModes(nn.Module):
    """Changes of a still face, from codes.

    Args:
        codes: numbers in a code.

    Attributes:
        modes: (MODES, PIXELS), changes of the logits of the pixels in `ROWS` and `COLUMNS`, in (channel, row, column)
            order.
        looks, neutral: (LOOKS, PIXELS) and (PIXELS,): the look of a face is `looks` times its logits minus `neutral`.
    """

    modes: torch.Tensor
    looks: torch.Tensor
    neutral: torch.Tensor

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.register_buffer("modes", torch.zeros(MODES, PIXELS))
        self.register_buffer("looks", torch.zeros(LOOKS, PIXELS))
        self.register_buffer("neutral", torch.zeros(PIXELS))
        self.decoder = layers(codes + LOOKS, HIDDEN, HIDDEN, MODES)

    def look(self, reference: torch.Tensor) -> torch.Tensor:
        """(B, 3, 96, 96) faces in 0..1 → (B, LOOKS)."""
        return (lower_face_logits(reference) - self.neutral) @ self.looks.T

    def forward(self, code: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Codes (B, C) and reference faces (B, 3, 96, 96), or one for all, in 0..1 → changes of their logits
        (B, 3, 96, 96)."""
        look = self.look(reference).expand(len(code), -1)
        moved = self.decoder(torch.cat([code, look], dim=1)) @ self.modes
        inner = moved.view(len(code), 3, ROWS.stop - ROWS.start, COLUMNS.stop - COLUMNS.start)
        return functional.pad(inner, (COLUMNS.start, SIDE - COLUMNS.stop, ROWS.start, SIDE - ROWS.stop))


def layers(*widths: int) -> nn.Sequential:
    """Linear maps between these widths, with a leaky ReLU between two of them."""
    maps: list[nn.Module] = []
    for before, after in pairwise(widths):
        maps += [nn.LeakyReLU(0.1), nn.Linear(before, after)]
    return nn.Sequential(*maps[1:])


def lower_face_logits(faces: torch.Tensor) -> torch.Tensor:
    """(B, 3, 96, 96) faces in 0..1 → (B, PIXELS) logits of the part that moves. Differences of logits hardly depend on
    skin and light, as those of logarithms."""
    return torch.logit(faces[:, :, ROWS, COLUMNS], eps=DARKEST).flatten(1)
