"""Face landmarks in real video: four per frame, of exactly one face, and crops in which the mouth stays in place.

The landmarks are MediaPipe's (Bazarevsky et al. 2019, BlazeFace; Kartynnik et al. 2019, face mesh). OpenCV runs the two
networks; the package mediapipe is only the source of their files. Alignment and smoothing are those of the lip readers
of Ma et al. 2022, so that their weights get the input that they were trained on.
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from learn2talk_core.run.errors import BadInput

# RGB frame (H, W, 3) → for each face in it, (4, 2) pixel positions (x, y): right eye, left eye, nose, mouth.
FindFaces = Callable[[np.ndarray], list[np.ndarray]]

# Positions of the four in the aligned frames of the lip readers' training data, ALIGNED x ALIGNED pixels.
REFERENCE = np.array([[102.074, 94.272], [156.361, 93.578], [129.004, 135.903], [129.313, 157.823]])
ALIGNED = 256
SMOOTHING = 6  # frames before and after
MODELS = "mediapipe==0.10.21"  # newer versions do not contain the networks
_DETECTOR_SIZE, _MESH_SIZE = 128, 192
_SURE, _OVERLAP = 0.5, 0.3
# Of the mesh's 468 points, those that are nearest to points 36-41, 42-47, 31-35 and 48-67 of the usual 68.
_MESH_POINTS = (
    (33, 160, 158, 133, 153, 144),
    (362, 385, 387, 263, 373, 380),
    (98, 97, 2, 326, 327),
    (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)


def follow_face(frames: Iterable[np.ndarray], find: FindFaces, *, name: str) -> np.ndarray:
    """The landmarks of the one face in every frame, (T, 4, 2).

    Raises BadInput for a frame with no face or with more than one; the error gives `name` and the frame's number.
    """
    found = []
    for number, frame in enumerate(frames):
        faces = find(frame)
        if len(faces) != 1:
            raise BadInput(
                f"{name}, frame {number}",
                expected="one face",
                found=f"{len(faces)} faces" if faces else "no face",
                fix="Cut the video so that exactly one speaker is visible in every frame.",
            )
        found.append(faces[0])
    if not found:
        raise BadInput(name, expected="at least one frame", found="none", fix="Leave the video out.")
    return np.stack(found).astype(np.float64)


def smooth_landmarks(landmarks: np.ndarray, radius: int = SMOOTHING) -> np.ndarray:
    """Remove jitter from (T, N, 2) landmarks: the shape is a mean over ± `radius` frames (fewer at the ends, so that
    the window stays symmetric), the position is that of the frame itself.
    """
    result = np.empty_like(landmarks, dtype=np.float64)
    for t in range(len(landmarks)):
        margin = min(radius, t, len(landmarks) - 1 - t)
        mean = landmarks[t - margin : t + margin + 1].mean(axis=0)
        result[t] = mean - mean.mean(axis=0) + landmarks[t].mean(axis=0)
    return result


def similarity(landmarks: np.ndarray, reference: np.ndarray = REFERENCE) -> np.ndarray:
    """The (2, 3) matrix of the rotation, scale and translation that bring (N, 2) landmarks closest to the reference."""
    matrix, _ = cv2.estimateAffinePartial2D(landmarks, reference, method=cv2.LMEDS)
    if matrix is None:
        raise ValueError("the landmarks coincide in one point and have no scale")
    return matrix


def mouth_crops(frames: Iterable[np.ndarray], landmarks: np.ndarray, size: int = 96) -> Iterator[np.ndarray]:
    """Grey mouth crops, uint8 (size, size) each, from RGB frames and their (T, 4, 2) landmarks.

    Every frame is aligned with the reference and cut around the mouth of the smoothed landmarks.
    """
    for frame, points in zip(frames, smooth_landmarks(landmarks), strict=True):
        matrix = similarity(points)
        image = cv2.warpAffine(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), matrix, (ALIGNED, ALIGNED))
        centre = (matrix[:, :2] @ points[3] + matrix[:, 2]).clip(size / 2, ALIGNED - size / 2)
        left, top = np.round(centre - size / 2).astype(int)
        yield image[top : top + size, left : left + size]


def mediapipe_faces() -> FindFaces:
    """A `FindFaces` that runs MediaPipe's networks on the CPU, about 10 ms per face."""
    package = importlib.util.find_spec("mediapipe")  # located, not imported: it needs older packages than ours
    models = Path(package.submodule_search_locations[0]) / "modules" if package else Path()  # type: ignore[index]
    paths = models / "face_detection/face_detection_short_range.tflite", models / "face_landmark/face_landmark.tflite"
    if package is None or not all(path.is_file() for path in paths):
        raise BadInput(
            "face landmarks",
            expected=f"the networks that {MODELS} contains",
            found="mediapipe without these files" if package else "no package mediapipe",
            fix=f"Install it without its dependencies: pip install --no-deps {MODELS}.",
        )
    detector, mesh = (cv2.dnn.readNetFromTFLite(str(path), cv2.dnn.ENGINE_CLASSIC) for path in paths)

    def find(image: np.ndarray) -> list[np.ndarray]:
        regions = (_region(points) for points in _detect(detector, image))
        return [points for points in (_landmarks(mesh, image, region) for region in regions) if points is not None]

    return find


