"""Milliseconds per frame of the 2D teacher: a training step of generator and sync expert, and one-shot generation.

python -m benchmarks.teacher [--width 0.25] [--threads 2]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from learn2talk_core.models.sync_expert2d import FRAMES, SyncExpert2D
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, one_shot


def main(width: float, threads: int, repeats: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    frames, windows = 20, 64
    generator = Wav2Lip(width, residual=True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    expert = SyncExpert2D(width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    faces = torch.rand(frames, 6, 96, 96).contiguous(memory_format=torch.channels_last)
    lower = torch.rand(windows, 3 * FRAMES, 48, 96).contiguous(memory_format=torch.channels_last)
    mels = torch.randn(windows, 1, 80, 16)

    def train_generator() -> None:
        generator.train()(mels[:frames], faces).mean().backward()

    def train_expert() -> None:
        audio, face = expert(mels, lower)
        (audio * face).sum().backward()

    still, mel, many = np.zeros((96, 96, 3), np.uint8), np.zeros((80, 320), np.float32), 96
    report("generator, forward and backward", train_generator, frames, repeats)
    report("sync expert, forward and backward, per window", train_expert, windows, repeats)
    report("one-shot generation", lambda: one_shot(generator.eval(), still, mel, many, Inputs()), many, repeats)


def report(name: str, run: Callable[[], object], frames: int, repeats: int) -> None:
    """Print the best wall time per frame, and in brackets the CPU time of all threads."""
    run()
    wall, processor = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    print(f"{name}: {1000 * min(wall) / frames:.2f} ms per frame ({1000 * min(processor) / frames:.2f} CPU)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.width, arguments.threads, arguments.repeats)
