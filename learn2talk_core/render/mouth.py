"""The mouth crop that the lip reader sees, rendered from the vertices of a face."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.mesh.topology import Topology, submesh
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.render import BACKGROUND, render
from learn2talk_core.render.shading import LIGHT, Light
from learn2talk_core.run.device import sent

CROP = 85.0  # mm; height of an 88-pixel crop of an aligned face
DISTANCE = 600.0  # mm from the lips to the camera
LUMA = (0.299, 0.587, 0.114)  # RGB to grey, ITU-R BT.601, as OpenCV does


@dataclass(frozen=True)
class MouthView:
    """What is needed to render one speaker's mouth.

    Attributes:
        vertex_ids: (R,) the vertices that are rendered: the region `mouth_view`.
        faces: (G, 3) int32, numbered by position in `vertex_ids`.
        colours: (R, 3) float32 albedo.
        camera: looks at the lips of the speaker's template.
        size: height and width of the crop in pixels.
    """

    vertex_ids: np.ndarray
    faces: np.ndarray
    colours: Tensor
    camera: Camera
    size: int


def mouth_view(topology: Topology, template: np.ndarray, mm_per_unit: float, size: int = 88) -> MouthView:
    """The view of a speaker's mouth.

    Args:
        topology: with the region `mouth_view`, and `mouth_centre` or `lips`, at whose centre the camera looks.
        template: (V, 3) the speaker's face at rest.
        mm_per_unit: millimetres per unit of the template.
    """
    vertex_ids = topology.regions["mouth_view"]
    lips = template[topology.regions.get("mouth_centre", topology.regions["lips"])]
    x, y, z = ((lips.min(axis=0) + lips.max(axis=0)) / 2).tolist()
    return MouthView(
        vertex_ids=vertex_ids,
        faces=submesh(topology.faces, vertex_ids),
        colours=torch.from_numpy(np.ascontiguousarray(topology.colours[vertex_ids], np.float32)),
        camera=Camera(target=(x, y, z), extent=CROP / mm_per_unit, distance=DISTANCE / mm_per_unit),
        size=size,
    )


def render_mouth(
    view: MouthView,
    vertices: Tensor,
    *,
    light: Light = LIGHT,
    backend: str | None = None,
) -> Tensor:
    """(N, R, 3) vertices of the region `mouth_view` → (N, size, size) grey in 0..1, differentiable.

    The light is white, so shading the grey albedo gives the grey of the shaded colours at a third of the cost.
    """
    luma = torch.tensor(LUMA, dtype=vertices.dtype)
    grey = sent((view.colours.to(vertices.dtype) @ luma)[:, None], vertices.device)
    background = (float(np.dot(LUMA, BACKGROUND)),)
    return render(
        vertices, view.faces, grey, view.camera, view.size, view.size,
        light=light, background=background, backend=backend,
    )[..., 0]  # fmt: skip
