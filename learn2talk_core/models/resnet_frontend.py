"""The lip reader's visual front-end: one 3D convolution, then a ResNet-18 on every frame (Ma et al. 2022).

Attribute names give the keys of the official checkpoints (`encoder.frontend.*`).
"""

import torch
from torch import Tensor, nn


class Pointwise(nn.Conv2d):
    """A convolution of 1 × 1 pixels without padding.

    torch 2.13's oneDNN writes outside its memory in the weights' gradient of one with a stride and, for example, 4
    input channels, on processors with AVX2 but without AVX-512. So the stride is taken first.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels % 8 == 0:
            return super().forward(x)
        rows, columns = self.stride
        return nn.functional.conv2d(x[..., ::rows, ::columns], self.weight, self.bias)


class BasicBlock(nn.Module):
    """ResNet's basic block with Swish (He et al. 2016, Fig. 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                Pointwise(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = nn.functional.silu(self.bn1(self.conv1(x)))
        return nn.functional.silu(self.bn2(self.conv2(x)) + shortcut)


class Trunk(nn.Module):
    """ResNet-18 without its stem: four pairs of blocks, then the spatial mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(BasicBlock(width, width, 1), BasicBlock(width, width, 1))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(BasicBlock(4 * width, 8 * width, 2), BasicBlock(8 * width, 8 * width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class ResNetFrontend(nn.Module):
    """Pictures (B, 1, T, H, W) → one feature vector per frame (B, T, 8 · width). Official: width 64, H = W = 88.

    Every output frame depends on two input frames before it and two after it.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.trunk = Trunk(width)
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, width, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(width),
            nn.SiLU(),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm, swish, _ = self.frontend3D
        assert isinstance(convolution, nn.Conv3d)
        # The 3D convolution as one of images whose channels are five successive frames: its gradient takes half the
        # time on CPUs. With few channels, convolutions are a quarter faster in this memory format.
        around = nn.functional.pad(x[:, 0], (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).permute(0, 1, 4, 2, 3).flatten(0, 1)
        kernel = convolution.weight[:, 0].contiguous(memory_format=torch.channels_last)
        around = around.contiguous(memory_format=torch.channels_last)
        images = nn.functional.conv2d(around, kernel, convolution.bias, stride=2, padding=3)
        clips = swish(norm(images.unflatten(0, (x.shape[0], -1)).transpose(1, 2)))  # (B, C, T, H/2, W/2)
        images = nn.functional.max_pool2d(clips.transpose(1, 2).flatten(0, 1), 3, 2, 1)
        return self.trunk(images).unflatten(0, (x.shape[0], -1))
