"""Speed of each format's writer as a multiple of real time, for speech at 30 fps. Target: 10.

    python -m benchmarks.export [--seconds 10] [--formats mp4,obj]

Uses the embedded head with 64 directions of motion; for FLAME a head of its size, 5023 vertices, whose motion no
parameters fit exactly. Best of three runs from the states to the files, without reading FLAME's file. Three times are
given: wall time; CPU time, which a busy machine inflates less (mp4 uses two threads, the others one); and wall time
until everything is synced to the disk, as `learn2talk animate` does before the folder appears. With one file per frame
the last one is limited by the disk. What needs a user's avatar is not measured, nor is fbx without
Blender's Python module (pip install bpy).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from learn2talk_core.animation.animation import Animation
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.export.flame import EXPRESSIONS, Flame, write_flame
from learn2talk_core.export.formats import FORMATS, ONTO
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.files import whole_folder

FPS, DIRECTIONS, TARGET = 30, 64, 10


def embedded_head(seconds: float) -> Animation:
    """The embedded head, with random plausible mixes of its face units as motion."""
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
        root=np.eye(count)[1],
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
    return np.sum([noise[i : i + frames] for i in range(9)], axis=0) / 3


def animation(
    states: np.ndarray, basis: np.ndarray, template: np.ndarray, topology: Topology, seconds: float
) -> Animation:
    wave = np.zeros(round(16000 * seconds), np.float32)
    return Animation(
        states.astype(np.float32),
        basis.astype(np.float32),
        np.zeros_like(template, np.float32),
        template.astype(np.float32),
        fps=FPS,
        mm_per_unit=1000,
        topology=topology,
        wave=wave,
    )


def write_head(name: str, head: Animation, folder: Path) -> None:
    FORMATS[name](folder / "face", head)


def measure(name: str, write: Callable[[Path], object], seconds: float) -> None:
    times, size = [], 0.0  # wall time, CPU time, wall time with sync
    for _ in range(3):
        with tempfile.TemporaryDirectory() as place:
            start, cpu_start = time.perf_counter(), time.process_time()
            with whole_folder(Path(place) / "face") as folder:
                write(folder)
                times.append([time.perf_counter() - start, time.process_time() - cpu_start])
            times[-1].append(time.perf_counter() - start)
            size = sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file()) / 1e6
    writer, cpu, synced = (seconds / min(kind) for kind in zip(*times, strict=True))
    slow = "" if writer >= TARGET else "  SLOW"
    print(f"  {name:6s} {writer:8.0f} {cpu:8.0f} {synced:8.0f} {size:9.1f}{slow}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10)
    unwritable = {ONTO} if find_spec("bpy") else {ONTO, "fbx"}
    formats = ",".join(name for name in FORMATS if name not in unwritable)
    parser.add_argument("--formats", default=formats, help="default: %(default)s")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    head, (bust, flame) = embedded_head(seconds), flame_head(seconds)
    print(f"{seconds:g} s of speech, {len(head.states)} frames, {len(head.template)} vertices")
    print(f"times real time, target {TARGET}:")
    print("  format   writer   by CPU   synced        MB")
    with threadpool_limits(1):
        for name in arguments.formats.split(","):
            if name == "flame":
                measure(name, lambda folder: write_flame(folder / "face", bust, flame), seconds)
            else:
                measure(name, partial(write_head, name, head), seconds)


if __name__ == "__main__":
    main()
