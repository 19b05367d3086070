"""Resampling against `np.interp`, and the count of frames against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from learn2talk_core.run.resample import interpolated, interpolated_tensor, resample_frames, resampled_count

RATES = (24.0, 25.0, 29.97, 30.0, 47.0, 50.0, 60.0)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("rate", RATES)
def test_frames_between_the_first_and_the_last(fps: float, rate: float) -> None:
    """No frame is lost to rounding: 29 / 25 * 25 is less than 29 in floating point."""
    exact = Fraction(str(rate)) / Fraction(str(fps))
    for frames in range(1, 2000):
        assert resampled_count(frames, fps, rate) == (frames - 1) * exact // 1 + 1, frames


@pytest.mark.parametrize(("fps", "rate", "frames"), [(25, 30, 47), (30, 25, 33), (60, 25, 17), (29.97, 60, 79)])
def test_against_interp(fps: float, rate: float, frames: int) -> None:
    motion = np.random.default_rng(0).normal(size=(40, 2, 3)).astype(np.float32)
    found = resample_frames(motion, fps, rate)
    assert found.shape == (frames, 2, 3)
    assert found.dtype == np.float32
    expected = np.interp(np.arange(frames) / rate, np.arange(40) / fps, motion[:, 1, 2])
    np.testing.assert_allclose(found[:, 1, 2], expected, atol=1e-5)


def test_the_same_rate_and_nothing() -> None:
    motion = np.random.default_rng(0).normal(size=(31, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(resample_frames(motion, 25.0, 25.0), motion)
    assert resample_frames(motion[:0], 30.0, 25.0).shape == (0, 2, 3)
    assert resample_frames(motion[:1], 30.0, 25.0).shape == (1, 2, 3)


def test_positions_of_any_shape_and_beyond_the_ends() -> None:
    values = np.arange(5, dtype=np.float32)[:, None] * np.array([1, 10], np.float32)
    found = interpolated(values, np.array([[-1.0, 0.25], [3.5, 7.0]]))
    np.testing.assert_allclose(found, [[[0, 0], [0.25, 2.5]], [[3.5, 35], [4, 40]]])


def test_tensors_as_arrays_with_gradients() -> None:
    position = torch.tensor([-0.5, 0.0, 1.2, 2.4, 3.6, 5.99, 6.0, 6.1], dtype=torch.float64)
    values = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    found = interpolated_tensor(values, position)
    for batch in range(2):
        expected = interpolated(values[batch].detach().numpy(), position.numpy())
        np.testing.assert_allclose(found[batch].detach().numpy(), expected, atol=1e-6)
        assert torch.equal(interpolated_tensor(values[batch], position), found[batch])
    assert torch.autograd.gradcheck(lambda x: interpolated_tensor(x, position), (values,))
