"""Wav2Lip's generator (Prajwal et al. 2020, "A Lip Sync Expert Is All You Need", §4.2): from a face whose lower half is
masked, a reference face and a mel window, it makes the face with a mouth that fits the speech.

With `width=1` it is the official network with the same keys; `Inputs` describes the input format of its weights.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import load_network, save_weights

MADE_BY = "dvc repro teacher"


class Inputs(NamedTuple):
    """Input format of a generator; the defaults are those of the official weights in Wav2Lip's `inference.py`, except
    for the order of colours, which is BGR there.

    Attributes:
        bgr: faces are BGR, not RGB.
        lead: the mel window (0.2 s) of a frame begins this many frames before it. Wav2Lip has 0: the frame is at the
            beginning of its window, so the network does not hear the speech before it.
    """

    bgr: bool = False
    lead: int = 0


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU; with `residual` the input is added before the ReLU."""

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
        return torch.relu_(y + x if self.residual else y)


class UpBlock(nn.Module):
    """Transposed convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 2, padding: int = 1) -> None:
        super().__init__()
        up = nn.ConvTranspose2d(channels_in, channels_out, 3, stride, padding, output_padding=stride - 1)
        self.conv_block = nn.Sequential(up, nn.BatchNorm2d(channels_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.conv_block(x))


def residual_blocks(channels: int, count: int) -> list[ConvBlock]:
    """`count` residual blocks of 3×3 convolutions that keep channels and size."""
    return [ConvBlock(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]


def scaled(channels: int, width: float) -> int:
    """The official number of channels times `width`, at least 4."""
    return max(4, round(channels * width))


class Wav2Lip(nn.Module):
    """The generator: a U-Net whose bottleneck is the embedding of the mel window.

    Args:
        width: factor on the official numbers of channels.
        audio_width: the same for the audio encoder alone, which is by far the cheaper part; None means `width`.
        residual: add the network's output, before the sigmoid, to the reference face. A generator that is trained in
            minutes then starts from the still face and only learns what speech changes. The official network
            generates every pixel.
    """

    def __init__(self, width: float = 1.0, *, audio_width: float | None = None, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        c16, c32, c64, c128, c256, c384, c512 = (scaled(c, width) for c in (16, 32, 64, 128, 256, 384, 512))
        # 96×96 faces are downsampled to 48, 24, 12, 6, 3 and 1 pixels; every size is passed to the decoder.
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
        audio_width = width if audio_width is None else audio_width
        a32, a64, a128, a256, a512 = (scaled(c, audio_width) for c in (32, 64, 128, 256, 512))
        self.audio_encoder = nn.Sequential(
            ConvBlock(1, a32, 3, 1, 1),
            *residual_blocks(a32, 2),
            ConvBlock(a32, a64, 3, (3, 1), 1),
            *residual_blocks(a64, 2),
            ConvBlock(a64, a128, 3, 3, 1),
            *residual_blocks(a128, 2),
            ConvBlock(a128, a256, 3, (3, 2), 1),
            *residual_blocks(a256, 1),
            ConvBlock(a256, a512, 3),
            ConvBlock(a512, a512, 1),
        )
        self.face_decoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(a512, c512, 1)),
                nn.Sequential(UpBlock(2 * c512, c512, stride=1, padding=0), *residual_blocks(c512, 1)),
                nn.Sequential(UpBlock(2 * c512, c512), *residual_blocks(c512, 2)),
                nn.Sequential(UpBlock(c512 + c256, c384), *residual_blocks(c384, 2)),
                nn.Sequential(UpBlock(c384 + c128, c256), *residual_blocks(c256, 2)),
                nn.Sequential(UpBlock(c256 + c64, c128), *residual_blocks(c128, 2)),
                nn.Sequential(UpBlock(c128 + c32, c64), *residual_blocks(c64, 2)),
            ]
        )
        last = nn.Conv2d(c32, 3, 1)
        if residual:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.output_block = nn.Sequential(ConvBlock(c64 + c16, c32, 3, 1, 1), last, nn.Sigmoid())

    def forward(self, mel: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        """Generate faces that speak the mel windows.

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
        return self.decode(mel, self.encode_faces(faces), faces[:, 3:])

    def encode_faces(self, faces: torch.Tensor) -> list[torch.Tensor]:
        """(B, 6, 96, 96) → output of each block of the face encoder, largest image first."""
        skips = []
        for block in self.face_encoder_blocks:
            faces = block(faces)
            skips.append(faces)
        return skips

    def decode(self, mel: torch.Tensor, skips: list[torch.Tensor], reference: torch.Tensor) -> torch.Tensor:
        """(B, 1, 80, 16) mel windows, encoded faces, (B, 3, 96, 96) reference faces → (B, 3, 96, 96) in 0..1."""
        x = self.audio_encoder(mel)
        for block, skip in zip(self.face_decoder_blocks, reversed(skips), strict=True):
            x = torch.cat([block(x), skip], dim=1)
        if self.residual:
            return torch.sigmoid(self.output_block[:2](x) + torch.logit(reference, eps=0.02))
        return self.output_block(x)


