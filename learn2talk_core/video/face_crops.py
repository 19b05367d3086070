"""Crops for SyncNet and for the 2D sync expert, computed from the four landmarks of `landmarks`.

If the position of the face is known by construction (a 2D corpus, a crop made by another tool), the landmarks of the
mean face at that position are used instead, so that the same crops apply.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from scipy.ndimage import median_filter

from learn2talk_core.video.landmarks import REFERENCE, similarity, smooth_landmarks
from learn2talk_core.video.recorded import FACE_BOX, LEFT, SIDE, SIZE, TOP
from learn2talk_core.video.talking_video import FACE_SIZE, Box

SYNCNET_SIZE = 224  # pixels
ARCFACE_SIZE = 112  # pixels
# Positions of right eye, left eye, nose and mouth in the faces that ArcFace is trained on; the mouth is the midpoint of
# its two corners.
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [56.1396, 92.2848]])
# The mean face in its face box, brows to chin, as fractions of the box's side. Pixel (0, 0) covers 0 … 1.
_IN_FACE_BOX = ((REFERENCE - [LEFT, TOP]) * (SIZE / SIDE) + 0.5 - FACE_BOX[:2]) / (FACE_BOX[2] - FACE_BOX[0])
# SyncNet's pipeline: with h half the height of the detector's box, its crop reaches from h above the box's middle to
# 1.8 h below it and 1.4 h to each side.
_MARGIN = 0.4
# S3FD, its detector, returns a box from forehead to chin: eyes and mouth are at about these fractions of its height.
_EYES, _MOUTH = 0.40, 0.77
_MEDIAN = 13  # frames
_OUTSIDE = 110  # grey value outside the frame


def landmarks_of_box(box: Box) -> np.ndarray:
    """(4, 2) landmarks of the mean face in a face box (left, top, right, bottom), brows to chin."""
    left, top, right, bottom = box
    return _IN_FACE_BOX * [right - left, bottom - top] + [left - 0.5, top - 0.5]


def landmarks_of_crop(height: int, width: int) -> np.ndarray:
    """(4, 2) landmarks of the mean face in an image that is itself a crop by SyncNet's pipeline."""
    across, middle, half = detector_boxes(REFERENCE[None])[0]
    left, top, side = across - (1 + _MARGIN) * half, middle - half, 2 * (1 + _MARGIN) * half
    return (REFERENCE - [left, top]) * ([width / side, height / side])


def detector_boxes(landmarks: np.ndarray) -> np.ndarray:
    """(T, 4, 2) landmarks → (T, 3): centre x, centre y and half height of the box that a face detector would give.

    Each is a median over 13 frames, as in SyncNet's pipeline, so that the crops do not jitter.
    """
    eyes, mouth = landmarks[:, :2].mean(axis=1), landmarks[:, 3]
    half = np.linalg.norm(mouth - eyes, axis=1) / (_MOUTH - _EYES) / 2
    middle = eyes[:, 1] + (1 - 2 * _EYES) * half
    boxes = np.stack([(eyes[:, 0] + mouth[:, 0]) / 2, middle, half], axis=1)
    return median_filter(boxes, size=(_MEDIAN, 1), mode="nearest")


def syncnet_crops(frames: Iterable[np.ndarray], landmarks: np.ndarray) -> Iterator[np.ndarray]:
    """uint8 (224, 224, 3) RGB crop of each RGB frame, as syncnet_python's run_pipeline.py cuts and resizes them.

    Stops at the end of the shorter input, frames or (T, 4, 2) landmarks.
    """
    for frame, (across, middle, half) in zip(frames, detector_boxes(landmarks), strict=False):
        margin = int(half * (1 + 2 * _MARGIN))
        padded = np.pad(frame, ((margin, margin), (margin, margin), (0, 0)), constant_values=_OUTSIDE)
        x, y = across + margin, middle + margin
        rows = slice(max(0, int(y - half)), int(y + half * (1 + 2 * _MARGIN)))
        columns = slice(max(0, int(x - half * (1 + _MARGIN))), int(x + half * (1 + _MARGIN)))
        yield cv2.resize(padded[rows, columns], (SYNCNET_SIZE, SYNCNET_SIZE))


def face_crops(frames: Iterable[np.ndarray], landmarks: np.ndarray) -> Iterator[np.ndarray]:
    """uint8 (96, 96, 3) RGB crop of each RGB frame, brows to chin, rotated and scaled so that the face does not move,
    like the faces of a 2D corpus made from videos.

    Stops at the end of the shorter input, frames or (T, 4, 2) landmarks.
    """
    target = _IN_FACE_BOX * FACE_SIZE - 0.5
    for frame, points in zip(frames, smooth_landmarks(landmarks), strict=False):
        matrix = similarity(points, target)
        yield cv2.warpAffine(frame, matrix, (FACE_SIZE, FACE_SIZE), borderMode=cv2.BORDER_REPLICATE)


def arcface_crop(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) and the (4, 2) landmarks of its face → uint8 (112, 112, 3), the face aligned for ArcFace."""
    return cv2.warpAffine(image, similarity(landmarks, ARCFACE), (ARCFACE_SIZE, ARCFACE_SIZE))
