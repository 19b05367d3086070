"""Splats as PLY: the layout of Kerbl et al. 2023 that all programs read, and GaussianAvatars' with bound splats.

All properties are float32, little endian: x y z, nx ny nz (0), f_dc_0…2, f_rest_* (all of red, then green, then blue),
opacity before the sigmoid, scale_* as logarithms, rot_* (w x y z), and for bound splats binding_0, the triangle.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.avatar.binding import BoundSplats
from learn2talk_core.mesh.ply import TYPES
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file

REST = {0: 0, 9: 3, 24: 8, 45: 15}  # f_rest_* properties → spherical harmonics above degree 0
LONGEST_HEADER = 1 << 16  # bytes
FIX = "Give the point_cloud.ply of a trained splat avatar."


def write_splat_ply(path: str | Path, splats: BoundSplats, *, bound: bool) -> None:
    """Write splats.

    Args:
        path: the file.
        splats: in their triangles' frames; or, if not `bound`, in the world (`triangle` is then ignored).
        bound: write the triangles.
    """
    count = len(splats.position)
    rest = splats.rest.permute(0, 2, 1).reshape(count, -1)
    parts = [
        (("x", "y", "z"), splats.position),
        (("nx", "ny", "nz"), torch.zeros(count, 3)),
        (_names("f_dc", 3), splats.base[:, 0]),
        (_names("f_rest", rest.shape[1]), rest),
        (("opacity",), splats.opacity[:, None]),
        (_names("scale", 3), splats.scale),
        (_names("rot", 4), splats.rotation),
    ]
    if bound:
        parts.append((("binding_0",), splats.triangle[:, None]))
    names = [name for some, _ in parts for name in some]
    rows = torch.cat([part.detach().float() for _, part in parts], dim=1).numpy()
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [*(f"property float {name}" for name in names), "end_header", ""]
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write("\n".join(header).encode())
        file.write(rows.astype("<f4").tobytes())


def read_splat_ply(path: str | Path, triangles: int) -> BoundSplats:
    """Read bound splats.

    Args:
        path: the file.
        triangles: number of triangles of the mesh that they are bound to.

    Raises:
        BadInput: no such file, another kind of PLY, one without binding, NaN, or triangles that do not exist.
    """
    path = Path(path)
    rows = _rows(path)
    names = rows.dtype.names or ()
    if "binding_0" not in names:
        found = "splats without binding_0" if "rot_0" in names else "a PLY without splats"
        fix = "An ordinary splat scene has no triangles to follow; train an avatar (docs/avatar.md)."
        raise BadInput(path, expected="splats bound to triangles", found=found, fix=fix)
    rest = [name for name in names if name.startswith("f_rest_")]
    needed = ["x", "y", "z", *_names("f_dc", 3), "opacity", *_names("scale", 3), *_names("rot", 4)]
    needed += _names("f_rest", len(rest))
    missing = [name for name in needed if name not in names]
    if missing or len(rest) not in REST or not len(rows):
        found = f"no {missing[0]}" if missing else f"{len(rows)} splats with {len(rest)} of f_rest_*"
        raise BadInput(path, expected="the properties of bound splats", found=found, fix=FIX)

    def column(*wanted: str) -> Tensor:
        return torch.from_numpy(np.stack([rows[name].astype(np.float32) for name in wanted], axis=1))

    harmonics = column(*_names("f_rest", len(rest))) if rest else torch.zeros(len(rows), 0)
    splats = BoundSplats(
        position=column("x", "y", "z"),
        scale=column(*_names("scale", 3)),
        rotation=column(*_names("rot", 4)),
        opacity=column("opacity")[:, 0],
        base=column(*_names("f_dc", 3))[:, None],
        rest=harmonics.unflatten(1, (3, REST[len(rest)])).permute(0, 2, 1).contiguous(),
        triangle=column("binding_0")[:, 0].nan_to_num(-1).long(),
    )
    for name, part in zip(BoundSplats._fields, splats, strict=True):
        if not torch.isfinite(part).all():
            raise BadInput(path, expected="finite numbers", found=f"NaN or infinity in {name}", fix=FIX)
    low, high = int(splats.triangle.min()), int(splats.triangle.max())
    if low < 0 or high >= triangles:
        fix = "Give the mesh that the splats were trained on."
        raise BadInput(path, expected=f"triangles 0 … {triangles - 1}", found=f"{low} … {high}", fix=fix)
    if not (splats.rotation.norm(dim=1) > 0).all():
        raise BadInput(path, expected="rotations", found="a quaternion of length 0", fix=FIX)
    return splats


def _names(start: str, count: int) -> list[str]:
    return [f"{start}_{number}" for number in range(count)]


def _rows(path: Path) -> np.ndarray:
    """The vertices of a binary PLY with nothing but numbers, as a structured array."""
    if not path.is_file():
        raise BadInput(path, expected="a PLY file", found="no such file", fix="Check the path.")
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    end = start.find(b"end_header")
    lines = start[:end].decode("latin-1").split("\n") if end >= 0 else []
    words = [line.split() for line in lines]
    fields = [(line[2], TYPES.get(line[1], "")) for line in words if len(line) == 3 and line[0] == "property"]
    elements = [line for line in words if line[:1] == ["element"]]
    if not start.startswith(b"ply") or ["format", "binary_little_endian", "1.0"] not in words or not fields:
        raise BadInput(path, expected="a binary little endian PLY", found="something else", fix=FIX)
    plain = all(kind for _, kind in fields) and len({name for name, _ in fields}) == len(fields)
    if len(elements) != 1 or elements[0][1:2] != ["vertex"] or not plain or not _counted(elements[0]):
        raise BadInput(path, expected="one element vertex with plain numbers", found="others", fix=FIX)
    row = np.dtype([(name, "<" + kind) for name, kind in fields])
    data = start.index(b"\n", end) + 1
    count, size = int(elements[0][2]), path.stat().st_size - data
    if size != count * row.itemsize:
        found = f"{size} bytes after the header"
        raise BadInput(path, expected=f"{count * row.itemsize} bytes of {count} splats", found=found, fix=FIX)
    return np.fromfile(path, row, count, offset=data)


def _counted(element: Sequence[str]) -> bool:
    return len(element) == 3 and element[2].isdecimal() and len(element[2]) < 10
