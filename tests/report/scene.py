"""A small corpus of a talking bump: a grid of 9 x 9 vertices whose middle opens and closes along y."""

from pathlib import Path

import numpy as np

from learn2talk_core.corpus.format import Corpus, Recording, open_corpus, write_corpus
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.corpus.predictions import write_predictions
from learn2talk_core.mesh.topology import Topology

SIDE = 9
FRAMES = 24
PHONEMES = tuple(Phoneme(0.1 * i, 0.1 * i + 0.1, name) for i, name in enumerate(["M", "AA", "F", "UW", "S", "IY", "P"]))


def grid() -> tuple[np.ndarray, Topology]:
    """Template (81, 3) in metres, 160 mm square and bulging, and its topology."""
    y, x = np.meshgrid(np.linspace(0.08, -0.08, SIDE), np.linspace(-0.08, 0.08, SIDE), indexing="ij")
    template = np.stack([x, y, 0.05 - 4 * (x**2 + y**2)], axis=-1).reshape(-1, 3).astype(np.float32)
    faces = []
    for row in range(SIDE - 1):
        for column in range(SIDE - 1):
            a = row * SIDE + column
            faces += [[a, a + SIDE, a + 1], [a + 1, a + SIDE, a + SIDE + 1]]
    ids = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    regions = {
        "lips": ids[5:7, 3:6].ravel(),
        "mouth": ids[4:8].ravel(),
        "upper_face": ids[:3].ravel(),
        "mouth_view": ids[3:].ravel(),
    }
    colours = np.full((SIDE * SIDE, 3), 0.7, np.float32)
    pairs = np.stack([ids[5, 3:6], ids[6, 3:6]], axis=1)
    return template, Topology(np.array(faces, np.int32), {k: np.sort(v) for k, v in regions.items()}, pairs, colours)


def make_corpus(folder: Path) -> Corpus:
    """Speakers anna and ben (train, test_seen) and carl (test_unseen), two clips in each test."""
    template, topology = grid()
    rng = np.random.default_rng(0)
    recordings = []
    seen = [(speaker, split) for split in ("train", "test_seen") for speaker in ("anna", "ben")]
    for number, (speaker, split) in enumerate([*seen, ("carl", "test_unseen"), ("carl", "test_unseen")]):
        audio = 0.1 * rng.normal(size=FRAMES * 16000 // 30).astype(np.float32)
        vertices, clip = template + motion(number, 1.0), f"{speaker}_{number}"
        text = "Mama’s café opens."
        recordings.append(Recording(clip, speaker, str(number), text, split, audio, vertices, PHONEMES))
    write_corpus(
        folder,
        recordings,
        topology=topology,
        templates=dict.fromkeys(("anna", "ben", "carl"), template),
        train_speakers=("anna", "ben"),
        fps=30.0,
        mm_per_unit=1000.0,
        recipe="test",
    )
    return open_corpus(folder)


def motion(seed: int, strength: float, frames: int = FRAMES) -> np.ndarray:
    """Displacements (frames, 81, 3): the lower lip moves down by up to 10 mm, brows and corners move randomly."""
    rng = np.random.default_rng(seed)
    displacement = 0.0003 * rng.normal(size=(FRAMES, SIDE, SIDE, 3))
    displacement[:, 6:, 2:7, 1] -= 0.01 * strength * np.sin(np.arange(FRAMES) / 3)[:, None, None] ** 2
    return displacement.reshape(FRAMES, -1, 3)[:frames].astype(np.float32)


def make_predictions(folder: Path, corpus: Corpus) -> None:
    """FaceFormer opens the mouth half as far, Learn2Talk nearly as far, and both end a frame early."""
    for name, strength in (("faceformer", 0.5), ("learn2talk", 0.9)):
        with write_predictions(folder / name) as writer:
            for clip in corpus.split("test_seen", "test_unseen"):
                for style in [clip.speaker] if clip.split == "test_seen" else corpus.train_speakers:
                    weaker = strength * (0.8 if style == "ben" else 1.0)
                    writer.add(clip.id, style, motion(int(clip.sentence), weaker, FRAMES - 1))
