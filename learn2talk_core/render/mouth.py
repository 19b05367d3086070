"""The mouth crop that the lip reader sees, rendered from the vertices of a face."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.mesh.cavity import CAVITY_COLOUR, Cavity, cavity_behind
from learn2talk_core.mesh.topology import Texture, Topology, submesh
from learn2talk_core.render.background import BACKGROUND
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.render import render
from learn2talk_core.render.shading import LIGHT, Light
from learn2talk_core.run.device import sent

CROP = 85.0  # mm; height of an 88-pixel crop for our lip readers
# The same for published lip readers: what 88 pixels of their training crops show of MediaPipe's canonical face, an
# adult's in centimetres, once its eyes, nose and mouth are aligned with theirs (tests/render/test_mouth.py).
PUBLISHED_CROP = 98.0
DISTANCE = 600.0  # mm from the lips to the camera
LUMA = (0.299, 0.587, 0.114)  # RGB to grey, ITU-R BT.601, as OpenCV does
SMOOTHING = 6  # frames on either side over which crops that follow the lips are smoothed, as in `video.landmarks`
OWN_SHARE = 0.25  # of a frame's own lips in its crop: they are one of four landmarks, the others do not move


@dataclass(frozen=True)
class MouthView:
    """What is needed to render one speaker's mouth.

    Attributes:
        vertex_ids: (R,) the vertices that are rendered: the region `mouth_view`.
        faces: (G, 3) int32, numbered by position in `vertex_ids`; with a texture, in `corners`.
        colours: (R, 3) float32 albedo.
        camera: looks at the lips of the speaker's template.
        size: height and width of the crop in pixels.
        cavity: drawn behind the lips, its anchors numbered by position in `vertex_ids`; None if the face has a mouth.
        lips: positions in `vertex_ids` of the vertices that the crop follows; None for a camera that stands still.
        rest: (3,) their mean in the template.
        corners: with a texture, (S,) the position in `vertex_ids` of each vertex of `faces`: one vertex for each pair
            of a vertex and texture coordinates.
        uv: with a texture, (S, 2) float32.
        texture: (H, W) float32 grey in 0..1, row 0 on top.
    """

    vertex_ids: np.ndarray
    faces: np.ndarray
    colours: Tensor
    camera: Camera
    size: int
    cavity: Cavity | None = None
    lips: Tensor | None = None
    rest: Tensor | None = None
    corners: Tensor | None = None
    uv: Tensor | None = None
    texture: Tensor | None = None


def mouth_view(
    topology: Topology, template: np.ndarray, mm_per_unit: float, size: int = 88, *, published: bool = False
) -> MouthView:
    """The view of a speaker's mouth.

    Args:
        topology: with the region `mouth_view`, and `mouth_centre` or `lips`, at whose centre the camera looks. With a
            texture, this is drawn instead of the colours.
        template: (V, 3) the speaker's face at rest.
        mm_per_unit: millimetres per unit of the template.
        published: show what the training data of published lip readers show (`video.landmarks.mouth_crops`): a larger
            part of the face, centred on the lips of every frame; else the camera stands still, as in ours.
    """
    crop = PUBLISHED_CROP if published else CROP
    vertex_ids = topology.regions["mouth_view"]
    around = topology.regions.get("mouth_centre", topology.regions["lips"])
    lips = template[around]
    x, y, z = ((lips.min(axis=0) + lips.max(axis=0)) / 2).tolist()
    pairs = topology.lip_pairs[np.isin(topology.lip_pairs, vertex_ids).all(axis=1)]
    cavity = cavity_behind(template, topology.faces, pairs, mm_per_unit)
    if cavity is not None:
        cavity = Cavity(np.searchsorted(vertex_ids, cavity.anchors), cavity.offsets, cavity.faces)
    faces, corners, uv, texture = submesh(topology.faces, vertex_ids), None, None, None
    if topology.texture is not None:
        faces, corners, uv = unwrapped(topology.faces, topology.texture, vertex_ids)
        texture = shrunk(topology.texture, template, topology.faces, mm_per_unit, crop / size)
    return MouthView(
        vertex_ids=vertex_ids,
        faces=faces,
        colours=torch.from_numpy(np.ascontiguousarray(topology.colours[vertex_ids], np.float32)),
        camera=Camera(target=(x, y, z), extent=crop / mm_per_unit, distance=DISTANCE / mm_per_unit),
        size=size,
        cavity=cavity,
        lips=torch.from_numpy(np.searchsorted(vertex_ids, around)) if published else None,
        rest=torch.from_numpy(lips.mean(axis=0)) if published else None,
        corners=corners,
        uv=uv,
        texture=texture,
    )


def unwrapped(faces: np.ndarray, texture: Texture, vertex_ids: np.ndarray) -> tuple[np.ndarray, Tensor, Tensor]:
    """The triangles among `vertex_ids` with one vertex for each pair of a vertex and texture coordinates.

    Returns:
        The triangles (G, 3) int32, the position (S,) of each of their vertices in `vertex_ids`, and its uv (S, 2).
    """
    inside = np.isin(faces, vertex_ids).all(axis=1)
    position = np.searchsorted(vertex_ids, faces[inside])
    table = np.concatenate([position[..., None], texture.uv[inside]], axis=-1).reshape(-1, 3)
    unique, number = np.unique(table, axis=0, return_inverse=True)
    corners, uv = unique[:, 0].astype(np.int64), unique[:, 1:].astype(np.float32)
    return number.reshape(-1, 3).astype(np.int32), torch.from_numpy(corners), torch.from_numpy(uv)


def shrunk(
    texture: Texture, template: np.ndarray, faces: np.ndarray, mm_per_unit: float, mm_per_pixel: float
) -> Tensor:
    """The texture in grey (H, W) float32 in 0..1, so small that a pixel of the crop covers about two of its own: finer
    detail would flicker when the face moves."""
    grey = (texture.image.astype(np.float32) / 255) @ np.array(LUMA, np.float32)
    a, b, c = (template[faces] * mm_per_unit).transpose(1, 0, 2)
    p, q, r = texture.uv.transpose(1, 0, 2).astype(np.float64)
    surface = np.linalg.norm(np.cross(b - a, c - a), axis=1)  # twice the area in mm²
    (ux, uy), (vx, vy) = (q - p).T, (r - p).T
    drawn = np.abs(ux * vy - uy * vx) * grey.size  # and in pixels of the texture
    pixels = float(np.sqrt(np.median(drawn[surface > 0] / surface[surface > 0]))) * mm_per_pixel
    image = torch.from_numpy(grey)
    if pixels <= 2:
        return image
    sides = [max(1, round(side * 2 / pixels)) for side in grey.shape]
    return torch.nn.functional.interpolate(image[None, None], sides, mode="area")[0, 0]


def render_mouth(
    view: MouthView,
    vertices: Tensor,
    *,
    light: Light = LIGHT,
    backend: str | None = None,
) -> Tensor:
    """(N, R, 3) vertices of the region `mouth_view` → (N, size, size) grey in 0..1, differentiable.

    If the view follows the lips, the frames must be successive ones at 25 per second. The light is white, so shading
    the grey albedo gives the grey of the shaded colours at a third of the cost.
    """
    device, shade = vertices.device, float(np.dot(LUMA, CAVITY_COLOUR))
    albedo = (view.colours.to(vertices.dtype) @ torch.tensor(LUMA, dtype=vertices.dtype))[:, None]
    if view.lips is not None and view.rest is not None:
        lips = vertices[:, sent(view.lips, device)].mean(dim=1)
        vertices = vertices - followed(lips - sent(view.rest.to(vertices.dtype), device))
    surface, faces = vertices, view.faces
    texture: Callable[[Tensor], Tensor] | None = None
    if view.texture is not None and view.corners is not None and view.uv is not None:
        surface = vertices[:, sent(view.corners, device)]
        texture = _sampler(sent(view.texture.to(vertices.dtype), device), shade)
        albedo = torch.nn.functional.pad(view.uv.to(vertices.dtype), (0, 1))  # u, v, share of the cavity
    if view.cavity is not None:
        offsets = torch.from_numpy(view.cavity.offsets).to(vertices.dtype)
        curtain = vertices[:, sent(torch.from_numpy(view.cavity.anchors), device)] + sent(offsets, device)
        dark = albedo.new_tensor([0.0, 0.0, 1.0] if texture is not None else [shade])
        faces = np.concatenate([faces, view.cavity.faces + surface.shape[1]])
        surface = torch.cat([surface, curtain], dim=1)
        albedo = torch.cat([albedo, dark.expand(len(offsets), -1)])
    return render(
        surface, faces, sent(albedo, device), view.camera, view.size, view.size,
        light=light, background=(float(np.dot(LUMA, BACKGROUND)),), texture=texture, backend=backend,
    )[..., 0]  # fmt: skip


def followed(moved: Tensor) -> Tensor:
    """How far each frame's crop moves, (N, 1, 3), if the lips moved by (N, 3): a mean over ± SMOOTHING frames (fewer at
    the ends), and a share of the frame's own. The distance to the camera stays."""
    count = len(moved)
    frame = torch.arange(count, device=moved.device)
    margin = torch.minimum(frame, count - 1 - frame).clamp(max=SMOOTHING)
    sums = torch.cat([torch.zeros_like(moved[:1]), moved.cumsum(dim=0)])
    smooth = (sums[frame + margin + 1] - sums[frame - margin]) / (2 * margin + 1)[:, None]
    moved = OWN_SHARE * moved + (1 - OWN_SHARE) * smooth
    return torch.nn.functional.pad(moved[:, :2], (0, 1))[:, None]


def _sampler(image: Tensor, cavity: float) -> Callable[[Tensor], Tensor]:
    """(N, H, W, 3) texture coordinates and share of the cavity → (N, H, W, 1) grey."""

    def sample(at: Tensor) -> Tensor:
        uv, dark = at[..., :2].flatten(0, 1), at[..., 2:]
        grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], dim=-1)[None]
        grey = torch.nn.functional.grid_sample(
            image[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return grey[0, 0].reshape(dark.shape) * (1 - dark) + cavity * dark

    return sample
