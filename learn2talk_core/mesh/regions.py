"""Regions of a face: read from the vertex lists of datasets, or derived from the lips by geometry.

Sizes are those of an adult's face in millimetres, measured from the centre of the lips: the eyes lie about 68 mm
above it, the chin 35 mm below.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from learn2talk_core.mesh.cavity import CAVITY_COLOUR
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing, read_json
from learn2talk_core.untrusted.pickles import load_array, load_pickle

WIDTHS = (20.0, 130.0)  # mm; lips outside this range are not lips, or the unit is wrong
TALL = 45.0  # mm; a `lips` region taller than this contains more than lips, as BIWI's, which includes the chin
MOUTH = (34.0, 30.0, -6.0)  # mm: half axes of the ellipse of the region `mouth`, and vertical offset of its centre
VIEW = (64.0, 58.0, 80.0)  # mm: half width, half height and depth of `mouth_view`; the crop shows 85 by 85
CAVITY = (45.0, 45.0, 115.0)  # mm: the same for the box in which hidden vertices count as mouth cavity
UPPER_FACE = (60.0, 50.0, 36.0)  # mm: half width, lowest height above the lips, depth behind the front of the lips
HIDDEN = 3.0  # mm by which a surface must lie in front of a hidden vertex; pressed lips overlap by less
LAST = 2**31 - 1  # the largest vertex number that is accepted
COLUMN = 5.0  # mm between two lip pairs
LIP_SIZE = (27.0, 9.5, 10.5)  # mm: half width of the mouth; height of the upper and of the lower lip in its middle
SKIN, LIPS = (0.86, 0.66, 0.56), (0.74, 0.40, 0.35)  # albedo, RGB

_FIX = "Write one list of whole numbers, counted from 0, or of true and false."


def regions_from_lips(
    template: np.ndarray, faces: np.ndarray, lips: np.ndarray, *, mm_per_unit: float
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The regions that the pipeline needs, for any mesh of a face with closed or nearly closed lips.

    Args:
        template: (V, 3) a neutral face in its own unit; x to its left, y up, z out of the face.
        faces: (F, 3).
        lips: (n,) vertex numbers: the whole lips, a ring or a few points of them, or more than the lips.
        mm_per_unit: millimetres per unit of the template.

    Returns:
        The regions `lips` (as given), `mouth`, `upper_face` and `mouth_view` (see `Topology`), each sorted; if `lips`
        contains more than lips also `mouth_centre`, at whose centre the camera then looks. And the lip pairs (P, 2),
        empty if upper and lower lip are not separated in the mesh.

    Raises:
        BadInput: vertex numbers that do not exist, or lips of an impossible width.
    """
    lips = np.unique(np.asarray(lips, np.int64))
    _refuse_strange_lips(template, lips, mm_per_unit)
    face = np.asarray(template, np.float64) * mm_per_unit
    head = _component_of(faces, lips, len(face))
    pairs = _lip_pairs(face, faces, lips, head)
    tall = np.ptp(face[lips, 1]) > TALL
    seen = np.unique(pairs) if tall and len(pairs) else lips
    x, y, z = (face - _front(face[seen])).T
    across, up, depth = np.abs(x), y, -z

    hidden = np.zeros(len(face), bool)
    near = np.flatnonzero((across < VIEW[0]) & (np.abs(up) < VIEW[1]) & (depth < CAVITY[2]))
    hidden[near] = hidden_from_front(face, faces, near)
    in_mouth = np.hypot(x / MOUTH[0], (up - MOUTH[2]) / MOUTH[1]) < 1
    view = head & (across < VIEW[0]) & (np.abs(up) < VIEW[1]) & (depth < VIEW[2])
    inside = hidden & (across < CAVITY[0]) & (np.abs(up) < CAVITY[1]) & (depth < CAVITY[2])
    upper_face = head & (up > UPPER_FACE[1]) & (across < UPPER_FACE[0]) & (depth < UPPER_FACE[2])
    regions = {
        "lips": lips,
        "mouth": np.union1d(lips, np.flatnonzero(head & ~hidden & in_mouth & (depth < UPPER_FACE[2]))),
        "upper_face": np.flatnonzero(upper_face),
        "mouth_view": np.flatnonzero(view | inside),
    }
    if tall and len(pairs):
        regions["mouth_centre"] = seen
    return regions, pairs


def face_colours(
    template: np.ndarray, faces: np.ndarray, regions: Mapping[str, np.ndarray], *, mm_per_unit: float
) -> np.ndarray:
    """(V, 3) albedo for a dataset without colours: skin, redder lips, and a dark mouth cavity.

    If the region `lips` contains more than lips, they are found around the line between them (`mouth_centre`).
    """
    face = np.asarray(template, np.float64) * mm_per_unit
    view, lips = regions["mouth_view"], regions["lips"]
    colours = np.tile(np.array(SKIN, np.float32), (len(face), 1))
    across, up, _ = np.abs(face[view] - _front(face[regions.get("mouth_centre", lips)])).T
    box = (across < CAVITY[0]) & (up < CAVITY[1])
    colours[view[box & hidden_from_front(face, faces, view)]] = CAVITY_COLOUR
    colours[lips if "mouth_centre" not in regions else _lips_around(face, view, face[regions["mouth_centre"]])] = LIPS
    return colours


