"""Cumulative probability of blur detection (Narvekar & Karam 2011), the sharpness of a single picture in 0 … 1.

An edge w pixels wide looks blurred with probability P = 1 − exp(−(w / w_JNB)^3.6), where w_JNB, the width at which blur
is just noticed (P = 63 %), is 5 pixels at low contrast and 3 at high. CPBD is the share of edges with P at most 63 %.
Equivalently, and as computed here, it is the share of edges no wider than w_JNB.

CPBD depends on the resolution: the same picture at twice the size has edges twice as wide.
"""

import cv2
import numpy as np

BLOCK = 64  # pixels
EDGE_SHARE = 0.002  # blocks with a larger share of edge pixels are used
LOW_CONTRAST = 50  # grey values
JNB_LOW, JNB_HIGH = 5, 3  # pixels
_LONGEST = 100  # pixels on each side
_SLOPE = 2.0  # grey values per pixel
# Smoothing in pixels, share of pixels that are not edges, ratio of low to high threshold, number of threshold levels.
_CANNY_SIGMA, _CANNY_NO_EDGE, _CANNY_RATIO, _CANNY_STEPS = 2**0.5, 0.7, 0.4, 64


def cpbd(grey: np.ndarray) -> float | None:
    """Sharpness of one picture, 1 at best.

    Args:
        grey: (H, W) uint8. Incomplete blocks at the right and lower border are ignored.

    Returns:
        0 … 1; None if no block contains an edge.
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
    """Widths of vertical edges (Marziliano et al. 2002): from the darkest to the brightest point of the slope in a row.

    Args:
        image: (H, W) grey values.

    Returns:
        (H, W) integer widths in pixels at edges whose gradient is within 22.5° of the row direction, else 0.
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
        # Pixel c − 1 and the pixels before it along which the values keep falling; the same on the other side.
        widths[row, column] = 2 + to_left[row, column - 1] + to_right[row, column + 1]
    return widths


def upright_edges(image: np.ndarray) -> np.ndarray:
    """(H, W) bool: vertical Sobel edges, as in the authors' MATLAB release.

    The slope along the row exceeds 2 grey values per pixel. Edges are thinned: the slope must be a maximum along the
    row (where the gradient points along the row rather than the column) or along the column.
    """
    right, down = _sobel(image)
    strength = np.pad(right**2, 1, mode="edge")
    here = strength[1:-1, 1:-1]
    in_row = (here >= strength[1:-1, :-2]) & (here > strength[1:-1, 2:]) & (np.abs(right) >= np.abs(down))
    in_column = (here >= strength[:-2, 1:-1]) & (here > strength[2:, 1:-1])
    return (here > _SLOPE**2) & (in_row | in_column)


def canny(image: np.ndarray) -> np.ndarray:
    """(H, W) bool: Canny edges with MATLAB's default smoothing and thresholds."""
    right, down = _sobel(cv2.GaussianBlur(image, (0, 0), _CANNY_SIGMA, borderType=cv2.BORDER_REPLICATE))
    magnitude = np.hypot(right, down)
    highest = magnitude.max()
    if highest == 0:
        return np.zeros(image.shape, bool)
    high = np.ceil(np.quantile(magnitude, _CANNY_NO_EDGE) / highest * _CANNY_STEPS) / _CANNY_STEPS
    dx, dy = (np.round(part / highest * 32767).astype(np.int16) for part in (right, down))
    return cv2.Canny(dx, dy, _CANNY_RATIO * high * 32767, high * 32767, L2gradient=True) > 0


def _sobel(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes along the row and along the column, in grey values per pixel."""
    both = (cv2.Sobel(image, cv2.CV_64F, *by, scale=1 / 8, borderType=cv2.BORDER_REPLICATE) for by in ((1, 0), (0, 1)))
    right, down = both
    return right, down


def _run(steps: np.ndarray) -> np.ndarray:
    """(H, N) bool → (H, N + 1): length of the run of True directly before each position, at most `_LONGEST`."""
    place = np.arange(1, steps.shape[1] + 1)
    last_break = np.maximum.accumulate(np.where(steps, 0, place), axis=1)
    return np.pad(np.minimum(place - last_break, _LONGEST), ((0, 0), (1, 0)))
