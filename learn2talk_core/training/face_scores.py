"""How near a generated face video is to the filmed one. All videos are uint8 (T, H, W, 3) RGB."""

import numpy as np


def lower_half_l1(generated: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of the lower halves, in 0..1: L_recon of Wav2Lip where it had to draw.

    Args:
        generated, truth: (T, H, W, 3), or (H, W, 3) for the same picture at all times.
    """
    half = truth.shape[-3] // 2
    difference = generated[..., half:, :, :].astype(np.float32) - truth[..., half:, :, :]
    return float(np.abs(difference).mean()) / 255


def mouth_motion(generated: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Does the generated mouth move with the filmed one, and as much?

    The first principal component over time of the filmed lower half (which is opening, where a head keeps still) is
    the direction in which both are measured.

    Args:
        generated, truth: (T, H, W, 3), at least two frames.

    Returns:
        Correlation over time, NaN where one of them never moves, and ratio of the standard deviations.
    """
    half = truth.shape[1] // 2
    filmed = truth[:, half:].reshape(len(truth), -1).astype(np.float32)
    drawn = generated[:, half:].reshape(len(generated), -1).astype(np.float32)
    filmed = filmed - filmed.mean(axis=0)
    drawn = drawn - drawn.mean(axis=0)
    # The component comes from the (T, T) Gram matrix, which is small where there are more pixels than frames.
    values, vectors = np.linalg.eigh(filmed @ filmed.T)
    opening = vectors[:, -1] * np.sqrt(max(values[-1], 0.0))
    drawn_opening = drawn @ (filmed.T @ vectors[:, -1]) / max(np.sqrt(max(values[-1], 0.0)), 1e-9)
    if opening.std() < 1e-6 or drawn_opening.std() < 1e-6:
        return float("nan"), float(drawn_opening.std() / max(opening.std(), 1e-6))
    return float(np.corrcoef(opening, drawn_opening)[0, 1]), float(drawn_opening.std() / opening.std())
