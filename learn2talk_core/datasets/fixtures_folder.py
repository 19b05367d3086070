"""A small dataset in the two layouts of `folder`: to try the pipeline, and as a model for arranging own data."""

import csv
import pickle
from pathlib import Path
from typing import Literal

import numpy as np

from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.sentences import make_sentences
from learn2talk_core.datasets.embedded.speakers import make_speakers
from learn2talk_core.datasets.embedded.speech import synthesise
from learn2talk_core.datasets.embedded.voices import espeak_voices
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.mesh.topology import submesh

MILLIMETRES = 1000  # per metre
PICKED = 24  # lip vertices in lips.txt


def write_folder(
    folder: str | Path,
    seed: int = 0,
    *,
    speakers: int = 4,
    sentences: int = 3,
    fps: float = 25.0,
    layout: Literal["faceformer", "clips"] = "faceformer",
    table: bool = True,
) -> None:
    """Write speech by the embedded voices with the front of the embedded heads in millimetres, and `lips.txt`.

    Every speaker says different sentences, numbered consecutively. The last speaker is for the unseen test, the one
    before for validation; the last sentence of each other speaker is for the seen test.

    Args:
        folder: a new or empty folder.
        seed: for speakers, sentences and motion.
        speakers, sentences: number of speakers, and of sentences per speaker.
        fps: frame rate of the motion.
        layout: "faceformer", or "clips": a folder per clip, the first clip as `.ply` meshes, the others as arrays.
        table: also write `clips.csv`.
    """
    folder, face = Path(folder), load_face()
    kept = np.flatnonzero(~face.part["skin"] | (face.neutral[:, 2] > -0.03))
    faces = submesh(face.faces, kept)
    lips = np.searchsorted(kept, face.regions["lips"])
    rng = np.random.default_rng(seed)
    texts = make_sentences(speakers * sentences, seed)
    rows: list[dict[str, str]] = []
    templates: dict[str, np.ndarray] = {}
    people = zip(make_speakers(speakers, seed), espeak_voices(speakers, seed), strict=True)
    for s, (speaker, voice) in enumerate(people):
        template = face.identity(speaker)
        templates[speaker.id] = np.ascontiguousarray(template[kept]) * MILLIMETRES
        said = texts[s * sentences : (s + 1) * sentences]
        for i, (wave, phonemes) in enumerate(synthesise(voice, said)):
            sentence = f"{s * sentences + i + 1:02d}"
            coefficients = move_face(speaker, wave, phonemes, fps, 1.0, rng)
            motion = face.vertices(template, coefficients)[:, kept] * MILLIMETRES
            _write_clip(folder, layout, speaker.id, sentence, wave, motion, None if rows else faces)
            held = "test_unseen" if s == speakers - 1 else "validation" if s == speakers - 2 else None
            split = held or ("test_seen" if i == sentences - 1 else "train")
            rows.append({"clip": f"{speaker.id}_{sentence}", "split": split, "text": said[i]})
    write_mesh(folder / "templates" / "face.ply", next(iter(templates.values())), faces)
    (folder / "templates.pkl").write_bytes(pickle.dumps(templates, protocol=2))
    (folder / "lips.txt").write_text(", ".join(map(str, rng.choice(lips, PICKED, replace=False).tolist())) + "\n")
    if table:
        with (folder / "clips.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["clip", "split", "text"])
            writer.writeheader()
            writer.writerows(rows)


def _write_clip(
    folder: Path,
    layout: str,
    speaker: str,
    sentence: str,
    wave: np.ndarray,
    motion: np.ndarray,
    faces: np.ndarray | None,
) -> None:
    if layout == "faceformer":
        write_wave(folder / "wav" / f"{speaker}_{sentence}.wav", wave)
        (folder / "vertices_npy").mkdir(exist_ok=True)
        np.save(folder / "vertices_npy" / f"{speaker}_{sentence}.npy", motion.reshape(len(motion), -1))
        return
    place = folder / speaker / sentence
    write_wave(place / "speech.wav", wave)
    if faces is None:
        np.save(place / "motion.npy", motion)
        return
    for number, vertices in enumerate(motion, 1):
        write_mesh(place / f"frame_{number:04d}.ply", vertices, faces)
