"""An imitation of BIWI for users who do not have it: the same names, headers, units and layouts on another mesh.

The mesh is the front of the embedded face, with an open mouth as in BIWI; speech and motion come from the embedded
generator. Every speaker says the same sentences.
"""

import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from scipy.signal import resample_poly

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.datasets.biwi import FPS, SPEAKERS, TEST, TRAIN_SPEAKERS
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.sentences import make_sentences
from learn2talk_core.datasets.embedded.speakers import Speaker, make_speakers
from learn2talk_core.datasets.embedded.speech import synthesise
from learn2talk_core.datasets.embedded.voices import EspeakVoice, espeak_voices
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.mesh.topology import submesh

BACK = -0.02  # metres: vertices further back than this are not part of the mask
RAW = np.array([1000.0, -1000.0, -1000.0])  # from metres, y up, z forward to BIWI's axes and unit
SOUND_RATE = 44_100
VARIATION = 1.0


def write_biwi(
    folder: str | Path,
    seed: int,
    *,
    layout: Literal["distribution", "processed"] = "distribution",
    speakers: Sequence[str] = SPEAKERS,
    sentences: Sequence[int] = (1, 2, 3, 33, 37),
    neutral: Sequence[int] = (37,),
    packed: bool = False,
    seconds: float | None = None,
) -> None:
    """Write the imitation into `folder`; the same seed gives the same bytes, except for the dates in archives.

    Odd sentences have `.vl` headers of 4 bytes, even ones of 8. About 3 MB per sentence and speaker.

    Args:
        folder: where to write the imitation.
        seed: for voices, faces, sentences and motion.
        layout: as distributed, or as processed by CodeTalker's recipe.
        speakers: a subset of BIWI's speakers.
        sentences: emotional sentences (e01 …) of the training speakers; the other speakers say only the test sentences
            among them.
        neutral: sentences that the first speaker also says neutrally (37 gives a file F2_37, which is not a test
            sentence).
        packed: `.tar` archives of frames instead of folders.
        seconds: maximum duration; longer sentences are cut.
    """
    folder = Path(folder)
    ids, faces = mask()
    texts = make_sentences(40, seed)
    raw_templates: dict[str, np.ndarray] = {}
    for name, (speaker, voice) in zip(speakers, _people(speakers, seed), strict=True):
        raw_templates[name] = _raw(load_face().identity(speaker)[ids], name)
        said = [f"e{n:02d}" for n in sentences if name in TRAIN_SPEAKERS or n in TEST]
        said += [f"{n:02d}" for n in neutral if name == speakers[0]]
        spoken = synthesise(voice, [texts[int(sentence[-2:]) - 1] for sentence in said])
        for sentence, (wave, phonemes) in zip(said, spoken, strict=True):
            rng = np.random.default_rng([seed, speaker.seed, *sentence.encode()])
            coefficients = move_face(speaker, wave, phonemes, FPS, VARIATION, rng)
            if seconds is not None:
                coefficients, wave = coefficients[: int(seconds * FPS)], wave[: int(seconds * SAMPLE_RATE)]
            basis = load_face().basis[:, ids]
            offsets = (coefficients @ basis.reshape(len(basis), -1)).reshape(len(coefficients), -1, 3)
            motion = (raw_templates[name] + offsets * RAW).astype(np.float32)
            if layout == "distribution":
                write_frames(folder / "faces" / name, sentence, motion, packed)
                _write_sound(folder / "audio" / f"{name}_{sentence}_cut.wav", wave)
            else:
                path = folder / "vertices_npy" / f"{name}_{sentence}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, np.stack([_unit_area(frame, faces).reshape(-1) for frame in motion]))
                _write_sound(folder / "wav" / f"{name}_{sentence}.wav", wave)
    for name, numbers in regions().items():
        (folder / "regions").mkdir(parents=True, exist_ok=True)
        (folder / "regions" / f"{name}.txt").write_text(", ".join(map(str, numbers.tolist())))
    if layout == "distribution":
        for name, template in raw_templates.items():
            write_template(folder / "rigid_scans" / f"{name}.obj", template, faces)
    else:
        templates = {name: _unit_area(template, faces) for name, template in raw_templates.items()}
        (folder / "templates.pkl").write_bytes(pickle.dumps(templates))
        write_mesh(folder / "BIWI.ply", templates[speakers[0]], faces)