def _lips_around(face: np.ndarray, view: np.ndarray, line: np.ndarray) -> np.ndarray:
    """The vertices of `view` on the lips, if the lips meet along the points `line` (n, 3): a lens around that line,
    which may be curved, and not deeper than the lips reach."""
    order = np.argsort(line[:, 0])
    x, y, z = face[view].T
    half, upper, lower = LIP_SIZE
    across = x - (line[:, 0].min() + line[:, 0].max()) / 2
    curve = np.polynomial.Polynomial.fit(line[order, 0], line[order, 1], 2)
    above = y - curve(x)
    height = np.where(above > 0, upper, lower) * np.sqrt(np.clip(1 - (across / half) ** 2, 0, 1))
    return view[(np.abs(above) < height) & (np.abs(across) < half) & (z > line[:, 2].min() - half)]


def hidden_from_front(face: np.ndarray, faces: np.ndarray, ids: np.ndarray, margin: float = HIDDEN) -> np.ndarray:
    """(n,) bool: which of the vertices `ids` lie more than `margin` behind a triangle, seen along z."""
    corners = face[faces]
    low, high = corners[:, :, 0].min(axis=1), corners[:, :, 0].max(axis=1)
    hidden = np.zeros(len(ids), bool)
    order = np.argsort(face[ids, 0])
    for chunk in np.array_split(order, max(1, len(ids) // 64)):  # one set of triangles for each chunk along x
        x, y, z = face[ids[chunk], :, None].transpose(1, 0, 2)
        if not len(x):
            continue
        a, b, c = corners[(high >= x.min()) & (low <= x.max())].transpose(1, 2, 0)
        (ux, uy, uz), (vx, vy, vz), px, py = b - a, c - a, x - a[0], y - a[1]
        area = ux * vy - uy * vx
        with np.errstate(divide="ignore", invalid="ignore"):  # triangles seen edge-on cover nothing
            s, t = (px * vy - py * vx) / area, (ux * py - uy * px) / area
            hidden[chunk] = ((s >= 0) & (t >= 0) & (s + t <= 1) & (a[2] + s * uz + t * vz > z + margin)).any(axis=1)
    return hidden


def read_ids(path: str | Path) -> np.ndarray:
    """Read vertex numbers (n,) int64; order and duplicates are kept.

    `.txt` (separated by spaces, commas or newlines; CodeTalker's region files of BIWI), `.npy`, `.json` (a list), or
    one of the masks in a pickle, `FLAME_masks.pkl:lips`. Suffixes may be in capitals. A boolean mask gives the numbers
    of its true entries.

    Raises:
        BadInput: no such file, or anything but whole numbers from 0 to 2³¹ - 1 in one flat list or an array.
    """
    named = re.fullmatch(r"(.+?\.pkl):(.+)", str(path), re.IGNORECASE | re.DOTALL)
    where, key = (Path(named[1]), named[2]) if named else (Path(path), "")
    if not where.is_file():
        raise missing(where, "check the path")
    if where.suffix.lower() == ".pkl":
        found = load_pickle(where)
        if not isinstance(found, Mapping):
            raise _not_ids(where, f"a {type(found).__name__}", "Give a pickle of masks by name.")
        if key not in found:
            names = ", ".join(sorted(str(name)[:40] for name in found if isinstance(name, str))[:20])
            raise BadInput(where, expected=f"one of the masks {names}", found=repr(key), fix=f"Write {where}:NAME.")
        found = found[key]
    elif where.suffix.lower() == ".npy":
        found = load_array(where)
    elif where.suffix.lower() == ".json":
        found = read_json(where, made_by="a list of vertex numbers")
    else:
        try:
            found = [int(word) for word in where.read_text().replace(",", " ").split()]
        except ValueError as error:
            fix = "Write whole numbers, separated by spaces or commas."
            raise _not_ids(where, str(error)[:100], fix) from None
    return _vertex_numbers(where, found)


def _vertex_numbers(where: Path, found: Any) -> np.ndarray:
    """Vertex numbers (n,) int64 of an array or a list.

    A list is converted only if it is flat and has numbers of one kind: nested lists and text could need unlimited
    memory, and numbers of more than 64 bits would become objects.
    """
    if isinstance(found, list | tuple):
        booleans = [isinstance(number, bool | np.bool_) for number in found]
        strange = [n for n in found if not isinstance(n, int | float | np.integer | np.floating | np.bool_)]
        if strange or (any(booleans) and not all(booleans)):
            kind = type(strange[0]).__name__ if strange else "bool among numbers"
            raise _not_ids(where, f"a list with a {kind} in it", _FIX)
        strange = [number for number in found if not 0 <= number <= LAST]
        if strange:
            raise _not_ids(where, _shown(strange[0]), _FIX)
    ids = np.asarray(found).reshape(-1)
    if ids.dtype == bool:
        ids = np.flatnonzero(ids)
    if not ids.size or ids.dtype.kind not in "iuf":
        raise _not_ids(where, f"{ids.size} values of type {ids.dtype}", _FIX)
    right = (ids >= 0) & (ids <= LAST) & (ids == np.floor(ids))
    if not right.all():
        raise _not_ids(where, _shown(ids[~right][0]), _FIX)
    return ids.astype(np.int64)


def _shown(number: Any) -> str:
    """A number from an untrusted file, for a message; it may have a million digits."""
    bits = number.bit_length() if isinstance(number, int) else 0
    return f"the number {number}" if bits <= 64 else f"the number of {bits} bits"


def _front(points: np.ndarray) -> np.ndarray:
    """Centre of the points' bounding box in x and y, with the largest z."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[2]])


def _component_of(faces: np.ndarray, lips: np.ndarray, count: int) -> np.ndarray:
    """(V,) bool: the connected component with most of the lip vertices, without teeth, tongue and eyes."""
    labels = _components(faces, count)
    return labels == np.bincount(labels[lips]).argmax()


def _components(faces: np.ndarray, count: int) -> np.ndarray:
    edges = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _lip_pairs(face: np.ndarray, faces: np.ndarray, lips: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Pairs every `COLUMN` mm along the mouth: the lowest vertex of the upper lip, the highest of the lower lip.

    Around the middle of the mouth the visible surface consists of an upper and a lower part, separated by the gap
    between the lips. How far from the middle this holds depends on the extent of `lips`: the widest band in which it
    does is used.
    """
    low, high = face[lips].min(axis=0), face[lips].max(axis=0)
    in_box = head & ((face >= low - 0.5) & (face <= high + 0.5)).all(axis=1)
    ids = np.flatnonzero(in_box)
    visible = np.zeros(len(face), bool)
    visible[ids[~hidden_from_front(face, faces, ids)]] = True
    middle, half = (low[0] + high[0]) / 2, (high[0] - low[0]) / 2
    for share in (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2):
        band = visible & (np.abs(face[:, 0] - middle) < share * half)
        parts = _upper_and_lower(face, faces, band)
        if parts is not None:
            break
    else:
        return np.zeros((0, 2), np.int64)
    pairs = []
    steps = int(min(share * half - 1, 20) // COLUMN)
    for column in middle + COLUMN * np.arange(-steps, steps + 1):
        upper, lower = (_in_column(face, part, column) for part in parts)
        if len(upper) and len(lower):
            pairs.append((upper[face[upper, 1].argmin()], lower[face[lower, 1].argmax()]))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _upper_and_lower(face: np.ndarray, faces: np.ndarray, band: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The two largest components of the band, upper first; None unless each spans more than half of its width."""
    inside = faces[band[faces].all(axis=1)]
    labels = _components(inside, len(face))
    members = np.flatnonzero(band)
    names, counts = np.unique(labels[members], return_counts=True)
    if len(names) < 2:
        return None
    parts = [members[labels[members] == name] for name in names[np.argsort(counts)[-2:]]]
    upper, lower = sorted(parts, key=lambda part: -float(face[part, 1].mean()))
    reach = np.ptp(face[members, 0]) / 2
    return (upper, lower) if min(np.ptp(face[upper, 0]), np.ptp(face[lower, 0])) > reach else None


def _in_column(face: np.ndarray, part: np.ndarray, column: float) -> np.ndarray:
    """The vertices of `part` close to x = `column`, at most half the spacing of the columns away."""
    away = np.abs(face[part, 0] - column)
    return part[away < np.clip(1.5 * away.min(initial=np.inf), 1.5, COLUMN / 2)]


def _refuse_strange_lips(template: np.ndarray, lips: np.ndarray, mm_per_unit: float) -> None:
    if not len(lips) or lips.min() < 0 or lips.max() >= len(template):
        found = f"{lips.min()} … {lips.max()}" if len(lips) else "none"
        raise BadInput(
            "lips",
            expected=f"vertex numbers 0 … {len(template) - 1}",
            found=found,
            fix="Check that the list belongs to this mesh.",
        )
    width = float(np.ptp(template[lips, 0])) * mm_per_unit
    if not WIDTHS[0] <= width <= WIDTHS[1]:
        raise BadInput(
            "lips",
            expected=f"a region {WIDTHS[0]:g} to {WIDTHS[1]:g} mm wide along x",
            found=f"{width:.3g} mm",
            fix="Check mm_per_unit, the axes of the mesh (x to the speaker's left, y up, z forward) and the list.",
        )


def _not_ids(path: Path, found: str, fix: str) -> BadInput:
    return BadInput(path, expected="a list of vertex numbers", found=found, fix=fix)
