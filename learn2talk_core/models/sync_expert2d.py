"""Wav2Lip's lip-sync expert (Prajwal et al. 2020, §4.1), SyncNet_color in its code: are the lower halves of five
faces in sync with a mel window?

With `width=1` it is the official network with the same keys. Experts trained here get the difference between the faces
and the mean face of their clip, which removes identity and lighting and leaves the motion. The official weights need
plain faces in BGR.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from learn2talk_core.models.wav2lip import ConvBlock, residual_blocks, scaled, to_tensor
from learn2talk_core.run.weights import load_network, save_weights

FRAMES = 5  # video frames of a window: 0.2 s at 25 fps


class SyncExpert2D(nn.Module):
    """Two encoders whose unit embeddings are similar when mouth and sound are in sync.

    Args:
        width: factor on the official numbers of channels.
        official: whether the weights are for plain BGR faces; see `look`.
    """

    def __init__(self, width: float = 1.0, *, official: bool = False) -> None:
        super().__init__()
        self.official = official
        c32, c64, c128, c256, c512 = (scaled(c, width) for c in (32, 64, 128, 256, 512))
        self.face_encoder = nn.Sequential(
            ConvBlock(3 * FRAMES, c32, 7, 1, 3),
            ConvBlock(c32, c64, 5, (1, 2), 1),
            *residual_blocks(c64, 2),
            ConvBlock(c64, c128, 3, 2, 1),
            *residual_blocks(c128, 3),
            ConvBlock(c128, c256, 3, 2, 1),
            *residual_blocks(c256, 2),
            ConvBlock(c256, c512, 3, 2, 1),
            *residual_blocks(c512, 2),
            ConvBlock(c512, c512, 3, 2, 1),
            ConvBlock(c512, c512, 3),
            ConvBlock(c512, c512, 1),
        )
        self.audio_encoder = nn.Sequential(
            ConvBlock(1, c32, 3, 1, 1),
            *residual_blocks(c32, 2),
            ConvBlock(c32, c64, 3, (3, 1), 1),
            *residual_blocks(c64, 2),
            ConvBlock(c64, c128, 3, 3, 1),
            *residual_blocks(c128, 2),
            ConvBlock(c128, c256, 3, (3, 2), 1),
            *residual_blocks(c256, 2),
            ConvBlock(c256, c512, 3),
            ConvBlock(c512, c512, 1),
        )

    def look(self, faces: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """(B, 3, 5, 96, 96) RGB faces and their clips' mean faces → input of `encode_face`."""
        return lower_halves(faces.flip(1) if self.official else faces - mean)

    def encode_face(self, faces: torch.Tensor) -> torch.Tensor:
        """(B, 15, 48, 96) lower halves of five faces, stacked along the channels → unit vectors (B, 512 width)."""
        return functional.normalize(self.face_encoder(faces).flatten(1).float(), dim=1)

    def encode_audio(self, mel: torch.Tensor) -> torch.Tensor:
        """(B, 1, 80, 16) mel windows → unit vectors (B, 512 width)."""
        return functional.normalize(self.audio_encoder(mel).flatten(1).float(), dim=1)

    def forward(self, mel: torch.Tensor, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of mel windows and of faces; their cosine lies in 0..1 because both end in a ReLU."""
        return self.encode_audio(mel), self.encode_face(faces)


def lower_halves(faces: torch.Tensor) -> torch.Tensor:
    """(B, 3, T, H, W) faces → (B, 3T, H/2, W): the lower halves, with the frames stacked along the channels."""
    lower = faces[:, :, :, faces.shape[3] // 2 :]
    return lower.transpose(1, 2).flatten(1, 2)


@torch.inference_mode()
def face_embeddings(expert: SyncExpert2D, faces: np.ndarray, *, batch: int = 64) -> np.ndarray:
    """(T, 96, 96, 3) uint8 RGB of a whole clip → (T − 4, E), one unit vector for each window of five frames."""
    video = to_tensor(faces).transpose(0, 1)  # (3, T, 96, 96)
    mean = video.mean(dim=1, keepdim=True)
    windows = video.unfold(1, FRAMES, 1).permute(1, 0, 4, 2, 3)  # (T − 4, 3, 5, 96, 96)
    return torch.cat([expert.encode_face(expert.look(part, mean)) for part in windows.split(batch)]).numpy()


def save_expert(folder: str | Path, expert: SyncExpert2D, *, width: float) -> None:
    """Write the expert and the settings needed to rebuild it."""
    save_weights(folder, expert, {"width": width, "official": expert.official})


def load_expert(folder: str | Path, *, made_by: str = "dvc repro teacher") -> SyncExpert2D:
    """Load what `save_expert` wrote, frozen and in evaluation mode."""
    return load_network(folder, lambda config: SyncExpert2D(**config), made_by=made_by)[0]


@torch.inference_mode()
def audio_embeddings(expert: SyncExpert2D, mels: np.ndarray) -> np.ndarray:
    """(N, 80, 16) mel windows → (N, E) unit vectors."""
    return expert.encode_audio(torch.from_numpy(mels)[:, None]).numpy()
