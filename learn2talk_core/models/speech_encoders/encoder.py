"""Interface of all speech encoders: a wave in, one hidden state per motion frame out.

An encoder has a frozen part and a part that is trained with the student. The frozen part makes features at its own
rate (50 Hz in both networks here); training computes them once per clip. Features are brought to the frames of the
motion by their time stamps, and the rest of the network runs at the frame rate of the motion.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.run.resample import interpolated_tensor


class Hearing(Protocol):
    """The frozen part of an encoder for one sound that is still arriving. Its scale is that of the sound so far."""

    def features(self, wave: np.ndarray, new: int) -> Tensor:
        """Features (n, C) of a window of the sound.

        Args:
            wave: (samples,) the window, as recorded.
            new: how many samples at its end no earlier window contained. Windows follow each other without a gap.
        """
        ...


class SpeechEncoder(nn.Module, ABC):
    """A wave in, hidden states at the frame rate of the motion out. Each network is one module of this package.

    Attributes:
        config: transformers' configuration.
        model_type: transformers' name of the network, in `config.json` and in the description of a student.
        window, margin: seconds; longer speech is encoded in windows of this length, of which the outer `margin` on each
            side only serves as context. Shorter speech is one window.
    """

    config: Any
    model_type: ClassVar[str]
    window: ClassVar[float]
    margin: ClassVar[float] = 2.0

    @property
    @abstractmethod
    def stride(self) -> int:
        """Samples from one feature to the next."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """The sample at the centre of feature 0."""

    @property
    @abstractmethod
    def feature_width(self) -> int:
        """C, width of the frozen part's features."""

    @property
    @abstractmethod
    def width(self) -> int:
        """H, width of the hidden states."""

    @property
    @abstractmethod
    def frozen_layers(self) -> int:
        """Number of transformer layers that are not trained; the convolutions before them never are."""

    @abstractmethod
    def freeze(self) -> None:
        """Switch off the gradients of the frozen part."""

    @abstractmethod
    def frozen_features(self, wave: np.ndarray) -> Tensor:
        """The frozen part: a clip (samples,) as recorded, of any length -> features (n, C), without gradient."""

    @abstractmethod
    def hearing(self) -> Hearing:
        """The frozen part for a sound that is still arriving."""

    @abstractmethod
    def encode(self, features: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """The trained part: features (B, T, C) -> hidden states (B, T, H), with gradient.

        Args:
            features: resampled to motion frames, or at their own rate.
            lengths: frames of each clip if shorter ones are padded to T; padding does not affect the result.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `loading.new_speech_encoder` needs to rebuild the network, as JSON values."""

    def resample(self, features: Tensor, frames: int, fps: float) -> Tensor:
        """Features (..., n, C) at their own rate -> (..., frames, C), where motion frame t shows the time t / fps.

        Feature k is at the time (offset + k stride) / 16000 s. Features are interpolated linearly, and held constant
        before the first and after the last. Nothing is stretched.
        """
        time = torch.arange(frames, device=features.device, dtype=torch.float64) / fps
        return interpolated_tensor(features, (time * SAMPLE_RATE - self.offset) / self.stride)

    def encode_long(self, features: Tensor, fps: float) -> Tensor:
        """As `encode`, for one clip (1, T, C) of any length, in windows (see `window`): time and memory are linear in
        the length, and the transformer never gets longer speech than in training."""
        pieces = [
            self.encode(features[:, start:end])[:, first - start : last - start]
            for start, end, first, last in windows(features.shape[1], fps, self.window, self.margin)
        ]
        return torch.cat(pieces, dim=1)

    @torch.no_grad()
    def listen(self, wave: np.ndarray, frames: int, fps: float) -> Tensor:
        """The whole encoder: a clip (samples,) as recorded, of any length -> (T, H), T = `frames`, without gradient."""
        features = self.resample(self.frozen_features(wave)[None], frames, fps)
        return self.encode_long(features, fps)[0]

    @torch.no_grad()
    def hidden_states(self, wave: np.ndarray) -> Tensor:
        """The whole encoder at its own rate: a clip (samples,) of any length -> (n, H), without gradient."""
        return self.encode_long(self.frozen_features(wave)[None], SAMPLE_RATE / self.stride)[0]


def windows(count: int, rate: float, window: float, margin: float) -> Iterator[tuple[int, int, int, int]]:
    """Divide `count` frames at `rate` per second into overlapping windows of `window` seconds.

    Yields:
        (start, end, first, last): frames start … end are processed, and first … last of them are kept, which leaves out
        `margin` seconds at each side except at the ends. The kept ranges cover all frames once.
    """
    width, edge = round(window * rate), round(margin * rate)
    for start in range(0, max(1, count - 2 * edge), width - 2 * edge):
        end = min(start + width, count)
        yield start, end, start + edge if start else 0, count if end == count else end - edge
        if end == count:
            break
