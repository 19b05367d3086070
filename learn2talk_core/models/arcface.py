"""A face recogniser (ArcFace, Deng et al. 2019) from a user's ONNX file, for CSIM.

OpenCV runs it. ONNX is a graph of known operations, so an untrusted file cannot execute code.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from learn2talk_core.run.errors import BadInput

SIZE = 112  # pixels

Embed = Callable[[np.ndarray], np.ndarray]


def load_arcface(path: str | Path) -> Embed:
    """A function from an aligned face, uint8 (112, 112, 3) RGB, to its embedding (E,) float32."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(path, expected="an ONNX file", found="no such file", fix="Correct the path.")
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
        found = _run(network, np.zeros((SIZE, SIZE, 3), np.uint8))
    except cv2.error as error:
        raise BadInput(
            path,
            expected="an ONNX network that OpenCV can run on (1, 3, 112, 112)",
            found=f"a file that it cannot run ({error.err or str(error).strip().splitlines()[-1]})",
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


def _run(network: cv2.dnn.Net, face: np.ndarray) -> np.ndarray:
    network.setInput(((face.transpose(2, 0, 1)[None].astype(np.float32)) - 127.5) / 127.5)
    return network.forward()
