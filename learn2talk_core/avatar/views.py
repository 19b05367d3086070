"""Pictures of a head from many cameras at many moments, with the motion of its mesh: what an avatar is trained on.

The folder has the layout that VHAP writes and GaussianAvatars reads: `transforms_train.json`, `transforms_val.json` and
`transforms_test.json` list pictures with their cameras (`transform_matrix`: camera to world, with x right, y up, z
backwards). The motion is either FLAME's (`flame_param/`, read by `flame_head`) or that of any mesh, `motion.npz`, which
the key `motion_path` names.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from learn2talk_core.render.pinhole import Pinhole
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import write_json
from learn2talk_core.run.own_folder import own_folder
from learn2talk_core.untrusted.npz import read_npz

SPLITS = ("train", "val", "test")  # val: training expressions from other cameras; test: other expressions
MOTION = "motion.npz"
FLIP = np.diag([1.0, -1.0, -1.0])  # between the camera axes of the file (y up, z backwards) and ours
FIX = "Export the folder again (VHAP), or make one with learn2talk avatar record."
LARGEST = 4096  # pixels


@dataclass(frozen=True)
class View:
    """One picture: number of its moment, number of its camera, the camera itself, and its split.

    `picture`, `mask` and `parameters` (FLAME's at this moment) are the files; None for a picture that is not written
    yet, and for what it does not have.
    """

    time: int
    number: int
    camera: Pinhole
    split: str
    picture: Path | None = None
    mask: Path | None = None
    parameters: Path | None = None


@dataclass(frozen=True)
class MeshMotion:
    """A mesh and its motion: vertices = template + weights · basis.

    Attributes:
        template: (V, 3) float32.
        faces: (F, 3) int32.
        basis: (K, V, 3) float32.
        weights: (T, K) float32.
        protected: (F,) bool, triangles that must keep a splat.
        mm_per_unit: millimetres per unit of the vertices.
    """

    template: np.ndarray
    faces: np.ndarray
    basis: np.ndarray
    weights: np.ndarray
    protected: np.ndarray
    mm_per_unit: float

    @property
    def moments(self) -> int:
        """Number of moments."""
        return len(self.weights)

    def vertices(self, time: int) -> np.ndarray:
        """(V, 3) float32 at a moment."""
        return self.template + np.tensordot(self.weights[time], self.basis, 1).astype(np.float32)


def write_views(
    folder: str | Path, views: Sequence[View], pictures: Iterable[np.ndarray], motion: MeshMotion, *, made_by: str
) -> None:
    """Write pictures (uint8 RGB, in the order of `views`), cameras and motion, by the command `made_by`."""
    with own_folder(folder, made_by) as place:
        (place / "images").mkdir()
        listed: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        for view, picture in zip(views, pictures, strict=True):
            name = f"images/{view.time:05d}_{view.number:02d}.png"
            ok, encoded = cv2.imencode(".png", picture[..., ::-1])
            assert ok
            (place / name).write_bytes(encoded.tobytes())
            listed[view.split].append(_described(view, name))
        with (place / MOTION).open("wb") as file:
            np.savez_compressed(file, template=motion.template, faces=motion.faces, basis=motion.basis,
                                weights=motion.weights, protected=motion.protected,
                                mm_per_unit=np.float64(motion.mm_per_unit))  # fmt: skip
        for split, frames in listed.items():
            write_json(place / f"transforms_{split}.json", {"motion_path": MOTION, "frames": frames})


def read_views(folder: str | Path) -> list[View]:
    """The pictures that the folder lists.

    Raises:
        BadInput: no such folder, pictures without cameras, a camera that is not finite, or a missing picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(folder, expected="a folder of pictures with cameras", found="none", fix="Check the path.")
    if not (folder / "transforms_train.json").is_file():
        found = "pictures without cameras" if any(folder.rglob("*.[pj][np]g")) else "no such file"
        raise BadInput(folder, expected="transforms_train.json, with the cameras", found=found, fix=FIX)
    views = []
    for split in SPLITS:
        path = folder / f"transforms_{split}.json"
        if path.is_file():
            views += [_view(path, number, frame, split) for number, frame in enumerate(_frames(path))]
    if not any(view.split == "train" for view in views):
        raise BadInput(folder / "transforms_train.json", expected="pictures", found="an empty list", fix=FIX)
    return views


def check_pictures(views: Sequence[View]) -> None:
    """Refuse pictures and masks that are missing or of another size than their camera's, by their headers alone: a
    training would find the last one after minutes."""
    for view in views:
        for path in filter(None, (view.picture, view.mask)):
            try:
                with Image.open(path) as header:
                    width, height = header.size
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise _no_picture(path) from error
            _same_size(path, (height, width), view.camera)


def read_picture(view: View) -> np.ndarray:
    """The picture on white, uint8 (H, W, 3).

    Raises:
        BadInput: it cannot be read, or its size is not the camera's.
    """
    assert view.picture is not None
    image = _image(view.picture, cv2.IMREAD_UNCHANGED)
    _same_size(view.picture, image.shape[:2], view.camera)
    image = image[..., None].repeat(3, axis=-1) if image.ndim == 2 else image
    if image.dtype != np.uint8:
        found = f"{image.dtype} numbers"
        raise BadInput(view.picture, expected="a picture of 8 bits per colour", found=found, fix="Convert it.")
    rgb, alpha = image[..., 2::-1].astype(np.float32), np.full(image.shape[:2], 255, np.float32)
    if image.shape[2] == 4:
        alpha = image[..., 3].astype(np.float32)
    if view.mask is not None:
        mask = _image(view.mask, cv2.IMREAD_GRAYSCALE)
        _same_size(view.mask, mask.shape[:2], view.camera)
        alpha = np.minimum(alpha, mask)
    share = alpha[..., None] / 255
    return np.rint(share * rgb + (1 - share) * 255).astype(np.uint8)


def read_mesh_motion(folder: str | Path) -> MeshMotion:
    """Read `motion.npz`.

    Raises:
        BadInput: missing or damaged, arrays that do not match, or NaN.
    """
    path = Path(folder) / MOTION
    if not path.is_file():
        found = f"neither {MOTION} nor flame_param"
        raise BadInput(folder, expected="the motion of the head", found=found, fix=FIX)
    names = ("template", "faces", "basis", "weights", "protected", "mm_per_unit")
    stored = read_npz(path, expected="the motion of a head", fix=FIX, needed=names)
    count, triangles = len(stored["template"]), len(stored["faces"])
    shapes = {
        "template": (count, 3),
        "faces": (triangles, 3),
        "basis": (len(stored["basis"]), count, 3),
        "weights": (len(stored["weights"]), len(stored["basis"])),
        "protected": (triangles,),
        "mm_per_unit": (),
    }
    for name, shape in shapes.items():
        array = stored[name]
        kinds = {"faces": "iu", "protected": "b"}.get(name, "f")
        if array.shape != shape or array.dtype.kind not in kinds or not np.isfinite(array).all():
            found = "NaN or infinity" if array.shape == shape else f"{array.dtype} of shape {array.shape}"
            raise BadInput(f"{path}: {name}", expected=f"finite numbers of shape {shape}", found=found, fix=FIX)
    faces = stored["faces"].astype(np.int32)
    if not triangles or faces.min() < 0 or faces.max() >= count:
        found = f"{triangles} triangles, vertex numbers up to {faces.max(initial=0)}"
        raise BadInput(f"{path}: faces", expected=f"triangles of {count} vertices", found=found, fix=FIX)
    template, basis, weights = (stored[name].astype(np.float32) for name in ("template", "basis", "weights"))
    scale = float(stored["mm_per_unit"])
    if scale <= 0:
        raise BadInput(f"{path}: mm_per_unit", expected="a positive number", found=f"{scale:g}", fix=FIX)
    return MeshMotion(template, faces, basis, weights, stored["protected"], scale)


def _described(view: View, name: str) -> dict[str, Any]:
    camera = view.camera
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = camera.rotation.T @ FLIP, camera.position
    return {
        "timestep_index": view.time,
        "camera_index": view.number,
        "camera_id": f"{view.number:02d}",
        "cx": camera.centre[0],
        "cy": camera.centre[1],
        "fl_x": camera.focal[0],
        "fl_y": camera.focal[1],
        "w": camera.width,
        "h": camera.height,
        "camera_angle_x": 2 * math.atan(camera.width / 2 / camera.focal[0]),
        "transform_matrix": matrix.tolist(),
        "file_path": name,
    }


def _frames(path: Path) -> list[Any]:
    try:
        listed = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise BadInput(path, expected="JSON", found=str(error)[:200], fix=FIX) from error
    frames = listed.get("frames") if isinstance(listed, dict) else None
    if not isinstance(frames, list):
        raise BadInput(path, expected="a list of frames", found="none", fix=FIX)
    return frames


def _view(path: Path, number: int, frame: Any, split: str) -> View:
    where = f"{path}: frame {number}"
    try:
        matrix = np.array(frame["transform_matrix"], np.float64)
        height, width = int(frame["h"]), int(frame["w"])
        focal = float(frame["fl_x"]), float(frame.get("fl_y", frame["fl_x"]))
        centre = float(frame.get("cx", width / 2)), float(frame.get("cy", height / 2))
        time, camera = int(frame["timestep_index"]), int(frame.get("camera_index", 0))
        picture = listed_file(path.parent, frame["file_path"])
        mask, parameters = (
            listed_file(path.parent, frame[key]) if frame.get(key) else None
            for key in ("fg_mask_path", "flame_param_path")
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        expected = "w, h, fl_x, transform_matrix, timestep_index and file_path"
        found = f"{type(error).__name__}: {str(error)[:100]}"
        raise BadInput(where, expected=expected, found=found, fix=FIX) from error
    numbers = np.array([*focal, *centre, *matrix.ravel()])
    if matrix.shape != (4, 4) or not np.isfinite(numbers).all():
        found = "NaN or infinity" if matrix.shape == (4, 4) else f"a matrix of shape {matrix.shape}"
        raise BadInput(where, expected="a camera of finite numbers, 4 × 4", found=found, fix=FIX)
    turn = matrix[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
        raise BadInput(where, expected="a rotation in transform_matrix", found="another matrix", fix=FIX)
    if not (0 < height <= LARGEST and 0 < width <= LARGEST and min(focal) > 0 and time >= 0):
        found = f"{width} × {height} pixels, focal lengths {focal}, moment {time}"
        raise BadInput(where, expected=f"up to {LARGEST} × {LARGEST} pixels", found=found, fix=FIX)
    rotation = FLIP @ turn.T
    view = Pinhole(rotation, -rotation @ matrix[:3, 3], focal, centre, height, width)
    return View(time, camera, view, split, picture, mask, parameters)


def listed_file(folder: Path, name: str) -> Path:
    """A file that a list in `folder` names; it must be in that folder or beside it, as VHAP's unions are."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve().parent):
        raise ValueError(f"{name} is outside the folder")
    return path


def _image(path: Path, mode: int) -> np.ndarray:
    content = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    image = cv2.imdecode(content, mode) if len(content) else None
    if image is None:
        raise _no_picture(path)
    return image


def _no_picture(path: Path) -> BadInput:
    found = "no picture in it" if path.is_file() else "no such file"
    return BadInput(path, expected="a picture", found=found, fix=FIX)


def _same_size(path: Path, size: tuple[int, ...], camera: Pinhole) -> None:
    if size != (camera.height, camera.width):
        raise BadInput(
            path,
            expected=f"{camera.width} × {camera.height} pixels, as its camera has",
            found=f"{size[1]} × {size[0]}",
            fix="Export pictures and cameras at the same size.",
        )
