"""Linear resampling in time: frame t at f frames per second shows the time t / f.

Values are interpolated linearly between frames, and constant before the first and after the last frame.
"""

import numpy as np
import torch
from torch import Tensor

EPSILON = 1e-6  # frames: tolerance for rounding, so that a time this close to the last frame counts as the last frame


def resampled_count(frames: int, fps: float, rate: float) -> int:
    """Number of frames at `rate` from the first to the last of `frames` at `fps`, both included."""
    return int((frames - 1) / fps * rate + EPSILON) + 1


def resample_frames(values: np.ndarray, fps: float, rate: float) -> np.ndarray:
    """Frames (T, …) at `fps` → (T', …) float32 at `rate`; see `resampled_count`."""
    if fps == rate or len(values) == 0:
        return np.ascontiguousarray(values, dtype=np.float32)
    return interpolated(values, np.arange(resampled_count(len(values), fps, rate)) / rate * fps)


def interpolated(values: np.ndarray, position: np.ndarray) -> np.ndarray:
    """`values` (T, …) at fractional frame numbers `position` (…), float32 (*position.shape, …)."""
    last = len(values) - 1
    position = np.clip(position, 0, last)
    left = position.astype(np.int64)
    right = np.minimum(left + 1, last)
    share = (position - left).astype(np.float32)
    share = share.reshape(share.shape + (1,) * (values.ndim - 1))
    return np.ascontiguousarray(values[left] * (1 - share) + values[right] * share, dtype=np.float32)


def interpolated_tensor(values: Tensor, position: Tensor) -> Tensor:
    """`values` (…, T, C) at fractional frame numbers `position` (N,) float64: (…, N, C), with gradients of `values`."""
    last = values.shape[-2] - 1
    position = position.clamp(0, last)
    left = position.floor().long()
    right = (left + 1).clamp(max=last)
    return torch.lerp(values[..., left, :], values[..., right, :], (position - left).to(values.dtype)[:, None])
