"""The packaged characters: heads with bust, hair and texture that one can look at, made by scripts/make_characters.py.

Their first vertices are those of the embedded head in its order, so that every motion of that head moves them exactly.
"""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.look import Look
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.mesh.transfer import Correspondence
from learn2talk_core.run.paths import CHARACTERS

PARTS = ("skin", "left_eye", "right_eye", "teeth", "tongue", "bust", "hair")
DEFAULT = "ada"
SHOULDERS, CHIN = -0.17, -0.095  # metres above the eyes; between them the neck bends


@dataclass(frozen=True)
class Character:
    """A face to animate.

    Attributes:
        template: (W, 3) float32, metres, at rest.
        topology: its triangles, regions (those of the embedded head) and colours.
        look: parts and texture.
        correspondence: from the embedded head to this one; bust and hair do not move with the face.
        follow: (W,) share of the head's motion that each vertex takes: the neck bends, the shoulders stay.
    """

    template: np.ndarray
    topology: Topology
    look: Look
    correspondence: Correspondence
    follow: np.ndarray


def character_names() -> list[str]:
    """The packaged characters."""
    return sorted(path.stem for path in CHARACTERS.glob("*.npz"))


def character_with(faces: np.ndarray) -> Character | None:
    """The packaged character that has these triangles, if there is one."""
    known = map(load_character, character_names())
    return next((one for one in known if np.array_equal(one.topology.faces, faces)), None)


@cache
def load_character(name: str) -> Character:
    """Read one of `character_names`."""
    with np.load(CHARACTERS / f"{name}.npz", allow_pickle=False) as stored:
        data = dict(stored)
    face = load_face()
    encoded = data["texture"].tobytes()
    own, count = len(face.base), len(data["vertices"])
    corners = np.zeros((count, 3), np.int64)
    corners[:own] = np.arange(own)[:, None]
    weights = np.zeros((count, 3), np.float32)
    weights[:own, 0] = 1
    look = Look(
        names=PARTS,
        part=data["part"],
        uv=data["uv"].astype(np.float32) / 65535,
        texture=np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")),
        encoded=encoded,
    )
    height = np.clip((data["vertices"][:, 1] - SHOULDERS) / (CHIN - SHOULDERS), 0, 1)
    follow = height * height * (3 - 2 * height)
    follow[data["faces"][data["part"] == PARTS.index("hair")]] = 1
    colours = data["colours"].astype(np.float32) / 255
    return Character(
        template=data["vertices"],
        topology=Topology(data["faces"], face.regions, face.lip_pairs, colours),
        look=look,
        correspondence=Correspondence(corners, weights, np.eye(3, dtype=np.float32), own),
        follow=follow.astype(np.float32),
    )
