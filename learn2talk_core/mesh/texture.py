"""Read the texture of a face: a picture of the skin, and an OBJ file with texture coordinates."""

from pathlib import Path

import cv2
import numpy as np

from learn2talk_core.mesh.obj import read_obj_uv
from learn2talk_core.mesh.topology import Texture
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing

PICTURES = (".png", ".jpg", ".jpeg")
LARGEST = 8192  # pixels along a side


def read_texture(path: str | Path, faces: np.ndarray) -> Texture:
    """Read `NAME.obj`, a mesh with texture coordinates, and the picture `NAME.png` or `NAME.jpg` beside it.

    Args:
        path: the OBJ file; only its triangles and their texture coordinates are read.
        faces: (F, 3) the triangles of the mesh that it is for; those of the file may come in another order.

    Raises:
        BadInput: no such file, no picture, or not the same triangles.
    """
    path = Path(path)
    if not path.is_file():
        raise missing(path, "check corpus.source.texture")
    try:
        triangles, coordinates = read_obj_uv(path)
    except (ValueError, OverflowError) as error:
        fix = "Export it as triangles with texture coordinates."
        raise BadInput(path, expected="triangles with texture coordinates", found=str(error), fix=fix) from None
    place = {key: i for i, key in enumerate(map(tuple, _first_smallest(triangles)[0].tolist()))}
    wanted, turns = _first_smallest(faces)
    rows = [place.get(key, -1) for key in map(tuple, wanted.tolist())]
    if -1 in rows:
        raise BadInput(
            path,
            expected=f"the {len(faces)} triangles of the corpus's mesh",
            found=f"{rows.count(-1)} of them missing",
            fix="Give the texture coordinates of this mesh, with the same numbers of vertices.",
        )
    _, own = _first_smallest(triangles)
    # coordinates from the corner with the smallest vertex on, then turned as in `faces`
    corner = (own[rows][:, None] + np.arange(3) - turns[:, None]) % 3
    uv = np.take_along_axis(coordinates[rows], corner[..., None], axis=1)
    return Texture(uv.astype(np.float32), _picture(path))


def _first_smallest(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each triangle turned so that its smallest vertex comes first, and the corner (F,) at which that was."""
    first = np.asarray(faces).argmin(axis=1)
    return np.take_along_axis(np.asarray(faces), (first[:, None] + np.arange(3)) % 3, axis=1), first


def _picture(path: Path) -> np.ndarray:
    for picture in (path.with_suffix(suffix) for suffix in PICTURES):
        if picture.is_file():
            break
    else:
        raise missing(path.with_suffix(".png"), "put the picture of the texture beside the OBJ file, with its name")
    image = cv2.imread(str(picture), cv2.IMREAD_COLOR)
    if image is None or max(image.shape) > LARGEST:
        found = "no such picture" if image is None else f"{image.shape[1]} x {image.shape[0]} pixels"
        raise BadInput(
            picture, expected=f"a picture of at most {LARGEST} pixels a side", found=found, fix="Convert it."
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
