"""Lips are read from files as from the network itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk.cli import main
from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.evaluation.lip_reading import features_of_word, load_interpreter, occurrences, read_lip_text
from learn2talk_core.models.students.selftalk.network import SelfTalk, text_of
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.statistics.recognition import ctc_greedy
from tests.toy_student import encoder, toy_student

UNITS = ("<pad>", "|", "a", "b", "c", "<unk>")


def reader(folder: Path) -> tuple[Path, Corpus]:
    """A small SelfTalk that says something else with every motion, and its corpus."""
    _, place = toy_student(folder)
    corpus = open_corpus(place)
    seed_torch(0)
    lips = torch.from_numpy(corpus.topology.regions["lips"])
    model = SelfTalk(64, 2, lip_count=len(lips), units=UNITS, audio_encoder=encoder(), width=8, lip_width=16,
                     lip_heads=2, lip_layers=1, lip_hidden=16)  # fmt: skip
    model.lips.copy_(lips)
    torch.nn.init.normal_(model.vertice_map_r.weight, std=1e-3)
    torch.nn.init.normal_(model.lip_map.weight, std=300.0)
    torch.nn.init.normal_(model.lm_head.weight, std=2.0)
    save_student(folder / "selftalk", model, fps=corpus.fps, speakers=corpus.train_speakers, recipe="toy")
    return folder / "selftalk", corpus


def test_a_file_is_read_like_the_motion_in_it(tmp_path: Path) -> None:
    folder, corpus = reader(tmp_path)
    interpreter = load_interpreter(folder, corpus)
    clip = corpus.split("test_seen")[0]
    vertices, rest = corpus.vertices(clip), corpus.template(clip.speaker)
    _, logits = interpreter.interpret(vertices - rest, corpus.fps)
    expected = text_of(ctc_greedy(logits.numpy()), UNITS)
    assert set(expected) - {" "} <= set("abc")
    assert len(expected) > 2
    np.savez(tmp_path / "metres.npz", vertices=vertices, fps=corpus.fps, template=clip.speaker)
    read = read_lip_text(tmp_path / "metres.npz", interpreter, corpus)
    assert read.text == expected
    assert read.seconds == pytest.approx(clip.frames / corpus.fps)
    assert read.notes == ()
    mouth = corpus.topology.regions["mouth"]
    np.save(tmp_path / "mouth_mm.npy", 1000 * vertices[:, mouth])
    given = {"fps": corpus.fps, "mm_per_unit": 1.0, "template": clip.speaker}
    assert read_lip_text(tmp_path / "mouth_mm.npy", interpreter, corpus, **given).text == expected


def test_the_command_prints_what_each_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, corpus = reader(tmp_path)
    interpreter, files = load_interpreter(folder, corpus), []
    for number, clip in enumerate(corpus.split("test_seen", "test_unseen")[:2]):
        files.append(str(tmp_path / f"{number}.npz"))
        np.savez(files[-1], vertices=corpus.vertices(clip), fps=corpus.fps, template=clip.speaker)
    texts = [read_lip_text(file, interpreter, corpus).text for file in files]
    given = ["--model", str(folder), "--corpus", str(corpus.folder)]
    assert main(["read", files[0], *given]) == 0
    assert capsys.readouterr().out == f"{texts[0]}\n"
    assert main(["read", *files, *given]) == 0
    assert capsys.readouterr().out == "".join(f"{file}: {text}\n" for file, text in zip(files, texts, strict=True))


def test_another_network_cannot_read(tmp_path: Path) -> None:
    faceformer, place = toy_student(tmp_path)
    with pytest.raises(BadInput, match="expected a SelfTalk, which can read lips, found a faceformer"):
        load_interpreter(faceformer, open_corpus(place))


def test_without_its_lips_an_imported_interpreter_cannot_read(tmp_path: Path) -> None:
    folder, corpus = reader(tmp_path)
    interpreter = load_interpreter(folder, corpus)
    interpreter.lips.fill_(-1)
    clip = corpus.split("test_seen")[0]
    np.savez(tmp_path / "a.npz", vertices=corpus.vertices(clip), fps=corpus.fps, template=clip.speaker)
    with pytest.raises(BadInput, match=r"expected the lip vertices .* Import it again together with FLAME_masks"):
        read_lip_text(tmp_path / "a.npz", interpreter, corpus)


def test_where_a_word_is_spoken(tmp_path: Path) -> None:
    spoken = [Phoneme(i / 10, (i + 1) / 10, name) for i, name in enumerate(["P", "AA", "P", "AA", "T"])]
    assert occurrences(spoken, ["P", "AA"]) == [(0.0, 0.2), (pytest.approx(0.2), 0.4)]
    assert occurrences(spoken, ["AA", "AA"]) == []
    folder, corpus = reader(tmp_path)
    interpreter = load_interpreter(folder, corpus)
    found = features_of_word(interpreter, corpus, corpus.split("train"), ["AA"])  # 0.5 to 1 s in every toy clip
    assert [len(part.features) for part in found] == [25] * 4
    truth = features_of_word(interpreter, corpus, corpus.split("train"), ["AA"], student=False)
    assert not np.allclose(found[0].features, truth[0].features)


def test_text_of_units() -> None:
    assert text_of([2, 1, 1, 3, 5, 4], UNITS) == "a bc"
    assert text_of([1, 2], ("<pad>", "P", "AA")) == "P AA"
