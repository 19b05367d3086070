"""SyncNet (Chung & Zisserman 2016, "Out of time"), the network behind LSE-D and LSE-C of 2D videos.

Attribute names give the keys of the published `syncnet_v2.model`, which loads with strict matching. Embeddings and the
order of their windows are those of its evaluation code (syncnet_python, and Wav2Lip's copy of it). For published
numbers, compute distances and scores by `metrics.lse.lse` with `zero_padding`.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from learn2talk_core.audio.mfcc import mfcc
from learn2talk_core.audio.waveform import to_int16
from learn2talk_core.untrusted.published import load_published

FPS = 25.0  # of the video
FRAMES = 5  # of a window of video: 0.2 s
COLUMNS = 20  # of a window of cepstra: 0.2 s
COLUMNS_PER_FRAME = 4
SAMPLES_PER_FRAME = 640
SIZE = 224  # pixels of the face crop
WIDTH = 1024  # of an embedding


class SyncNet(nn.Module):
    """Two encoders whose embeddings are close when mouth and sound are in sync."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_block2d(1, 64, 3, padding=1),
            nn.MaxPool2d(1, 1),
            *_block2d(64, 192, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_block2d(192, 384, 3, padding=1),
            *_block2d(384, 256, 3, padding=1),
            *_block2d(256, 256, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_block2d(256, 512, (5, 4)),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_block3d(3, 96, (FRAMES, 7, 7), stride=2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block3d(96, 256, (1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_block3d(256, 256, (1, 3, 3), padding=1),
            *_block3d(256, 256, (1, 3, 3), padding=1),
            *_block3d(256, 256, (1, 3, 3), padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block3d(256, 512, (1, 6, 6)),
        )

    def encode_audio(self, cepstra: torch.Tensor) -> torch.Tensor:
        """(N, 1, 13, 20) windows of cepstra → (N, 1024)."""
        return self.netfcaud(self.netcnnaud(cepstra).flatten(1))

    def encode_lips(self, faces: torch.Tensor) -> torch.Tensor:
        """(3, T, 224, 224) BGR in 0 … 255 → (T − 4, 1024), one for each window of five frames.

        Only the first convolution extends over time, so a whole clip can be encoded at once.
        """
        features = self.netcnnlip(faces[None])  # (1, 512, T − 4, 1, 1)
        return self.netfclip(features[0, :, :, 0, 0].T)


def load_syncnet(path: str | Path) -> SyncNet:
    """SyncNet with the weights of `syncnet_v2.model`, frozen."""
    fix = "Use syncnet_v2.model, as syncnet_python's download_model.sh fetches it (52 MB)."
    return load_published(SyncNet(), path, what="SyncNet", fix=fix)


@torch.inference_mode()
def embeddings(
    network: SyncNet, faces: Iterable[np.ndarray], wave: np.ndarray, *, batch: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of all windows of a clip; window n starts at frame n. As in the published evaluation code.

    That code uses L = min(T, ⌊N / 640⌋) − 5 windows: it omits the last window for which there are pictures.

    Args:
        network: in evaluation mode.
        faces: T pictures of the face, uint8 (H, W, 3) RGB, 25 per second, resized to 224 × 224 here; iterated once.
        wave: (N,) in [−1, 1] at 16 kHz, sample 0 at the first picture's time.
        batch: windows per batch.

    Returns:
        lips (L, 1024) and audio (L, 1024) float32; L is 0 for a clip of fewer than six frames.
    """
    sounding = len(wave) // SAMPLES_PER_FRAME
    lips = [network.encode_lips(torch.from_numpy(part)).numpy() for part in _windows(islice(faces, sounding), batch)]
    seen = np.concatenate(lips)[:-1] if lips else np.empty((0, WIDTH), np.float32)
    if len(seen) == 0:
        return np.empty((0, WIDTH), np.float32), np.empty((0, WIDTH), np.float32)
    cepstra = mfcc(to_int16(wave)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(cepstra, COLUMNS, axis=0)[::COLUMNS_PER_FRAME][: len(seen)]
    parts = torch.from_numpy(np.ascontiguousarray(windows))[:, None].split(4 * batch)
    return seen, np.concatenate([network.encode_audio(part).numpy() for part in parts])


def _windows(faces: Iterator[np.ndarray], batch: int) -> Iterator[np.ndarray]:
    """Pieces of a clip that overlap by four frames, float32 (3, at most `batch` + 4, 224, 224) BGR."""
    piece: list[np.ndarray] = []
    for face in faces:
        sized = face if face.shape[:2] == (SIZE, SIZE) else cv2.resize(face, (SIZE, SIZE))
        piece.append(sized[..., ::-1].transpose(2, 0, 1).astype(np.float32))
        if len(piece) == batch + FRAMES - 1:
            yield np.stack(piece, axis=1)
            piece = piece[1 - FRAMES :]
    if len(piece) >= FRAMES:
        yield np.stack(piece, axis=1)


def _block2d(
    channels_in: int, channels: int, kernel: int | tuple[int, int], *, padding: int = 0
) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels, kernel, padding=padding), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)


def _block3d(
    channels_in: int, channels: int, kernel: tuple[int, int, int], *, stride: int = 1, padding: int = 0
) -> tuple[nn.Module, ...]:
    """3D convolution with stride and padding in space only."""
    convolution = nn.Conv3d(channels_in, channels, kernel, (1, stride, stride), (0, padding, padding))
    return convolution, nn.BatchNorm3d(channels), nn.ReLU(inplace=True)


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, WIDTH))
