"""A small untrained student that moves, in a folder, and the corpus it belongs to."""

from pathlib import Path

import torch

from learn2talk_core.animation.animator import Animator
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.models.students.faceformer.network import new_faceformer
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.seed import seed_torch
from tests.toy import toy_corpus
from tests.training.test_student import encoder


def toy_student(folder: Path) -> tuple[Path, Path]:
    """Write both; returns the folders of student and corpus."""
    corpus = toy_corpus(folder / "corpus")
    speech = encoder()
    seed_torch(0)
    student = new_faceformer(speech, 64, 2, corpus.fps, width=8, dropout=0.0)
    torch.nn.init.normal_(student.vertice_map_r.weight, std=1e-3)
    torch.nn.init.normal_(student.vertice_map_r.bias, std=1e-3)
    save_student(folder / "student", student, fps=corpus.fps, speakers=corpus.train_speakers, recipe="toy")
    return folder / "student", folder / "corpus"


def toy_animator(folder: Path) -> Animator:
    student, corpus = toy_student(folder)
    return load_animator(student, corpus=corpus)