def masked(faces: torch.Tensor) -> torch.Tensor:
    """(…, H, W) faces with the lower half set to black: pose, eyes and light remain, the mouth is hidden."""
    lower = faces.clone()
    lower[..., faces.shape[-2] // 2 :, :] = 0
    return lower


def to_tensor(faces: np.ndarray, *, bgr: bool = False) -> torch.Tensor:
    """(…, H, W, 3) uint8 RGB → (…, 3, H, W) float32 in 0..1, in BGR if the weights need it."""
    ordered = np.ascontiguousarray(faces[..., ::-1] if bgr else faces)
    return torch.from_numpy(ordered).movedim(-1, -3).float() / 255


def to_image(faces: torch.Tensor, *, bgr: bool = False) -> np.ndarray:
    """The inverse of `to_tensor`: (…, 3, H, W) in 0..1 → (…, H, W, 3) uint8 RGB."""
    pixels = (faces * 255).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()
    return np.ascontiguousarray(pixels[..., ::-1] if bgr else pixels)


def windows_of(mels: np.ndarray, frames: np.ndarray, lead: int) -> np.ndarray:
    """Mel windows (n, 80, 16) for `frames` (n,); `mels` (T, 80, 16) are the windows that begin at each frame."""
    return mels[np.maximum(frames - lead, 0)]


@torch.inference_mode()
def one_shot(generator: Wav2Lip, still: np.ndarray, mels: np.ndarray, inputs: Inputs, *, batch: int = 32) -> np.ndarray:
    """Animate one still image: it is both the masked face and the reference face of every frame.

    Args:
        generator: in evaluation mode.
        still: (96, 96, 3) uint8 RGB.
        mels: (T, 80, 16), the mel window that begins at each frame.
        inputs: input format of the generator.
        batch: frames per batch.

    Returns:
        (T, 96, 96, 3) uint8 RGB.
    """
    reference = to_tensor(still, bgr=inputs.bgr)
    faces = torch.cat([masked(reference), reference])[None]
    faces = faces.contiguous(memory_format=torch.channels_last)
    skips = generator.encode_faces(faces)
    heard = torch.from_numpy(windows_of(mels, np.arange(len(mels)), inputs.lead))[:, None]
    made = [
        generator.decode(part, [skip.expand(len(part), -1, -1, -1) for skip in skips], reference[None])
        for part in heard.split(batch)
    ]
    return to_image(torch.cat(made), bgr=inputs.bgr)


def save_generator(folder: str | Path, generator: Wav2Lip, *, width: float, audio_width: float, inputs: Inputs) -> None:
    """Write the generator and its input format."""
    shape = {"width": width, "audio_width": audio_width, "residual": generator.residual}
    save_weights(folder, generator, {"shape": shape, "inputs": inputs._asdict()})


def load_generator(folder: str | Path) -> tuple[Wav2Lip, Inputs]:
    """Load what `save_generator` wrote: the generator, frozen and in evaluation mode, and its input format."""
    generator, config = load_network(folder, lambda config: Wav2Lip(**config["shape"]), made_by=MADE_BY)
    try:
        inputs = Inputs(**config["inputs"])
    except (KeyError, TypeError) as error:
        where, fix = Path(folder) / "model.json", f"Make it again: {MADE_BY}."
        raise BadInput(where, expected="the input format of the generator", found=str(error), fix=fix) from error
    return generator.to(memory_format=torch.channels_last), inputs  # type: ignore[call-overload]
