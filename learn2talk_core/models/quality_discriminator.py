"""Wav2Lip's visual quality discriminator (Prajwal et al. 2020, §4.3): is the lower half of a face real?

With `width=1` it is the official network with the same keys.
"""

import torch
from torch import nn
from torch.nn import functional

from learn2talk_core.models.wav2lip import scaled


class PlainBlock(nn.Module):
    """Convolution and leaky ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int | tuple[int, int] = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(channels_in, channels_out, kernel, stride, padding))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(self.conv_block(x), 0.01)


class QualityDiscriminator(nn.Module):
    """Probability that the lower half of each face is real.

    Args:
        width: factor on the official numbers of channels.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c32, c64, c128, c256, c512 = (scaled(c, width) for c in (32, 64, 128, 256, 512))
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(PlainBlock(3, c32, 7, 1, 3)),
                nn.Sequential(PlainBlock(c32, c64, 5, (1, 2), 2), PlainBlock(c64, c64, 5, 1, 2)),
                nn.Sequential(PlainBlock(c64, c128, 5, 2, 2), PlainBlock(c128, c128, 5, 1, 2)),
                nn.Sequential(PlainBlock(c128, c256, 5, 2, 2), PlainBlock(c256, c256, 5, 1, 2)),
                nn.Sequential(PlainBlock(c256, c512, 3, 2, 1), PlainBlock(c512, c512, 3, 1, 1)),
                nn.Sequential(PlainBlock(c512, c512, 3, 2, 1), PlainBlock(c512, c512, 3, 1, 1)),
                nn.Sequential(PlainBlock(c512, c512, 3), PlainBlock(c512, c512, 1)),
            ]
        )
        self.binary_pred = nn.Sequential(nn.Conv2d(c512, 1, 1), nn.Sigmoid())

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        """(B, 3, T, 96, 96) in 0..1 → (B T, 512 width, 1, 1), time-major: the first frames of all clips come first."""
        x = torch.cat(list(faces[:, :, :, faces.shape[3] // 2 :].unbind(dim=2)))
        for block in self.face_encoder_blocks:
            x = block(x)
        return x

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """(B, 3, T, 96, 96) in 0..1 → (B T, 1) in 0..1."""
        logits, sigmoid = self.binary_pred
        return sigmoid(logits(self.features(faces)).float()).flatten(1)  # bfloat16 would soon round it to 1
