"""SadTalker's PoseVAE (Zhang et al. 2023, §3.2): head motion that matches the speech, in one of 46 learnt styles.

It is a conditional variational autoencoder of blocks of 32 frames; its output is added to the initial pose. A pose is
six numbers: rotation about x, y and z in radians, then translation in the unit of Deep3DFaceRecon's morphable face (the
camera is ten units from the face). Attribute names give the keys of the published weights, which load with strict
matching; the discriminator is included because they contain it. The network of smaller `width` is our own, trained by
scripts/train_head_motion.py.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.signal import savgol_filter
from torch import nn

from learn2talk_core.models.expnet import FIX, wav2lip_audio_encoder
from learn2talk_core.untrusted.published import load_published

BLOCK = 32  # frames
POSE = 6
LATENT = 64
STYLES = 46
SMOOTHING, SMOOTHING_ORDER = 13, 2  # frames and order of SadTalker's Savitzky-Golay filter


class Residual(nn.Module):
    """Residual block: two pre-activated 3 × 3 convolutions and a normalised one; `halve` halves the frame rate."""

    def __init__(self, channels_in: int, channels: int, *, halve: bool = False) -> None:
        super().__init__()
        stride = (2, 1) if halve else 1
        self.conv_block = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.ReLU(),
            nn.Conv2d(channels_in, channels, 3, stride, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.conv_skip = nn.Sequential(nn.Conv2d(channels_in, channels, 3, stride, 1), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_block(x) + self.conv_skip(x)


class Up(nn.Module):
    """Doubles the number of frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(channels, channels, (2, 1), (2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.upsample(x)


class ResUNet(nn.Module):
    """(B, T, 6), treated as a picture with one channel → (B, T, 6) in 0 … 1; T is a multiple of 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.input_skip = nn.Sequential(nn.Conv2d(1, width, 3, padding=1))
        self.residual_conv_1 = Residual(width, 2 * width, halve=True)
        self.residual_conv_2 = Residual(2 * width, 4 * width, halve=True)
        self.bridge = Residual(4 * width, 8 * width, halve=True)
        self.upsample_1 = Up(8 * width)
        self.up_residual_conv1 = Residual(8 * width + 4 * width, 4 * width)
        self.upsample_2 = Up(4 * width)
        self.up_residual_conv2 = Residual(4 * width + 2 * width, 2 * width)
        self.upsample_3 = Up(2 * width)
        self.up_residual_conv3 = Residual(2 * width + width, width)
        self.output_layer = nn.Sequential(nn.Conv2d(width, 1, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, None]
        whole = self.input_layer(x) + self.input_skip(x)
        half = self.residual_conv_1(whole)
        quarter = self.residual_conv_2(half)
        x = self.upsample_1(self.bridge(quarter))
        x = self.upsample_2(self.up_residual_conv1(torch.cat([x, quarter], dim=1)))
        x = self.upsample_3(self.up_residual_conv2(torch.cat([x, half], dim=1)))
        return self.output_layer(self.up_residual_conv3(torch.cat([x, whole], dim=1)))[:, 0]


class PoseEncoder(nn.Module):
    """Motion, audio, initial pose and style → the distribution of the latent vector. Only needed for training."""

    def __init__(self, width: int, styles: int, *, published: bool) -> None:
        super().__init__()
        self.published = published
        self.resunet = ResUNet(width)
        self.MLP = _layers(POSE + 2 * BLOCK * POSE + LATENT, 128)
        self.linear_means = nn.Linear(128, LATENT)
        self.linear_logvar = nn.Linear(128, LATENT)
        self.linear_audio = nn.Linear(16 * width, POSE)
        self.classbias = nn.Parameter(torch.randn(styles, LATENT))

    def forward(
        self, motion: torch.Tensor, heard: torch.Tensor, still: torch.Tensor, style: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 32, 6), (B, 32, 16 width), (B, 6), (B,) → means and log variances, (B, 64) each.

        In the published network both come from `linear_means`; the published weights were trained with this mistake.
        """
        parts = [still, self.resunet(motion).flatten(1), self.linear_audio(heard).flatten(1), self.classbias[style]]
        hidden = self.MLP(torch.cat(parts, dim=1))
        means = self.linear_means(hidden)
        return means, means if self.published else self.linear_logvar(hidden)


class PoseDecoder(nn.Module):
    """Latent vector, audio, initial pose and style → motion relative to the initial pose."""

    def __init__(self, width: int, styles: int) -> None:
        super().__init__()
        self.resunet = ResUNet(width)
        self.MLP = _layers(POSE + LATENT + BLOCK * POSE, 128, BLOCK * POSE)
        self.MLP.add_module("sigmoid", nn.Sigmoid())
        self.pose_linear = nn.Linear(POSE, POSE)
        self.linear_audio = nn.Linear(16 * width, POSE)
        self.classbias = nn.Parameter(torch.randn(styles, LATENT))

    def forward(
        self, latent: torch.Tensor, heard: torch.Tensor, still: torch.Tensor, style: torch.Tensor
    ) -> torch.Tensor:
        """(B, 64), (B, 32, 16 width), (B, 6), (B,) → (B, 32, 6)."""
        parts = [still, latent + self.classbias[style], self.linear_audio(heard).flatten(1)]
        return self.pose_linear(self.resunet(self.MLP(torch.cat(parts, dim=1)).unflatten(1, (BLOCK, POSE))))


class Autoencoder(nn.Module):
    def __init__(self, width: int, styles: int, *, published: bool) -> None:
        super().__init__()
        self.encoder = PoseEncoder(width, styles, published=published)
        self.decoder = PoseDecoder(width, styles)


class AudioEncoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.audio_encoder = wav2lip_audio_encoder(width)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """(T, 80, 16) → (T, 16 width)."""
        return self.audio_encoder(mels[:, None]).flatten(1)


class NormedConv(nn.Module):
    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Discriminator(nn.Module):
    """(B, T, 6) motion → (B, T // 4), how real each section looks."""

    def __init__(self) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            NormedConv(POSE, 256, 4, 2),
            NormedConv(256, 512, 4, 2),
            NormedConv(512, 1024, 3, 1),
            nn.Conv1d(1024, 1, 3, padding=1),
        )

    def forward(self, motion: torch.Tensor) -> torch.Tensor:
        return self.seq(motion.transpose(1, 2))[:, 0]


class PoseVAE(nn.Module):
    """`Audio2Pose` in SadTalker's code.

    Args:
        width: channels of the first convolutions; the published network has 32.
        styles: number of styles of head motion.
        published: use the discriminator and the variance of the published network, see `PoseEncoder`.
    """

    def __init__(self, width: int = 32, styles: int = STYLES, *, published: bool = True) -> None:
        super().__init__()
        self.styles = styles
        self.audio_encoder = AudioEncoder(width)
        self.netG = Autoencoder(width, styles, published=published)
        if published:
            self.netD_motion = Discriminator()

    def forward(self, mels: torch.Tensor, still: torch.Tensor, style: int, latents: torch.Tensor) -> torch.Tensor:
        """Head poses of a clip, deterministic.

        The first frame is the initial pose itself. The others are made in blocks of 32, each with its own latent
        vector; if frames are left over, one more block of the last 32 frames is made and its end is used. Blocks are
        independent, so the pose jumps between them: see `smooth_poses`.

        Args:
            mels: (T, 80, 16) from `expnet.centred_windows`.
            still: (6,) initial pose.
            style: 0 … styles − 1.
            latents: (`blocks(T)`, 64).

        Returns:
            (T, 6).
        """
        follow = len(mels) - 1
        if follow < 1:
            return still[None, :].repeat(len(mels), 1)
        heard = self.audio_encoder(mels[1:])
        if follow < BLOCK:
            heard = torch.cat([heard[:1].repeat(BLOCK - follow, 1), heard])
        starts = [*range(0, len(heard) - BLOCK + 1, BLOCK)]
        left_over = follow % BLOCK if follow > BLOCK else 0
        starts += [len(heard) - BLOCK] if left_over else []
        sound = torch.stack([heard[start : start + BLOCK] for start in starts])
        count = len(starts)
        motion = self.netG.decoder(latents, sound, still.expand(count, -1), torch.full((count,), style))
        whole = motion[: count - 1 if left_over else count].flatten(0, 1)
        end = motion[-1, BLOCK - left_over :] if left_over else motion[:0, 0]
        return still + torch.cat([torch.zeros_like(still)[None], whole[-follow:], end])


def blocks(frames: int) -> int:
    """Number of latent vectors for a clip of `frames` frames."""
    return -(-max(0, frames - 1) // BLOCK)


def load_posevae(path: str | Path) -> PoseVAE:
    """PoseVAE with published weights, frozen: from `SadTalker_V0.0.2_{256,512}.safetensors` (the keys that begin with
    `audio2pose.`) or from `auido2pose_00140-model.pth` (sic)."""
    fix = FIX.format(old="auido2pose_00140-model.pth")
    return load_published(PoseVAE(), path, what="PoseVAE", fix=fix, prefix="audio2pose.")


@torch.inference_mode()
def sample(
    network: PoseVAE,
    mels: np.ndarray,
    *,
    rng: np.random.Generator,
    style: int = 0,
    still: np.ndarray | None = None,
    smoothed: bool = True,
) -> np.ndarray:
    """Draw head motion for a clip.

    Args:
        network: in evaluation mode.
        mels: (T, 80, 16) from `expnet.centred_windows`, 25 per second.
        rng: source of the latent vectors; the same generator state gives the same motion.
        style: 0 … styles − 1, the style of one of the training speakers.
        still: (6,) initial pose; looking straight ahead if None.
        smoothed: apply `smooth_poses`, as SadTalker does.

    Returns:
        (T, 6) float32; for units see the module.
    """
    if not 0 <= style < network.styles:
        raise ValueError(f"style: expected 0 … {network.styles - 1}, not {style}")
    latents = rng.standard_normal((blocks(len(mels)), LATENT), dtype=np.float32)
    start = torch.from_numpy(np.zeros(POSE, np.float32) if still is None else np.asarray(still, np.float32))
    poses = network(torch.from_numpy(mels), start, style, torch.from_numpy(latents)).numpy()
    return smooth_poses(poses) if smoothed else poses


def smooth_poses(poses: np.ndarray) -> np.ndarray:
    """Fit a parabola to the 13 frames around each frame (fewer in short clips), as SadTalker does; (T, 6) → (T, 6)."""
    window = min(SMOOTHING, (len(poses) - 1) // 2 * 2 + 1)
    if window <= SMOOTHING_ORDER:
        return poses
    return savgol_filter(poses, window, SMOOTHING_ORDER, axis=0).astype(np.float32)


def _layers(*sizes: int) -> nn.Sequential:
    """Linear layers L0, L1, … with a ReLU, A0, after the first."""
    layers = nn.Sequential()
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.add_module(f"L{number}", nn.Linear(inputs, outputs))
        if number == 0:
            layers.add_module("A0", nn.ReLU())
    return layers
