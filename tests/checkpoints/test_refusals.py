"""A checkpoint that does not belong to the corpus is refused by name, whatever its network."""

import dataclasses
import re
from pathlib import Path

import pytest

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.networks import checkpoints_of, network_names
from tests.toy import toy_corpus
from tests.toy_networks import toy_network

NAMES = {"codetalker": "CodeTalker", "faceformer": "FaceFormer", "meshtalk": "MeshTalk", "selftalk": "SelfTalk",
         "voca": "VOCA"}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return toy_corpus(tmp_path_factory.mktemp("refused") / "corpus")


def half_of(corpus: Corpus) -> Corpus:
    """The same corpus with a mesh of half the vertices, in name only."""
    topology = dataclasses.replace(corpus.topology, colours=corpus.topology.colours[:32])
    return dataclasses.replace(corpus, topology=topology)


@pytest.mark.parametrize("network", network_names())
def test_a_model_folder_of_another_corpus(network: str, corpus: Corpus, tmp_path: Path) -> None:
    def written(name: str, fps: float = 30, speakers: tuple[str, ...] = ("A", "B"), recipe: str = "toy") -> Path:
        student = toy_network(network, dataclasses.replace(corpus, fps=fps))
        save_student(tmp_path / name, student, fps=fps, speakers=speakers, recipe=recipe)
        return tmp_path / name

    take = checkpoints_of(network).import_student
    own = written("own")
    model, speakers = take(own, corpus)
    assert model.network == network
    assert speakers == ("A", "B")
    cases = [
        (own, half_of(corpus), "a face of 32 vertices, found one of 64"),
        (written("dataset", recipe="biwi-metric"), corpus, "a model for toy, found for biwi-metric"),
        (written("speakers", speakers=("A", "X")), corpus, "the training speakers of the corpus, A, B, found A, X"),
        (written("rate", fps=25), corpus, "weights for 30 frames per second, found for 25"),
    ]
    for folder, wanted, message in cases:
        with pytest.raises(BadInput, match=f"{re.escape(str(folder))}: expected {re.escape(message)}"):
            take(folder, wanted)


@pytest.mark.parametrize("network", network_names())
def test_another_number_of_speakers(network: str, corpus: Corpus, tmp_path: Path) -> None:
    three = dataclasses.replace(corpus, train_speakers=("A", "B", "C"))
    save_student(tmp_path / "m", toy_network(network, three), fps=30, speakers=("A", "B", "C"), recipe="toy")
    with pytest.raises(BadInput, match="expected 2 styles, one per training speaker of the corpus, found 3"):
        checkpoints_of(network).import_student(tmp_path / "m", corpus)


@pytest.mark.parametrize("network", network_names())
def test_a_folder_with_another_network(network: str, corpus: Corpus, tmp_path: Path) -> None:
    other = "voca" if network != "voca" else "meshtalk"
    save_student(tmp_path / "m", toy_network(other, corpus), fps=30, speakers=("A", "B"), recipe="toy")
    with pytest.raises(BadInput, match=rf"expected a {NAMES[network]}, found a {other}\."):
        checkpoints_of(network).import_student(tmp_path / "m", corpus)
