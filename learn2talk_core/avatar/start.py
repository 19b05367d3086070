"""Where the splats of an avatar are before it is trained.

GaussianAvatars starts with one splat in the middle of each triangle and adds splats where pictures pull at them. The
inside of the mouth is hidden in most pictures, so its splats are pulled at too seldom: teeth of 8 mm would keep one
splat for each triangle. Here a protected triangle starts with a splat for every few pixels that it ever covers.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from learn2talk_core.avatar.binding import BoundSplats, one_per_triangle, take, triangle_frames
from learn2talk_core.avatar.views import View
from learn2talk_core.render.rasterise import rasterise
from learn2talk_core.run.progress import progress

PIXELS_A_SPLAT = 2.0  # of a protected triangle, where it is seen largest
GENERALISED_GOLDEN = 1.32471795724474602596  # of the R2 sequence (Roberts 2018), which fills a square evenly


def covered_pixels(views: Sequence[View], vertices: Callable[[int], np.ndarray], faces: np.ndarray) -> np.ndarray:
    """(F,) the largest number of pixels that each triangle covers in any of the pictures."""
    most = np.zeros(len(faces), np.int64)
    for view in progress(views, "triangles in the pictures", unit="picture"):
        screen = torch.from_numpy(view.camera.project(vertices(view.time)).astype(np.float32))[None]
        found = rasterise(screen, faces, view.camera.height, view.camera.width).pix_to_face.numpy()
        most = np.maximum(most, np.bincount(found[found >= 0], minlength=len(faces)))
    return most


def start_counts(seen: np.ndarray, protected: np.ndarray, most: int) -> np.ndarray:
    """(F,) the number of splats that a triangle starts with: one, and on `protected` triangles one for every
    `PIXELS_A_SPLAT` of the pixels `seen` (F,), or for more of them if half of the largest number of splats, `most`,
    would not be enough."""
    pixels = max(PIXELS_A_SPLAT, 2 * seen[protected].sum() / most)
    return np.where(protected, np.ceil(seen / pixels), 1).clip(min=1).astype(np.int64)


def start_splats(template: np.ndarray, faces: np.ndarray, counts: np.ndarray, degree: int) -> BoundSplats:
    """Grey splats, `counts` (F,) of them on each triangle of `faces` (F, 3), spread evenly over it. One splat lies in
    its middle and is as large as the triangle; n splats are smaller by √n."""
    frames = triangle_frames(torch.from_numpy(template), torch.from_numpy(faces).long())
    triangle = torch.from_numpy(np.repeat(np.arange(len(faces)), counts))
    first = np.repeat(np.cumsum(counts) - counts, counts)
    place = (0.5 + (np.arange(len(first)) - first)[:, None] / GENERALISED_GOLDEN ** np.array([1, 2])) % 1
    place = np.where(place.sum(axis=1, keepdims=True) > 1, 1 - place, place)  # the square's other half, folded over
    place[np.repeat(counts == 1, counts)] = 1 / 3
    a, b, c = torch.from_numpy(template)[torch.from_numpy(faces).long()][triangle].unbind(dim=1)
    along, across = torch.from_numpy(place).to(a.dtype).unbind(dim=1)
    offset = a + along[:, None] * (b - a) + across[:, None] * (c - a) - frames.origin[triangle]
    size = frames.size[triangle, None].clamp_min(1e-12)
    splats = take(one_per_triangle(len(faces), degree), triangle)
    number = torch.from_numpy(np.repeat(counts, counts)).to(a.dtype)
    return splats._replace(
        position=(frames.rotation[triangle].mT @ offset[..., None])[..., 0] / size,
        scale=splats.scale - number.log()[:, None] / 2,
    )
