"""A small imitation of VOCASET, as downloaded and in FaceFormer's layout, to run the whole pipeline without it.

File names, names of speakers and sentences, types, units and rates are those of VOCASET; people, speech and motion are
those of the embedded corpus, on the front of its head. Sentences that VOCASET lacks are missing here too.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from joblib import delayed
from scipy.signal import resample_poly

from learn2talk_core.audio.waveform import to_int16
from learn2talk_core.datasets.embedded.face import Face, load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.sentences import make_sentences
from learn2talk_core.datasets.embedded.speakers import Speaker, make_speakers
from learn2talk_core.datasets.embedded.speech import synthesise
from learn2talk_core.datasets.embedded.voices import EspeakVoice, espeak_voices
from learn2talk_core.datasets.vocaset import SOURCE_FPS, SPLITS, TEST, TRAIN, UNPUBLISHED, VALIDATION
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.mesh.topology import submesh
from learn2talk_core.run.workers import worker_processes

VOCASET_RATE = 22_000  # Hz, as in the distribution
NUMBERS = (1, 21)
LETTERS = range(26, 40)  # characters in a sentence, which then lasts 2 to 3 s
LAYOUTS = ("distribution", "faceformer")


def write_vocaset(
    folder: str | Path,
    seed: int,
    *,
    numbers: Sequence[int] = NUMBERS,
    speakers: Sequence[str] = (*TRAIN, *VALIDATION, *TEST),
    layouts: Sequence[str] = LAYOUTS,
    vertices: int | None = None,
    audio_lead_ms: float = 0.0,
    jobs: int = 2,
) -> None:
    """Write `folder`/distribution and `folder`/faceformer, each with the FLAME files that the reader also needs.

    A sentence takes about 6 MB in each layout; the defaults give 120 MB per layout.

    Args:
        folder: a new or empty folder.
        seed: for people, sentences and motion.
        numbers: sentence numbers, 1 to 40; speakers of validation and test say only those above 20.
        speakers: a subset of VOCASET's speakers.
        layouts: a subset of `LAYOUTS`.
        vertices: number of vertices of the mesh, reached by appending vertices without triangles (FLAME: 5023); None
            appends none.
        audio_lead_ms: milliseconds by which the sound precedes the motion, 0 to 150.
        jobs: number of processes; each makes one speaker at a time.
    """
    folder, face = Path(folder), load_face()
    ids = np.flatnonzero(_front(face))
    said: dict[str, list[str]] = {}
    for speaker, sentence in SPLITS:
        if speaker in speakers and int(sentence[-2:]) in numbers and (speaker, sentence) not in UNPUBLISHED:
            said.setdefault(speaker, []).append(sentence)
    names = (*TRAIN, *VALIDATION, *TEST)
    people = dict(zip(names, make_speakers(len(names), seed, prefix="V"), strict=True))
    voices = dict(zip(names, espeak_voices(len(names), seed, prefix="V"), strict=True))
    texts = iter(make_sentences(sum(map(len, said.values())), seed, lengths=LETTERS))
    made = worker_processes(jobs)(
        delayed(_clips)(
            people[name], voices[name], ids, seed, [next(texts) for _ in sentences], vertices, audio_lead_ms
        )
        for name, sentences in said.items()
    )
    clips = {
        (name, sentence): clip
        for (name, sentences), spoken in zip(said.items(), made, strict=True)
        for sentence, clip in zip(sentences, spoken, strict=True)
    }
    templates = {name: _padded(face.identity(people[name])[None, ids], vertices)[0].astype(np.float64) for name in said}
    for layout in layouts:
        (folder / layout).mkdir(parents=True)
        {"distribution": _write_distribution, "faceformer": _write_faceformer}[layout](folder / layout, clips)
        write_pickle(folder / layout / "templates.pkl", templates)
        write_pickle(folder / layout / "FLAME_masks.pkl", _masks(face, ids))
        ply = folder / layout / ("FLAME_sample.ply" if layout == "distribution" else "templates/FLAME_sample.ply")
        ply.parent.mkdir(exist_ok=True)
        write_mesh(ply, _padded(face.neutral[None, ids], vertices)[0], submesh(face.faces, ids))


def write_pickle(path: Path, value: Any) -> None:
    """Write a pickle with the module names of Python 2 and its NumPy."""
    path.write_bytes(pickle.dumps(value, protocol=2).replace(b"numpy._core.", b"numpy.core."))


def _write_distribution(folder: Path, clips: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> None:
    rows: dict[str, dict[str, dict[int, int]]] = {}
    sounds: dict[str, dict[str, dict[str, Any]]] = {}
    frames = sum(len(motion) for motion, _ in clips.values())
    vertices = next(iter(clips.values()))[0].shape[1]
    everything = np.lib.format.open_memmap(
        folder / "data_verts.npy", mode="w+", dtype=np.float32, shape=(frames, vertices, 3)
    )
    first = 0
    for (speaker, sentence), (motion, samples) in clips.items():
        everything[first : first + len(motion)] = motion
        rows.setdefault(speaker, {})[sentence] = {t: first + t for t in range(len(motion))}
        sounds.setdefault(speaker, {})[sentence] = {"audio": samples, "sample_rate": VOCASET_RATE}
        first += len(motion)
    everything.flush()
    write_pickle(folder / "subj_seq_to_idx.pkl", rows)
    write_pickle(folder / "raw_audio_fixed.pkl", sounds)


def _write_faceformer(folder: Path, clips: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> None:
    (folder / "vertices_npy").mkdir()
    (folder / "wav").mkdir()
    for (speaker, sentence), (motion, samples) in clips.items():
        np.save(folder / "vertices_npy" / f"{speaker}_{sentence}.npy", motion.reshape(len(motion), -1))
        soundfile.write(folder / "wav" / f"{speaker}_{sentence}.wav", samples, VOCASET_RATE, subtype="PCM_16")


def _clips(
    speaker: Speaker,
    voice: EspeakVoice,
    ids: np.ndarray,
    seed: int,
    texts: Sequence[str],
    vertices: int | None,
    lead_ms: float,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Motion (T, V, 3) float32 at 60 frames per second and 16-bit sound at 22 kHz for each text."""
    face = load_face()
    template, basis = face.identity(speaker)[ids], face.basis[:, ids]
    made = []
    for i, (wave, phonemes) in enumerate(synthesise(voice, texts)):
        coefficients = move_face(
            speaker, wave, phonemes, SOURCE_FPS, 1.0, np.random.default_rng([seed, speaker.seed, i])
        )
        offsets = coefficients @ basis.reshape(len(basis), -1)
        motion = template + offsets.reshape(len(coefficients), -1, 3)
        samples = to_int16(resample_poly(wave, 11, 8))
        made.append((_padded(motion, vertices), samples[round(lead_ms / 1000 * VOCASET_RATE) :]))
    return made


