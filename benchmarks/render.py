"""Milliseconds per frame of the renderer.

python -m benchmarks.render [--frames 100]

Renders the mouth mesh with its whole cavity, 88 × 88 grey, antialiased, as the lip-reading loss does (targets: ≤ 1 ms
forward, ≤ 2.5 ms with backward); also the whole head at 160 × 160 in colour, and at 384 × 384 with 2 × 2 samples per
pixel. Best of several runs: wall time, and in brackets the CPU time of all threads, which a busy machine inflates less.
"""

import argparse
import time
from collections.abc import Callable

import numba
import torch
from torch import Tensor

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.render.camera import Camera
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.render.render import render


def main(frames: int, repeats: int) -> None:
    torch.set_num_threads(1)  # the rendering kernels have their own threads
    face = load_face()
    draw = torch.Generator().manual_seed(0)
    jaw, pucker = torch.rand(2, frames, 1, 1, generator=draw) * torch.tensor([0.35, 0.6]).reshape(2, 1, 1, 1)
    moving = (
        torch.from_numpy(face.neutral)
        + jaw * torch.from_numpy(face.unit["jawOpen"])
        + pucker * torch.from_numpy(face.unit["mouthPucker"])
    )
    colours = torch.from_numpy(face.topology.colours)
    view = mouth_view(face.topology, face.neutral, mm_per_unit=1000)
    head = Camera(target=(0.0, -0.02, 0.05), extent=0.3, distance=1.0)

    def mouth(vertices: Tensor) -> Tensor:
        return render_mouth(view, vertices)

    def small(vertices: Tensor) -> Tensor:
        return render(vertices, face.faces, colours, head, 160, 160)

    def large(vertices: Tensor) -> Tensor:
        return render(vertices, face.faces, colours, head, 384, 384, supersample=2)

    few = max(1, frames // 20)
    for threads in (1, 2):
        numba.config.NUMBA_NUM_THREADS = threads  # type: ignore[attr-defined]
        for name, picture, vertices in (
            (f"mouth 88 × 88, {len(view.faces)} faces", mouth, moving[:, view.vertex_ids]),
            (f"head 160 × 160, {len(face.faces)} faces", small, moving),
            ("head 384 × 384, 2 × 2 samples", large, moving[:few]),
        ):
            forward = best(lambda p=picture, v=vertices: forward_only(p, v), repeats)  # type: ignore[misc]
            both = best(lambda p=picture, v=vertices: forward_backward(p, v), repeats)  # type: ignore[misc]
            (a, b), (c, d) = ([1000 * seconds / len(vertices) for seconds in pair] for pair in (forward, both))
            print(
                f"{threads} thread{'s' if threads > 1 else ' '}  {name:30s} batch {len(vertices):3d}:"
                f"  forward {a:6.2f} ({b:6.2f})  forward + backward {c:6.2f} ({d:6.2f}) ms per frame"
            )


def forward_only(picture: Callable[[Tensor], Tensor], vertices: Tensor) -> None:
    with torch.no_grad():
        picture(vertices)


def forward_backward(picture: Callable[[Tensor], Tensor], vertices: Tensor) -> None:
    picture(vertices.clone().requires_grad_()).square().mean().backward()


def best(run: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Seconds of wall time and of CPU time, each the minimum of `repeats` runs after a warm-up run."""
    run()
    wall, cpu = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return min(wall), min(cpu)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100, help="batch size; the student renders 100 to 200 at a time")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.frames, arguments.repeats)
