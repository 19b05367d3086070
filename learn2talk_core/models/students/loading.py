"""Load students from disk: the network class of a folder, and the network with its weights."""

from pathlib import Path

from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.models.students.faceformer.network import FaceFormer
from learn2talk_core.models.students.meshtalk.network import MeshTalk
from learn2talk_core.models.students.selftalk.network import SelfTalk
from learn2talk_core.models.students.student import Student, load_as
from learn2talk_core.models.students.voca.network import VOCA
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import load_config

NETWORKS: tuple[type[Student], ...] = (FaceFormer, SelfTalk, CodeTalker, VOCA, MeshTalk)


def network_class(name: str, where: object) -> type[Student]:
    """The class of the network `name`; the error for an unknown name lists the known ones."""
    for network in NETWORKS:
        if network.network == name:
            return network
    known = ", ".join(network.network for network in NETWORKS)
    raise BadInput(where, expected=f"one of the networks {known}", found=repr(name), fix="Choose one of them.")


def load_student(folder: str | Path, *, made_by: str, recipe: str | None = None) -> tuple[Student, tuple[str, ...]]:
    """The frozen student in `folder` and its training speakers, in the order of the style one-hot.

    Args:
        folder: as `save_student` writes it.
        made_by: the command that makes it, for the error message if it does not exist.
        recipe: recipe of the corpus to animate; a student trained on another recipe is refused.
    """

    network = network_class(load_config(folder, made_by=made_by).get("network", FaceFormer.network), folder)
    return load_as(network, folder, made_by=made_by, recipe=recipe)
