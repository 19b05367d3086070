"""Similarity of a generated face video to the filmed one. All videos are uint8 (T, H, W, 3) RGB."""

import numpy as np


def lower_half_l1(generated: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of the lower halves, in 0..1: Wav2Lip's L_recon on the half that it generates.

    Args:
        generated, truth: (T, H, W, 3), or (H, W, 3) if the picture is the same at all times.
    """
    half = truth.shape[-3] // 2
    return l1(generated[..., half:, :, :], truth[..., half:, :, :])


def best_frame(video: np.ndarray) -> np.ndarray:
    """The frame (H, W, 3) of a video (T, H, W, 3) whose lower half is nearest to those of all its frames, in L1."""
    errors = [lower_half_l1(frame, video) for frame in video]
    return video[int(np.argmin(errors))]


def l1(generated: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of pictures of 0..255, in 0..1; their shapes broadcast."""
    return float(np.abs(generated.astype(np.float32) - truth).mean()) / 255


def mouth_opening_agreement(generated: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Does the generated mouth move in step with the filmed one, and as much?

    Both are measured along the first principal component over time of the filmed mouth, which is how far it is open.

    Args:
        generated, truth: (T, h, w, 3) crops of the lips, at least two frames.

    Returns:
        Correlation over time (NaN if either mouth never moves), and ratio of the standard deviations.
    """
    filmed, drawn = (video.reshape(len(video), -1).astype(np.float32) for video in (truth, generated))
    filmed, drawn = filmed - filmed.mean(axis=0), drawn - drawn.mean(axis=0)
    _, vectors = np.linalg.eigh(filmed @ filmed.T)  # (T, T), since there are more pixels than frames
    component = filmed.T @ vectors[:, -1]
    truly, apparently = filmed @ component, drawn @ component
    amplitude = float(apparently.std() / max(truly.std(), 1e-9))
    still = min(truly.std(), apparently.std()) < 1e-6 * max(truly.std(), 1.0)
    return float("nan") if still else float(np.corrcoef(truly, apparently)[0, 1]), amplitude