def mask() -> tuple[np.ndarray, np.ndarray]:
    """The vertex ids (V,) of the embedded face that the imitation has, and its triangles (F, 3)."""
    face = load_face()
    skin = face.part["skin"] & (face.mask["inside_mouth"] <= 0.5)
    front = np.flatnonzero(skin & (face.neutral[:, 2] > BACK))
    ids = front[np.unique(submesh(face.faces, front))]  # without vertices that are in no triangle any more
    return ids, submesh(face.faces, ids)


def regions() -> dict[str, np.ndarray]:
    """Vertex ids of the two regions: `lve` is mouth and chin, `fdd` the upper face, as in CodeTalker's lists."""
    ids, _ = mask()
    face = load_face()
    x, y, _ = (face.neutral[ids] - face.neutral[face.regions["lips"]].mean(axis=0)).T
    return {
        "lve": np.flatnonzero((np.abs(x) < 0.040) & (y < 0.024)),
        "fdd": np.flatnonzero(np.isin(ids, face.regions["upper_face"])),
    }


def _people(names: Sequence[str], seed: int) -> list[tuple[Speaker, EspeakVoice]]:
    """Faces and voices for BIWI's women F1 … F8 and men M1 … M6."""
    count = 4 * len(SPEAKERS)
    people = list(zip(make_speakers(count, seed, prefix="B"), espeak_voices(count, seed, prefix="B"), strict=True))
    of_sex = {sex: iter([p for p in people if p[0].female == (sex == "F")]) for sex in "FM"}
    chosen = {name: next(of_sex[name[0]]) for name in sorted(SPEAKERS)}
    return [chosen[name] for name in names]


def _raw(template: np.ndarray, name: str) -> np.ndarray:
    """As BIWI stores faces: millimetres, y down, z into the face, and not around the origin."""
    return template * RAW + [3.0, -20.0, 10.0 * SPEAKERS.index(name)]


def _unit_area(frame: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """CodeTalker's recipe in plain NumPy, for one frame (V, 3) float64."""
    turned = frame.astype(np.float64) * [1, -1, -1]
    turned -= turned.mean(axis=0)
    a, b, c = turned[faces].transpose(1, 0, 2)
    return turned / np.sqrt(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def write_frames(folder: Path, sentence: str, motion: np.ndarray, packed: bool) -> None:
    """The frames (T, V, 3) of a sentence as `.vl` files in `folder/sentence`, or packed into `folder/sentence.tar`."""
    header = len(motion[0]).to_bytes(4 if int(sentence[-2:]) % 2 else 8, "little")
    frames = {f"frame_{t:03d}.vl": header + frame.astype("<f4").tobytes() for t, frame in enumerate(motion, 1)}
    if not packed:
        (folder / sentence).mkdir(parents=True, exist_ok=True)
        for name, content in frames.items():
            (folder / sentence / name).write_bytes(content)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{sentence}.tar", "w") as archive:
        for name, content in frames.items():
            member = tarfile.TarInfo(f"{sentence}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _write_sound(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    loud = np.clip(resample_poly(wave, SOUND_RATE // 100, SAMPLE_RATE // 100), -1, 1)
    soundfile.write(path, loud, SOUND_RATE, subtype="PCM_16", format="WAV")


def write_template(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """An `.obj` with texture coordinates, as the distribution's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
    lines += [f"vt {x / 300 + 0.5:.5f} {0.5 - y / 300:.5f}" for x, y, _ in vertices.tolist()]
    lines += ["f " + " ".join(f"{corner}/{corner}" for corner in face) for face in (faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")
