"""Shared by several formats: normals, linear colours, checks, the sound file, and file names."""

from pathlib import Path

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.run.errors import BadInput


def mesh_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32: the sum of the adjacent triangles' normals, weighted by area; +z if it is zero."""
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    of_face = np.cross(b - a, c - a)
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(of_face[:, axis], 3), len(vertices)) for axis in range(3)], axis=1
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    flat = length[:, 0] <= 1e-12 * length.max(initial=0)
    normals[flat], length[flat] = (0, 0, 1), 1
    return (normals / length).astype(np.float32)


def linear_light(colours: np.ndarray) -> np.ndarray:
    """Convert sRGB in 0..1 to linear, float32 (IEC 61966-2-1): glTF and USD store linear colours, our renderer sRGB."""
    colours = np.clip(colours.astype(np.float64), 0, 1)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4).astype(np.float32)


def check_animation(path: Path, animation: Animation) -> None:
    """Raise `BadInput`, before anything is written, if there are no frames, or NaN or infinite values."""
    if not len(animation.states):
        raise BadInput(path, expected="an animation", found="no frames", fix="Give sound of one frame or more.")
    for name in ("states", "basis", "offset", "template", "pose", "pivot"):
        values = getattr(animation, name)
        if values is not None and not np.isfinite(values).all():
            fix = "The model or the sound is damaged: check both."
            raise BadInput(path, expected="finite numbers", found=f"NaN or infinity in {name}", fix=fix)


def write_sound(path: Path, animation: Animation) -> Path:
    """Write the sound as a WAV file; returns its path."""
    write_wave(path, animation.wave)
    return path


def suffixed(stem: Path, suffix: str) -> Path:
    """Append a suffix to `stem`; unlike `Path.with_suffix`, it keeps dots in the name."""
    return stem.with_name(stem.name + suffix)
