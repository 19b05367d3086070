"""A tiny corpus whose mouth opens with the loudness of the sound: small enough to train on in a second."""

from pathlib import Path

import numpy as np

from learn2talk_core.corpus.format import Corpus, Recording, open_corpus, write_corpus
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.mesh.topology import Topology

FPS, SIDE = 30.0, 8


def topology() -> Topology:
    """A square sheet of SIDE × SIDE vertices facing +z; the two middle rows are the lips."""
    grid = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    upper, lower = grid[SIDE // 2 - 1], grid[SIDE // 2]
    everything = np.arange(SIDE * SIDE)
    return Topology(
        faces=faces.astype(np.int32),
        regions={
            "lips": np.sort(np.concatenate([upper, lower])),
            "mouth": np.sort(grid[SIDE // 2 - 2 : SIDE // 2 + 2].ravel()),
            "upper_face": grid[:2].ravel(),
            "mouth_view": everything,
        },
        lip_pairs=np.stack([upper[2:-2], lower[2:-2]], 1),
        colours=np.random.default_rng(0).uniform(0.2, 0.8, (SIDE * SIDE, 3)).astype(np.float32),
    )


def sheet(scale: float = 1.0) -> np.ndarray:
    """The template: 8 cm wide, row 0 at the top."""
    x, y = np.meshgrid(np.linspace(-0.04, 0.04, SIDE), np.linspace(0.04, -0.04, SIDE))
    return (scale * np.stack([x, y, 0.01 * np.cos(30 * x)], -1).reshape(-1, 3)).astype(np.float32)


def clip(number: int, speaker: str, split: str, seconds: float = 1.2) -> Recording:
    """Bursts of noise; the lower half of the sheet drops 8 mm with their loudness, and sways a little by itself."""
    rng = np.random.default_rng(number)
    frames = round(seconds * FPS)
    samples = round(frames * 16000 / FPS)
    loudness = np.interp(np.arange(samples), np.linspace(0, samples, 7), rng.uniform(0, 1, 7))
    audio = (0.4 * loudness * rng.normal(size=samples)).clip(-1, 1).astype(np.float32)
    opening = loudness[(np.arange(frames) * 16000 / FPS).astype(int)]
    motion = np.repeat(sheet(1.0 if speaker == "A" else 1.1)[None], frames, 0)
    lower = np.arange(SIDE * SIDE) >= SIDE * SIDE // 2
    motion[:, lower, 1] -= 0.008 * opening[:, None]
    motion[:, :, 2] += 0.001 * rng.normal(size=(frames, 1))
    motion[:, lower, 0] += 0.0005 * np.sin(np.arange(frames) / 5)[:, None]
    return Recording(
        id=f"{speaker}{number}", speaker=speaker, sentence=f"t{number}", text="p a", split=split,
        audio=audio, motion=motion, phonemes=(Phoneme(0.1, 0.5, "P"), Phoneme(0.5, 1.0, "AA")),
    )  # fmt: skip


def toy_corpus(folder: Path, *, clips: int = 4) -> Corpus:
    """Speakers A and B in training, A in the seen test, C for validation and D unseen."""
    recordings = [clip(i, "AB"[i % 2], "train", 1.0 + 0.1 * i) for i in range(clips)]
    recordings += [clip(100, "A", "test_seen"), clip(101, "C", "validation"), clip(102, "D", "test_unseen")]
    templates = {speaker: sheet(1.0 if speaker == "A" else 1.1) for speaker in "ABCD"}
    write_corpus(
        folder, iter(recordings), topology=topology(), templates=templates, train_speakers=["A", "B"],
        fps=FPS, mm_per_unit=1000, recipe="toy",
    )  # fmt: skip
    return open_corpus(folder)
