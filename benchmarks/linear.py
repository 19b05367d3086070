"""Milliseconds of a linear layer, forward and backward: torch's own and that of models/linear.py, on one thread.

python -m benchmarks.linear [--repeats 20]
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from learn2talk_core.models.linear import linear

SHAPES = {  # rows, in, out
    "speech encoder in training, feed-forward": (12 * 60, 192, 768),
    "wav2vec 2.0 base, 10 s, feed-forward": (300, 768, 3072),
    "states to 4792 vertices, 10 s": (300, 64, 3 * 4792),
    "states to BIWI's 23370 vertices, 10 s": (300, 128, 3 * 23370),
}


def best(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="runs, the best counts (default: %(default)s)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(f"{'ms':44s} forward: torch   ours   with backward: torch   ours")
    for name, (rows, inside, outside) in SHAPES.items():
        leaves = [torch.randn(size).requires_grad_() for size in ((rows, inside), (outside, inside), (outside,))]
        row = []
        for map_ in (F.linear, linear):

            def forward(map_: Callable[..., Tensor] = map_, leaves: list[Tensor] = leaves) -> Tensor:
                return map_(*leaves)

            with torch.no_grad():
                row.append(best(forward, repeats))

            def both(leaves: list[Tensor] = leaves, forward: Callable[[], Tensor] = forward) -> object:
                return torch.autograd.grad(forward().sum(), leaves)

            row.append(best(both, repeats))
        print(f"{name:44s} {row[0]:14.2f} {row[2]:6.2f} {row[1]:22.2f} {row[3]:6.2f}")


if __name__ == "__main__":
    main()
