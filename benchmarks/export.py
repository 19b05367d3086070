"""Seconds that each format's writer takes for speech at 30 fps, and how many times real time that is. Target: 10.

    python benchmarks/export.py [--seconds 10]

The embedded head with 64 directions of motion; for FLAME a head of its size, 5023 vertices, whose motion no parameters
fit. Best of three runs on one thread, from the states to synced files, without reading FLAME's file; in brackets by CPU
time, which a busy machine inflates less.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from learn2talk_core.animation import Animation
from learn2talk_core.corpus.embedded.face import load_face
from learn2talk_core.export.flame import EXPRESSIONS, Flame, write_flame
from learn2talk_core.export.formats import FORMATS
from learn2talk_core.mesh.topology import Topology

FPS, DIRECTIONS, TARGET = 30, 64, 10


def embedded_head(seconds: float) -> Animation:
    """The head moved by mixes of its units that a talking face could have."""
    rng = np.random.default_rng(0)
    face = load_face()
    units = np.stack(list(face.unit.values()))
    weights = np.clip(walk(rng, round(seconds * FPS), len(units)) * 0.3, 0, 1)
    mix = np.linalg.qr(rng.normal(size=(DIRECTIONS, len(units))))[0]
    noise = 1e-4 * rng.normal(size=(DIRECTIONS, *face.neutral.shape))
    basis = np.einsum("du,uvx->dvx", mix, units) + noise
    return animation(weights @ mix.T, basis, face.neutral, face.topology, seconds)


def flame_head(seconds: float) -> tuple[Animation, Flame]:
    rng = np.random.default_rng(0)
    count = 5023
    template = rng.uniform(-0.15, 0.15, (count, 3))
    flame = Flame(
        template=template,
        identity=0.002 * rng.normal(size=(count, 3, 300)),
        expression=0.002 * rng.normal(size=(count, 3, EXPRESSIONS)),
        correctives=0.002 * rng.normal(size=(count, 3, 9)),
        joint=np.eye(count)[0],
        weight=rng.uniform(0, 1, count) ** 4,
    )
    topology = Topology(np.zeros((0, 3), np.int32), {}, np.zeros((0, 2), np.int64), np.zeros((count, 3), np.float32))
    opening = np.cross([1.0, 0, 0], template - template[0]) * flame.weight[:, None]
    basis = np.concatenate([opening[None], flame.expression.transpose(2, 0, 1)])
    basis = np.concatenate([basis, 0.002 * rng.normal(size=(DIRECTIONS - len(basis), count, 3))])
    states = walk(rng, round(seconds * FPS), DIRECTIONS)
    states[:, 0] = np.abs(states[:, 0]) * 0.15
    return animation(states, basis, template, topology, seconds), flame


def walk(rng: np.random.Generator, frames: int, count: int) -> np.ndarray:
    """Smooth random curves (T, count) of unit variance."""
    noise = rng.normal(size=(frames + 8, count))
    return sum(noise[i : i + frames] for i in range(9)) / 3


def animation(
    states: np.ndarray, basis: np.ndarray, template: np.ndarray, topology: Topology, seconds: float
) -> Animation:
    wave = np.zeros(round(16000 * seconds), np.float32)
    arrays = (array.astype(np.float32) for array in (states, basis, np.zeros_like(template), template))
    return Animation(*arrays, fps=FPS, mm_per_unit=1000, topology=topology, wave=wave)


def measure(name: str, write: Callable[[Path], None], seconds: float) -> None:
    times = []  # wall, CPU
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            start = time.perf_counter(), time.process_time()
            write(Path(folder))
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
    wall, cpu = (min(kind) for kind in zip(*times, strict=True))
    slow = "" if seconds >= TARGET * wall else "  SLOW"
    print(f"  {name:6s} {seconds / wall:6.0f} times real time ({seconds / cpu:4.0f} by CPU time)  {size:7.1f} MB{slow}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10)
    seconds = parser.parse_args().seconds
    with threadpool_limits(1):
        head = embedded_head(seconds)
        print(f"{seconds:g} s of speech, {len(head.states)} frames, {len(head.template)} vertices")
        for name in ("glb", "usd", "arkit"):
            measure(name, lambda folder, name=name: FORMATS[name](folder / "face", head), seconds)
        head, flame = flame_head(seconds)
        measure("flame", lambda folder: write_flame(folder / "face.npz", head, flame), seconds)


if __name__ == "__main__":
    main()
