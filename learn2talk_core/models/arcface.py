"""A face recogniser (ArcFace, Deng et al. 2019) from a user's ONNX file, for CSIM.

OpenCV runs it. ONNX is a graph of known operations, so nothing in the file can run code of a stranger's.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from learn2talk_core.corpus.landmarks import similarity
from learn2talk_core.errors import BadInput

SIZE = 112  # pixels
# Where right eye, left eye, nose and mouth lie in the faces that ArcFace is trained on; the mouth is the middle of its
# two corners there.
TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [56.1396, 92.2848]])

Embed = Callable[[np.ndarray], np.ndarray]


def load_arcface(path: str | Path) -> Embed:
    """A function from an aligned face, uint8 (112, 112, 3) RGB, to its embedding (E,) float32."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="an ONNX file", found="no such file", fix="Mend the path.")
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
        found = _run(network, np.zeros((SIZE, SIZE, 3), np.uint8))
    except cv2.error as error:
        raise BadInput(
            path,
            expected="an ONNX network that OpenCV can run on (1, 3, 112, 112)",
            found=f"something else ({error.err or str(error).strip().splitlines()[-1]})",
            fix="Use a recogniser of the ArcFace family, for example w600k_r50.onnx of InsightFace.",
        ) from error
    if found.ndim != 2 or found.shape[0] != 1 or found.shape[1] < 2:
        raise BadInput(
            path,
            expected="a network whose output is one embedding, (1, E)",
            found=f"output {found.shape}",
            fix="Use a recogniser of the ArcFace family, for example w600k_r50.onnx of InsightFace.",
        )
    return lambda face: _run(network, face)[0]


def aligned(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) and the (4, 2) landmarks of its face → uint8 (112, 112, 3), the face as ArcFace wants it."""
    return cv2.warpAffine(image, similarity(landmarks, TEMPLATE), (SIZE, SIZE))


def _run(network: cv2.dnn.Net, face: np.ndarray) -> np.ndarray:
    network.setInput(((face.transpose(2, 0, 1)[None].astype(np.float32)) - 127.5) / 127.5)
    return network.forward()