def _front(face: Face) -> np.ndarray:
    """(V,) bool: face, eyes, and everything that a camera facing the mouth sees, without the back of the head."""
    front = face.part["left_eye"] | face.part["right_eye"] | (face.part["skin"] & (face.neutral[:, 2] > 0))
    front[face.regions["mouth_view"]] = True
    return front


def _padded(motion: np.ndarray, vertices: int | None) -> np.ndarray:
    extra = 0 if vertices is None else vertices - motion.shape[1]
    return np.concatenate([motion, np.repeat(motion[:, :1], extra, axis=1)], axis=1) if extra else motion


def _masks(face: Face, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Some of FLAME's masks by name; as in FLAME, the lips list four of their vertices twice."""
    x, y, _ = face.neutral[ids].T
    lips = np.flatnonzero(np.isin(ids, face.regions["lips"]))
    upper = np.isin(ids, face.regions["upper_face"])
    forehead = upper & (y > 0.03)
    return {
        "lips": np.concatenate([lips, lips[:4]]),
        "forehead": np.flatnonzero(forehead),
        "eye_region": np.flatnonzero(upper & ~forehead),
        "left_eye_region": np.flatnonzero(upper & ~forehead & (x > 0)),
        "right_eye_region": np.flatnonzero(upper & ~forehead & (x < 0)),
        "left_eyeball": np.flatnonzero(face.part["left_eye"][ids]),
        "right_eyeball": np.flatnonzero(face.part["right_eye"][ids]),
        "face": np.flatnonzero(face.part["skin"][ids]),
    }
