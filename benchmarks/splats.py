"""Milliseconds per picture of the splat renderer.

python -m benchmarks.splats [--size 256]

Draws the embedded head as splats on its surface, as an avatar has them: each lies in a triangle and is about as large
as its share of it. Targets on two idle cores at 256 × 256: 10,000 splats ≤ 15 ms forward and ≤ 60 ms with backward;
60,000 ≤ 60 ms forward. Best of several runs: wall time, and in brackets the CPU time of all threads, which a busy
machine inflates less.
"""

import argparse

import numba
import numpy as np
import torch

from benchmarks.render import best
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.pinhole import pinhole
from learn2talk_core.render.splats import Splats, draw_splats

WHITE = (1.0, 1.0, 1.0)


def head_of_splats(count: int) -> Splats:
    """`count` splats at random places on the embedded head, float32."""
    face, rng = load_face(), np.random.default_rng(0)
    corners = face.neutral[face.faces].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normal, axis=1) / 2
    chosen = rng.choice(len(area), count, p=area / area.sum())
    place = np.einsum("nk,nkx->nx", rng.dirichlet([1, 1, 1], count), corners[chosen])
    size = np.full((count, 3), 0.5 * np.sqrt(area.sum() / count))
    size[:, 2] *= 0.3
    rotation, opacity, colour = rng.normal(size=(count, 4)), rng.uniform(0.3, 0.95, count), rng.random((count, 3))
    return Splats(*(torch.from_numpy(part.astype(np.float32)) for part in (place, size, rotation, opacity, colour)))


def main(size: int, repeats: int) -> None:
    torch.set_num_threads(1)  # the rendering kernels have their own threads
    view = pinhole(Camera(target=(0.0, -0.02, 0.0), extent=0.3, distance=1.0), size, size)
    for threads in (1, 2):
        numba.config.NUMBA_NUM_THREADS = threads  # type: ignore[attr-defined]
        for count in (10_000, 60_000):
            splats = head_of_splats(count)
            parts = [part.clone().requires_grad_() for part in splats]

            def forward(splats: Splats = splats) -> None:
                draw_splats(splats, view, WHITE)

            def both(parts: list[torch.Tensor] = parts) -> None:
                draw_splats(Splats(*parts), view, WHITE).image.square().mean().backward()

            (a, b), (c, d) = ([1000 * seconds for seconds in best(run, repeats)] for run in (forward, both))
            print(
                f"{threads} thread{'s' if threads > 1 else ' '}  {count:6d} splats, {size} × {size}:"
                f"  forward {a:6.2f} ({b:6.2f})  forward + backward {c:6.2f} ({d:6.2f}) ms"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="height and width of the picture in pixels")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.size, arguments.repeats)
