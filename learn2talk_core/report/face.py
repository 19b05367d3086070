"""Render the whole face for pictures and videos."""

import math

import numpy as np

from learn2talk_core.mesh.look import Look
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.render.background import BACKGROUND
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.draw import draw
from learn2talk_core.render.shading import LIGHT, Light

CHUNK = 64  # frames drawn at a time: enough to keep the cores busy without much memory


def portrait_camera(
    topology: Topology, template: np.ndarray, head: np.ndarray | None = None, side: float = 0.0
) -> Camera:
    """A camera in front of a speaker's face, a metre or two away; it shows the face from ear to ear, with the chin.

    Args:
        topology: with the region `lips`.
        template: (V, 3) the speaker's face at rest.
        head: (n, 3) those of its vertices that are the head, if there are shoulders; None is all.
        side: degrees by which the camera stands to the speaker's left.
    """
    head = template if head is None else head
    low, high = head.min(axis=0), head.max(axis=0)
    x, _, z = ((low + high) / 2).tolist()
    across = float(high[0] - low[0])  # width, not height: some meshes end at the brow and some have shoulders
    y = float(template[topology.regions["lips"], 1].mean()) + 0.3 * across
    return Camera(target=(x, y, z), extent=1.32 * across, distance=8 * across, yaw=math.radians(side))


def head_camera(shown: np.ndarray, side: float = 0.0, aspect: float = 1.0) -> Camera:
    """A camera in front of the whole head.

    Args:
        shown: (n, 3) the vertices at rest that the picture shows.
        side: degrees by which the camera stands to the speaker's left.
        aspect: width of the picture over its height.
    """
    low, high = shown.min(axis=0), shown.max(axis=0)
    x, y, z = ((low + high) / 2).tolist()
    across = float(np.hypot(*(high - low)[[0, 2]])) if side else float(high[0] - low[0])
    extent = 1.1 * max(float(high[1] - low[1]), across / aspect)
    return Camera(target=(x, y, z), extent=extent, distance=6 * extent, yaw=math.radians(side))


def portraits(
    vertices: np.ndarray,
    topology: Topology,
    camera: Camera,
    height: int,
    width: int,
    *,
    colours: np.ndarray | None = None,
    background: tuple[float, float, float] = BACKGROUND,
    light: Light = LIGHT,
    supersample: int = 2,
    look: Look | None = None,
) -> np.ndarray:
    """Render a motion.

    Args:
        vertices: (N, V, 3).
        topology: the faces, and the colours if `colours` is None.
        colours: (V, 3) or (N, V, 3) RGB in 0..1.
        supersample: samples per pixel along x and along y; 1 takes a quarter of the work of 2.
        look: its texture is used instead of colours.

    Returns:
        uint8 (N, height, width, 3) RGB.
    """
    colours = topology.colours if colours is None else colours
    pictures = np.empty((len(vertices), height, width, 3), np.uint8)
    for start in range(0, len(vertices), CHUNK):
        part = slice(start, start + CHUNK)
        samples = draw(
            vertices[part],
            topology.faces,
            colours[part] if colours.ndim == 3 else colours,
            camera,
            height * supersample,
            width * supersample,
            light=light,
            background=background,
            look=look,
        )
        if supersample > 1:
            samples = samples.reshape(-1, height, supersample, width, supersample, 3).mean(axis=(2, 4)).round()
        pictures[part] = samples
    return pictures