def _detect(detector: cv2.dnn.Net, image: np.ndarray) -> list[np.ndarray]:
    """BlazeFace: for each face (8, 2) pixels: two corners of its box, eyes, nose, mouth, ears (right ones first)."""
    height, width = image.shape[:2]
    scale = max(height, width) / _DETECTOR_SIZE
    shift = (np.array([width, height]) - scale * _DETECTOR_SIZE) / 2
    detector.setInput(_cut(image, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), _DETECTOR_SIZE) * 2 - 1)
    offsets, scores = detector.forward(["regressors", "classificators"])
    offsets, sure = offsets[0].reshape(-1, 8, 2), 1 / (1 + np.exp(-scores[0, :, 0].clip(-50, 50)))
    points = offsets + _anchors()[:, None]
    points[:, 1] = offsets[:, 1]  # the second pair is the box's size
    centre, half = points[:, 0], points[:, 1] / 2
    points[:, 0], points[:, 1] = centre - half, centre + half
    boxes = np.concatenate([points[:, 0], 2 * half], axis=1)
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), sure.tolist(), _SURE, _OVERLAP)
    return [points[i] * scale + shift for i in np.asarray(kept, int).ravel()]


def _anchors() -> np.ndarray:
    """(896, 2) centres in pixels of the detector's input: 2 per cell of a 16 x 16 grid, 6 per cell of an 8 x 8 grid."""
    grids = []
    for cells, each in ((16, 2), (8, 6)):
        y, x = np.mgrid[:cells, :cells]
        centres = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) * _DETECTOR_SIZE / cells
        grids.append(np.repeat(centres, each, axis=0))
    return np.concatenate(grids)


def _region(points: np.ndarray) -> np.ndarray:
    """(2, 3) matrix from the mesh's input to the frame: the face's box, enlarged 1.5 times, with the eyes level."""
    centre, side = points[:2].mean(0), 1.5 * (points[1] - points[0]).max()
    x, y = points[3] - points[2]
    turn = np.array([[x, -y], [y, x]]) / np.hypot(x, y) * side / _MESH_SIZE
    return np.column_stack([turn, centre - turn @ [_MESH_SIZE / 2, _MESH_SIZE / 2]])


def _landmarks(mesh: cv2.dnn.Net, image: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    mesh.setInput(_cut(image, region, _MESH_SIZE))
    points, face = mesh.forward(["conv2d_21", "conv2d_31"])
    if face.item() < 0:  # logit of the probability that there is a face
        return None
    points = points.reshape(468, 3)[:, :2]
    chosen = np.stack([points[list(group)].mean(0) for group in _MESH_POINTS])
    return chosen @ region[:, :2].T + region[:, 2]


def _cut(image: np.ndarray, region: np.ndarray, size: int) -> np.ndarray:
    """The part of an RGB frame that `region` maps to, as a network's input (1, 3, size, size) in 0..1."""
    part = cv2.warpAffine(image, region, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return (part.transpose(2, 0, 1)[None] / 255).astype(np.float32)
