"""A splat avatar: a mesh, and splats that are bound to its triangles. It is a folder with `point_cloud.ply` (the layout
of GaussianAvatars), `mesh.npz` and `avatar.json`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learn2talk_core.avatar.binding import BoundSplats, in_world, triangle_frames
from learn2talk_core.avatar.splat_files import read_splat_ply, write_splat_ply
from learn2talk_core.render.pinhole import Pinhole
from learn2talk_core.render.splats import SplatPicture, draw_splats
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_about, write_json
from learn2talk_core.untrusted.npz import read_npz

MADE_BY = "learn2talk avatar train"
CLOUD, MESH, ABOUT = "point_cloud.ply", "mesh.npz", "avatar.json"
WHITE = (1.0, 1.0, 1.0)
LOCAL, WORLD = "triangle", "world"  # the axes of the spherical harmonics
PLAIN, FLAME = "mesh", "FLAME"  # how the mesh is moved


@dataclass(frozen=True)
class Avatar:
    """A trained avatar.

    Attributes:
        splats: bound to the triangles `faces`.
        template: (V, 3) float32, the face at rest.
        faces: (F, 3) int32.
        mm_per_unit: millimetres per unit of the mesh.
        seen: (T, K) float32, what moved the mesh in training: weights of its shapes, or FLAME's expression and jaw.
        local: whether the spherical harmonics are in the triangles' axes.
        rig: `mesh`, or `FLAME` if FLAME's parameters move it.
        flame: FLAME's `shape` and `static_offset` of the head, if `rig` is FLAME.
        about: more about it, for people.
    """

    splats: BoundSplats
    template: np.ndarray
    faces: np.ndarray
    mm_per_unit: float
    seen: np.ndarray
    local: bool = True
    rig: str = PLAIN
    flame: Mapping[str, np.ndarray] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics."""
        return math.isqrt(self.splats.rest.shape[1] + 1) - 1


def save_avatar(folder: Path, avatar: Avatar) -> None:
    """Write the files into an existing folder."""
    write_splat_ply(folder / CLOUD, avatar.splats, bound=True)
    with (folder / MESH).open("wb") as file:
        arrays: dict[str, Any] = {f"flame_{name}": value for name, value in avatar.flame.items()}
        np.savez_compressed(file, template=avatar.template, faces=avatar.faces, seen=avatar.seen, **arrays)
    write_json(folder / ABOUT, {
        **avatar.about,
        "splats": len(avatar.splats.position),
        "mm_per_unit": float(avatar.mm_per_unit),
        "harmonics": LOCAL if avatar.local else WORLD,
        "rig": avatar.rig,
    })  # fmt: skip


def load_avatar(folder: str | Path) -> Avatar:
    """Read a folder of `save_avatar`.

    Raises:
        BadInput: it is missing, damaged, or its files do not match.
    """
    folder = Path(folder)
    about = read_about(folder / ABOUT, made_by=MADE_BY, harmonics=str, rig=str, mm_per_unit=float)
    fix = f"Make it again: {MADE_BY}."
    if about["harmonics"] not in (LOCAL, WORLD) or about["rig"] not in (PLAIN, FLAME):
        found = f"{about['harmonics']!r:.40} and {about['rig']!r:.40}"
        raise BadInput(folder / ABOUT, expected="harmonics and rig of an avatar", found=found, fix=fix)
    needed = ("template", "faces", "seen")
    arrays = read_npz(folder / MESH, expected="the mesh of an avatar", fix=fix, needed=needed)
    template, faces, seen = (arrays[name] for name in needed)
    right = (
        template.ndim == 2 and template.shape[1] == 3 and faces.ndim == 2 and faces.shape[1] == 3 and seen.ndim == 2
        and faces.dtype.kind in "iu" and len(faces) and faces.min() >= 0 and faces.max() < len(template)
        and all(a.dtype.kind == "f" and np.isfinite(a).all() for n, a in arrays.items() if n != "faces")
    )  # fmt: skip
    if not right:
        raise BadInput(folder / MESH, expected="the mesh of an avatar", found="arrays that do not match", fix=fix)
    return Avatar(
        splats=read_splat_ply(folder / CLOUD, len(faces)),
        template=template.astype(np.float32),
        faces=faces.astype(np.int32),
        mm_per_unit=float(about["mm_per_unit"]),
        seen=seen.astype(np.float32),
        local=about["harmonics"] == LOCAL,
        rig=about["rig"],
        flame={name.removeprefix("flame_"): array for name, array in arrays.items() if name.startswith("flame_")},
        about=about,
    )


def avatar_on(avatar: Avatar, device: torch.device | str) -> Avatar:
    """The avatar with its splats on a device: the backend `gsplat` draws those on CUDA."""
    return replace(avatar, splats=BoundSplats(*(part.to(device) for part in avatar.splats)))


@torch.no_grad()
def draw_avatar(
    avatar: Avatar,
    vertices: np.ndarray,
    view: Pinhole,
    *,
    background: tuple[float, float, float] = WHITE,
    backend: str = "cpu",
) -> SplatPicture:
    """One picture of the avatar with its mesh at `vertices` (V, 3), drawn where its splats are: `avatar_on`."""
    if vertices.shape != avatar.template.shape:
        raise BadInput(
            "avatar",
            expected=f"a mesh of {len(avatar.template)} vertices, which its splats are bound to",
            found=f"{len(vertices)}",
            fix="Drive it with a student of the same topology.",
        )
    device = avatar.splats.position.device
    points, faces = torch.from_numpy(np.asarray(vertices, np.float32)), torch.from_numpy(avatar.faces)
    frames = triangle_frames(points.to(device), faces.to(device).long())
    splats = in_world(avatar.splats, frames, view, degree=avatar.degree, local=avatar.local)
    return draw_splats(splats, view, background, backend=backend)


def as_bytes(picture: SplatPicture) -> np.ndarray:
    """uint8 (H, W, 3)."""
    return (255 * picture.image.clamp(0, 1) + 0.5).to(torch.uint8).cpu().numpy()
