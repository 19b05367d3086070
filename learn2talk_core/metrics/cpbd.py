"""Cumulative probability of blur detection (Narvekar & Karam 2011), a sharpness of single pictures in 0 … 1.

An edge w pixels wide looks blurred with probability P = 1 − exp(−(w / w_JNB)^3.6), where w_JNB, the width at which blur
is just noticed (P = 63 %), is 5 pixels at low contrast and 3 at high. CPBD is the share of edges with P at most 63 %.
That is the share no wider than w_JNB, which is how it is counted here.

The number of pixels matters: the same picture at twice the size has edges twice as wide.
"""

import cv2
import numpy as np

BLOCK = 64  # pixels
EDGE_SHARE = 0.002  # a block with a larger share of edge pixels is looked at
LOW_CONTRAST = 50  # grey values
JNB_LOW, JNB_HIGH = 5, 3  # pixels
_LONGEST = 100  # steps to each side
_SLOPE = 2.0  # grey values a pixel
# Smoothing in pixels, share of pixels that are no edge, weak over strong threshold, steps that thresholds come in.
_CANNY_SIGMA, _CANNY_NO_EDGE, _CANNY_RATIO, _CANNY_STEPS = 2**0.5, 0.7, 0.4, 64


def cpbd(grey: np.ndarray) -> float | None:
    """Sharpness of one picture, 1 at best.

    Args:
        grey: (H, W) uint8. Parts of blocks at its right and lower border are not looked at.

    Returns:
        0 … 1; None for a picture without an edge in any block.
    """
    image = grey.astype(np.float64)
    widths, edges = edge_widths(image), canny(image)
    sharp = total = 0
    for top in range(0, image.shape[0] - BLOCK + 1, BLOCK):
        for left in range(0, image.shape[1] - BLOCK + 1, BLOCK):
            block = slice(top, top + BLOCK), slice(left, left + BLOCK)
            if edges[block].mean() <= EDGE_SHARE:
                continue
            found = widths[block][widths[block] > 0]
            contrast = image[block].max() - image[block].min()
            sharp += int((found <= (JNB_LOW if contrast <= LOW_CONTRAST else JNB_HIGH)).sum())
            total += len(found)
    return sharp / total if total else None


def edge_widths(image: np.ndarray) -> np.ndarray:
    """Widths of upright edges (Marziliano et al. 2002): from the darkest to the brightest point of the slope in a row.

    Args:
        image: (H, W) grey values.

    Returns:
        (H, W) whole numbers of pixels where there is an edge whose gradient is within 22.5° of the row, else 0.
    """
    widths = np.zeros(image.shape, np.int64)
    if min(image.shape) < 3:
        return widths
    down, right = np.gradient(image)
    edge = upright_edges(image) & (np.abs(down) <= np.tan(np.pi / 8) * np.abs(right)) & (right != 0)
    edge[[0, -1]] = edge[:, [0, -1]] = False
    for sign in (1, -1):
        rises = np.diff(sign * image, axis=1) > 0  # (H, W − 1): from each pixel to the next
        to_left, to_right = _run(rises), _run(rises[:, ::-1])[:, ::-1]
        row, column = np.nonzero(edge & (sign * right > 0))
        # Pixel c − 1 and the pixels before it that keep falling; the same on the other side.
        widths[row, column] = 2 + to_left[row, column - 1] + to_right[row, column + 1]
    return widths


def upright_edges(image: np.ndarray) -> np.ndarray:
    """(H, W) bool: Sobel's edges as the authors' MATLAB release finds them.

    The slope along the row is steeper than 2 grey values a pixel; thinned to where it is a maximum of the row, if the
    gradient runs along the row rather than the column, or a maximum of the column.
    """
    right, down = _sobel(image)
    strength = np.pad(right**2, 1, mode="edge")
    here = strength[1:-1, 1:-1]
    in_row = (here >= strength[1:-1, :-2]) & (here > strength[1:-1, 2:]) & (np.abs(right) >= np.abs(down))
    in_column = (here >= strength[:-2, 1:-1]) & (here > strength[2:, 1:-1])
    return (here > _SLOPE**2) & (in_row | in_column)


def canny(image: np.ndarray) -> np.ndarray:
    """(H, W) bool: Canny's edges with the smoothing and thresholds that MATLAB takes by itself."""
    right, down = _sobel(cv2.GaussianBlur(image, (0, 0), _CANNY_SIGMA, borderType=cv2.BORDER_REPLICATE))
    magnitude = np.hypot(right, down)
    highest = magnitude.max()
    if highest == 0:
        return np.zeros(image.shape, bool)
    high = np.ceil(np.quantile(magnitude, _CANNY_NO_EDGE) / highest * _CANNY_STEPS) / _CANNY_STEPS
    dx, dy = (np.round(part / highest * 32767).astype(np.int16) for part in (right, down))
    return cv2.Canny(dx, dy, _CANNY_RATIO * high * 32767, high * 32767, L2gradient=True) > 0


def _sobel(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes along the row and along the column, in grey values a pixel."""
    both = (cv2.Sobel(image, cv2.CV_64F, *by, scale=1 / 8, borderType=cv2.BORDER_REPLICATE) for by in ((1, 0), (0, 1)))
    right, down = both
    return right, down


def _run(steps: np.ndarray) -> np.ndarray:
    """(H, N) bool → (H, N + 1): how many True lie in an unbroken run before each place, at most `_LONGEST`."""
    place = np.arange(1, steps.shape[1] + 1)
    last_break = np.maximum.accumulate(np.where(steps, 0, place), axis=1)
    return np.pad(np.minimum(place - last_break, _LONGEST), ((0, 0), (1, 0)))
