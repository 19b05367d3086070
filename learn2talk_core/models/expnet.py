"""SadTalker's ExpNet (Zhang et al. 2023, §3.1): maps a mel window, the expression of a reference face and an eye-blink
ratio to the 64 expression coefficients of one frame of a 3D morphable face (Deep3DFaceRecon's).

Attribute names give the keys of the published weights, which load with strict matching.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from learn2talk_core.audio.mel import COLUMNS_PER_SECOND, WINDOW_COLUMNS, mel_spectrogram
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.models.wav2lip import ConvBlock, residual_blocks
from learn2talk_core.untrusted.published import load_published

FPS = 25
EXPRESSION = 64  # coefficients
AUDIO = 512  # features of the audio encoder per window
FIX = "Use SadTalker_V0.0.2_256.safetensors or, of the older release, {old}."
_LEAD = 2  # a window of 0.2 s begins this many frames (0.08 s) before its frame


class ExpNet(nn.Module):
    """`SimpleWrapperV2` in SadTalker's code: Wav2Lip's audio encoder and one linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = wav2lip_audio_encoder()
        self.mapping1 = nn.Linear(AUDIO + EXPRESSION + 1, EXPRESSION)

    def forward(self, mels: torch.Tensor, reference: torch.Tensor, blink: torch.Tensor) -> torch.Tensor:
        """Frames are processed independently.

        Args:
            mels: (T, 80, 16) windows from `centred_windows`.
            reference: expression of the face to animate: (64,) for all frames, or (T, 64).
            blink: (T,) how far the eyes are closed, 0 … 1.

        Returns:
            (T, 64) expression coefficients.
        """
        heard = self.audio_encoder(mels[:, None]).flatten(1)
        return self.mapping1(torch.cat([heard, reference.expand(len(mels), -1), blink[:, None]], dim=1))


def wav2lip_audio_encoder(width: int = 32) -> nn.Sequential:
    """Wav2Lip's audio encoder (full size: width 32): (N, 1, 80, 16) mel windows → (N, 16 width, 1, 1)."""
    return nn.Sequential(
        ConvBlock(1, width, 3, 1, 1),
        *residual_blocks(width, 2),
        ConvBlock(width, 2 * width, 3, (3, 1), 1),
        *residual_blocks(2 * width, 2),
        ConvBlock(2 * width, 4 * width, 3, 3, 1),
        *residual_blocks(4 * width, 2),
        ConvBlock(4 * width, 8 * width, 3, (3, 2), 1),
        *residual_blocks(8 * width, 1),
        ConvBlock(8 * width, 16 * width, 3),
        ConvBlock(16 * width, 16 * width, 1),
    )


def load_expnet(path: str | Path) -> ExpNet:
    """ExpNet with published weights, frozen: from `SadTalker_V0.0.2_{256,512}.safetensors` (the keys that begin with
    `audio2exp.`) or from `auido2exp_00300-model.pth` (sic)."""
    fix = FIX.format(old="auido2exp_00300-model.pth")
    return load_published(ExpNet(), path, what="ExpNet", fix=fix, prefix="audio2exp.")


def centred_windows(wave: np.ndarray) -> np.ndarray:
    """The mel window around each frame, as in SadTalker: 16 columns, starting two frames before the frame; the
    first and last columns are repeated beyond the ends.

    Args:
        wave: (N,) in [−1, 1] at 16 kHz, N > 400.

    Returns:
        (T, 80, 16) float32 with T = ⌊25 N / 16000⌋.
    """
    mel = mel_spectrogram(wave, padding="constant")
    frames = len(wave) * FPS // SAMPLE_RATE
    starts = (COLUMNS_PER_SECOND * (np.arange(frames) - _LEAD) / FPS).astype(np.int64)  # towards zero, as int() does
    columns = np.clip(starts[:, None] + np.arange(WINDOW_COLUMNS), 0, mel.shape[1] - 1)
    return np.ascontiguousarray(mel[:, columns].transpose(1, 0, 2))


@torch.inference_mode()
def expressions(
    network: ExpNet, mels: np.ndarray, reference: np.ndarray, blink: np.ndarray | None = None, *, batch: int = 64
) -> np.ndarray:
    """Expression coefficients of a clip.

    Args:
        network: in evaluation mode.
        mels: (T, 80, 16) from `centred_windows`.
        reference: (64,) expression of the face at rest.
        blink: (T,) how far the eyes are closed, 0 … 1; open if None.
        batch: frames per batch.

    Returns:
        (T, 64) float32.
    """
    closed = torch.zeros(len(mels)) if blink is None else torch.from_numpy(np.asarray(blink, np.float32))
    face = torch.from_numpy(np.asarray(reference, np.float32))
    parts = zip(torch.from_numpy(mels).split(batch), closed.split(batch), strict=True)
    found = [network(part, face, blinks) for part, blinks in parts]
    return torch.cat(found).numpy() if found else np.empty((0, EXPRESSION), np.float32)
