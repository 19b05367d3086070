"""Time of SyncNet3D: cutting windows, one training step, and the student's frozen loss for one clip.

    python -m benchmarks.syncnet3d [--quick]

Target: a whole training in 1.2 minutes on 2 cores. Uses data/corpus and the sizes in params.yaml.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.losses.sync import sync_loss
from learn2talk_core.run.config import load_params
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.syncnet3d import cut_windows, mouth_displacement, new_model, train_syncnet3d
from stages.syncnet3d import CORPUS, Params


@dataclass(frozen=True)
class Row:
    name: str
    run: Callable[[], object]
    times: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer clips and steps")
    quick = parser.parse_args().quick
    params = load_params(Params, "syncnet3d")
    corpus = open_corpus(CORPUS)
    chosen = corpus.split("train")[: 10 if quick else 40]
    clips = [cut_windows(corpus, clip) for clip in chosen]
    steps = 5 if quick else 20
    recipe = replace(params.training, steps=steps)
    model = new_model(corpus, clips, params.network, "loss", 0).eval()
    motion = mouth_displacement(corpus, chosen[0])[None].requires_grad_()
    target = model.embed_audio(clips[0].mel).detach()[None]

    def train() -> None:
        with TemporaryDirectory() as folder, Scratch(Path(folder) / "scratch") as scratch:
            train_syncnet3d(corpus, clips, params.network, recipe, "metric", seed=0, scratch=scratch)

    def loss_with_gradient() -> None:
        sync_loss(model.embed_mesh(motion)[:, : target.shape[1]], target).backward()

    rows = (
        Row(f"cut the windows of a clip of {chosen[0].frames} frames", lambda: cut_windows(corpus, chosen[0]), 1),
        Row(f"training step, {recipe.clips} × {recipe.windows} windows", train, steps),
        Row("sync loss of that clip with its gradient", loss_with_gradient, 1),
    )
    print(f"{torch.get_num_threads()} threads")
    for row in rows:
        seconds = []
        for _ in range(2 if quick else 5):
            start = time.perf_counter()
            row.run()
            seconds.append((time.perf_counter() - start) / row.times)
        print(f"{row.name:50} {1000 * min(seconds):8.1f} ms")


if __name__ == "__main__":
    main()
