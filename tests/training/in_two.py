"""Trainings that tests run both in one process and in two, to compare: `python -m tests.training.in_two FOLDER`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.run import processes
from learn2talk_core.run.collectives import demand_same, gathered, mean_gradients, mean_tensors
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import train, update
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student_terms import embed_speech, sync_term
from learn2talk_core.training.students.faceformer import train_network
from learn2talk_core.training.syncnet3d import read_windows, train_syncnet3d
from tests.training import test_student, test_syncnet3d

Result = tuple[dict[str, torch.Tensor], list[dict[str, float]]]
CODE = "import runpy; runpy.run_module('tests.training.in_two', run_name='__main__', alter_sys=True)"


def student(folder: Path, batch: int, *, sync: float = 0.0, steps: int = 8) -> Result:
    """A FaceFormer without dropout, and with Eq. 7 where `sync` is not 0, on the toy corpus in `folder`."""
    corpus = open_corpus(folder / "corpus")
    quiet = {f"{part}_dropout": 0.0 for part in ("hidden", "attention", "activation", "feat_proj")}
    speech = test_student.encoder(**quiet)
    clips = corpus.split("train")
    recipe = dataclasses.replace(test_student.RECIPE, batch=batch, dropout=0.0, vertex_stride=2, steps=steps)
    network = test_student.syncnet(corpus)
    extra = [("sync", sync, sync_term(corpus, network, embed_speech(corpus, clips, network)))] if sync else []
    with Scratch(folder / f"student-{batch}-{sync}-{processes.count()}") as scratch:
        model, history = train_network(
            corpus, speech, clips, recipe, seed=0, scratch=scratch, description="toy", extra=extra
        )
    return model.state_dict(), history


def syncnet3d(folder: Path, clips: int) -> Result:
    """A SyncNet3D of Eq. 5 without augmentation."""
    corpus = open_corpus(folder / "corpus")
    recipe = dataclasses.replace(
        test_syncnet3d.RECIPE, steps=16, clips=clips, style=0.0, noise=0.0, pitch=0.0, masked_bands=0, tempo=0.1
    )
    with Scratch(folder / f"syncnet3d-{clips}-{processes.count()}") as scratch:
        model, history = train_syncnet3d(
            corpus, read_windows(corpus, "train"), test_syncnet3d.NETWORK, recipe, "loss", seed=0, scratch=scratch
        )
    return model.state_dict(), history


def normalised(folder: Path, batch: int) -> Result:
    """A network with batch normalisation and dropout; every process draws its own batch."""
    seed_torch(processes.rank())  # different weights in each process: the training must make them equal
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)

    def step(index: int) -> dict[str, float]:
        x = torch.from_numpy(generator(0, "batch", index, *processes.mark()).normal(size=(batch, 3))).float()
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        update(loss, optimizer)
        return {"loss": loss.item(), "rank": float(processes.rank())}

    with Scratch(folder / f"normalised-{batch}") as scratch:
        history = train(step, {"model": model, "optimizer": optimizer}, steps=5, seed=0, scratch=scratch,
                        description="toy")  # fmt: skip
    return model.state_dict(), history


def gradients() -> list[torch.Tensor | None]:
    """Averaged gradients of three parameters: all processes have a gradient, only the first has one, none has one."""
    parameters = [nn.Parameter(torch.zeros(2, 3)) for _ in range(3)]
    parameters[0].grad = torch.full((2, 3), 1.0 + processes.rank())
    if processes.rank() == 0:
        parameters[1].grad = torch.arange(6.0).view(2, 3)
    mean_gradients(parameters)
    return [p.grad for p in parameters]


def compared_rows(parts: slice) -> torch.Tensor:
    """The gradient of a loss that compares all rows with each other, if each process computes some of the rows."""
    torch.manual_seed(0)
    weight, rows = nn.Parameter(torch.randn(4, 5)), torch.randn(7, 4)
    everything = gathered(rows[parts] @ weight, parts.start or 0, len(rows))
    (everything @ everything.T).softmax(1).square().sum().backward()
    mean_gradients([weight])
    assert weight.grad is not None
    return weight.grad


def refused() -> str:
    try:
        demand_same("key", processes.rank())
    except BadInput as error:
        return str(error)
    return ""


def main(folder: Path) -> dict[str, Any]:
    constant = torch.full((3,), 0.1)
    mean_tensors([constant])
    return {
        "rank": processes.rank(),
        "gradients": gradients(),
        "compared_rows": compared_rows(processes.own_part(7)),
        "constant": constant,
        "refused": refused(),
        "in_turn": processes.in_turn(lambda: (folder / "first").exists() or (folder / "first").touch()),
        "normalised": normalised(folder, 4),
        "student": student(folder, 1),
        "student_sync": student(folder, 1, sync=0.3),
        "syncnet3d": syncnet3d(folder, 3),
    }


if __name__ == "__main__":
    with processes.joined():
        torch.save(main(Path(sys.argv[1])), f"{sys.argv[1]}/{processes.rank()}.pt")
