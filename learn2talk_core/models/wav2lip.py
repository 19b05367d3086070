"""Wav2Lip's generator (Prajwal et al. 2020, "A Lip Sync Expert Is All You Need", §4.2): a face whose lower half is
masked, a reference face and a mel window in, the face with a mouth that says the window out.

At `width=1` it is the official network, key for key. The official weights want faces in BGR; those trained here want
RGB, as all faces in this project are.
"""

import torch
from torch import nn


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU; the input is added before the ReLU when `residual`."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int | tuple[int, int] = 1,
        padding: int = 0,
        *,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel, stride, padding), nn.BatchNorm2d(channels_out)
        )
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv_block(x)
        return torch.relu(y + x if self.residual else y)


class UpBlock(nn.Module):
    """Transposed convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 2, padding: int = 1) -> None:
        super().__init__()
        up = nn.ConvTranspose2d(channels_in, channels_out, 3, stride, padding, output_padding=stride - 1)
        self.conv_block = nn.Sequential(up, nn.BatchNorm2d(channels_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv_block(x))


def residual_blocks(channels: int, count: int) -> list[ConvBlock]:
    """`count` blocks of 3×3 convolutions that keep channels and size."""
    return [ConvBlock(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]


def scaled(channels: int, width: float) -> int:
    """The official number of channels times `width`, at least 4."""
    return max(4, round(channels * width))


class Wav2Lip(nn.Module):
    """The generator: a U-Net whose bottleneck is the embedding of the mel window.

    Args:
        width: multiplies the official numbers of channels.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c16, c32, c64, c128, c256, c384, c512 = (scaled(c, width) for c in (16, 32, 64, 128, 256, 384, 512))
        # Faces of 96×96 shrink to 48, 24, 12, 6, 3 and 1 pixels; every size is handed on to the decoder.
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(6, c16, 7, 1, 3)),
                nn.Sequential(ConvBlock(c16, c32, 3, 2, 1), *residual_blocks(c32, 2)),
                nn.Sequential(ConvBlock(c32, c64, 3, 2, 1), *residual_blocks(c64, 3)),
                nn.Sequential(ConvBlock(c64, c128, 3, 2, 1), *residual_blocks(c128, 2)),
                nn.Sequential(ConvBlock(c128, c256, 3, 2, 1), *residual_blocks(c256, 2)),
                nn.Sequential(ConvBlock(c256, c512, 3, 2, 1), *residual_blocks(c512, 1)),
                nn.Sequential(ConvBlock(c512, c512, 3), ConvBlock(c512, c512, 1)),
            ]
        )
        self.audio_encoder = nn.Sequential(
            ConvBlock(1, c32, 3, 1, 1),
            *residual_blocks(c32, 2),
            ConvBlock(c32, c64, 3, (3, 1), 1),
            *residual_blocks(c64, 2),
            ConvBlock(c64, c128, 3, 3, 1),
            *residual_blocks(c128, 2),
            ConvBlock(c128, c256, 3, (3, 2), 1),
            *residual_blocks(c256, 1),
            ConvBlock(c256, c512, 3),
            ConvBlock(c512, c512, 1),
        )
        self.face_decoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(c512, c512, 1)),
                nn.Sequential(UpBlock(2 * c512, c512, stride=1, padding=0), *residual_blocks(c512, 1)),
                nn.Sequential(UpBlock(2 * c512, c512), *residual_blocks(c512, 2)),
                nn.Sequential(UpBlock(c512 + c256, c384), *residual_blocks(c384, 2)),
                nn.Sequential(UpBlock(c384 + c128, c256), *residual_blocks(c256, 2)),
                nn.Sequential(UpBlock(c256 + c64, c128), *residual_blocks(c128, 2)),
                nn.Sequential(UpBlock(c128 + c32, c64), *residual_blocks(c64, 2)),
            ]
        )
        self.output_block = nn.Sequential(ConvBlock(c64 + c16, c32, 3, 1, 1), nn.Conv2d(c32, 3, 1), nn.Sigmoid())

    def forward(self, mel: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        """Faces that say the mel windows.

        Args:
            mel: (B, 1, 80, 16), or (B, T, 1, 80, 16) for clips of T frames.
            faces: (B, 6, 96, 96), or (B, 6, T, 96, 96), in 0..1: masked face and reference face along the channels.

        Returns:
            (B, 3, 96, 96), or (B, 3, T, 96, 96), in 0..1.
        """
        if faces.ndim == 5:
            batch, _, frames, height, size = faces.shape
            flat = self(mel.flatten(0, 1), faces.transpose(1, 2).flatten(0, 1))
            return flat.view(batch, frames, 3, height, size).transpose(1, 2)
        skips = []
        x = faces
        for block in self.face_encoder_blocks:
            x = block(x)
            skips.append(x)
        x = self.audio_encoder(mel)
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), skips.pop()], dim=1)
        return self.output_block(x)
