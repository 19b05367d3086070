"""The viewer's data: clips, each a sound with the faces that move to it."""

import io
import wave
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.audio.waveform import SAMPLE_RATE, to_int16
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.mesh.look import Look
from learn2talk_core.mesh.topology import Topology, lip_gap
from learn2talk_core.run.errors import BadInput

if TYPE_CHECKING:
    from learn2talk_core.avatar.avatar import Avatar

PIECE_BYTES = 1 << 20  # size of the pieces in which the browser fetches a motion
_HEADER = 44  # bytes before the samples of a WAV file


@dataclass(frozen=True)
class Motion:
    """A face that moves. Frame t shows the time t / fps; sound and motion start together.

    Attributes:
        name: name of the method that made it.
        rows: (T, d) states: vertices = rest + rows · basis. Without a basis (T, V, 3): vertices = rest + rows. May be a
            memory map.
        basis: (d, V, 3), or None.
        rest: (V, 3) float32.
        topology: faces, colours, lip pairs.
        fps: frame rate.
        mm_per_unit: millimetres per unit of the vertices.
        look: parts and texture of the mesh, if it has them.
        follow: (V,) share of the head's motion that each vertex takes, in a live session; None is 1.
    """

    name: str
    rows: np.ndarray
    basis: np.ndarray | None
    rest: np.ndarray
    topology: Topology
    fps: float
    mm_per_unit: float
    look: Look | None = None
    follow: np.ndarray | None = None

    @property
    def piece(self) -> int:
        """Frames per piece that the browser fetches."""
        columns, size = int(np.prod(self.rows.shape[1:])), 2 if self.basis is None else 4
        return max(1, PIECE_BYTES // (size * columns))

    def vertices(self, frames: slice = slice(None)) -> np.ndarray:
        """(t, V, 3) float32."""
        rows = self._finite(frames)
        return self.rest + (rows if self.basis is None else np.tensordot(rows, self.basis, 1))

    def packed(self, number: int) -> bytes:
        """Piece `number` in the format that the browser reads.

        With a basis: float32 in row-major order. Without one: a float32 step, then each coordinate as int16 in units of
        the step, which is 1/32767 of the largest magnitude in the piece: 5 µm for the vertices of a face.
        """
        rows = self._finite(slice(number * self.piece, (number + 1) * self.piece))
        if self.basis is not None:
            return rows.astype("<f4").tobytes()
        step = np.float32(max(float(np.abs(rows).max(initial=0.0)) / 32767, 1e-30))
        return step.astype("<f4").tobytes() + np.round(rows / step).clip(-32767, 32767).astype("<i2").tobytes()

    def opening(self) -> np.ndarray:
        """Lip opening in mm, the mean distance over the lip pairs; (T,) float32. Empty without lip pairs."""
        pairs = self.topology.lip_pairs
        if not len(pairs):
            return np.zeros(0, np.float32)
        ids, local = pairs.reshape(-1), np.arange(2 * len(pairs)).reshape(-1, 2)
        moved = self.rows[:, ids] if self.basis is None else np.tensordot(self.rows, self.basis[:, ids], 1)
        points = self.rest[ids] + moved
        return (self.mm_per_unit * lip_gap(points, local).mean(axis=1)).astype(np.float32)

    def _finite(self, frames: slice) -> np.ndarray:
        rows = np.asarray(self.rows[frames], np.float32)
        finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        if not finite.all():
            where = f"{self.name}, frame {(frames.start or 0) + int(np.argmin(finite))}"
            raise BadInput(where, expected="finite positions", found="NaN or infinity", fix="Make the motion again.")
        return rows


@dataclass(frozen=True)
class ViewerClip:
    """A sound and the motions that belong to it.

    Attributes:
        title: its name in the list.
        group: the heading under which it is listed.
        motions: shown side by side, in this order.
        sound: a WAV file, 16-bit 16 kHz mono.
        text: the transcript, if known.
        phonemes: phonemes with their times; may be empty.
        truth: index in `motions` of the true motion, with which the others are compared; None if there is none.
        note: a remark shown with the clip.
    """

    title: str
    group: str
    motions: tuple[Motion, ...]
    sound: bytes
    text: str = ""
    phonemes: tuple[Phoneme, ...] = ()
    truth: int | None = None
    note: str = ""

    @cached_property
    def samples(self) -> np.ndarray:
        """(n,) int16 at 16 kHz."""
        return np.frombuffer(self.sound, "<i2", offset=_HEADER)

    @property
    def seconds(self) -> float:
        """Duration of the sound."""
        return len(self.samples) / SAMPLE_RATE


def as_wav(samples: np.ndarray) -> bytes:
    """Encode (n,) floats in [-1, 1] at 16 kHz as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(to_int16(samples).astype("<i2").tobytes())
    return file.getvalue()


def peaks(samples: np.ndarray, count: int = 2000) -> np.ndarray:
    """Smallest and largest sample of each of up to `count` equal parts of a sound, (n, 2) float32 in [-1, 1]."""
    edges = np.linspace(0, len(samples), min(count, len(samples)) + 1).astype(int)[:-1]
    if not len(edges):
        return np.zeros((0, 2), np.float32)
    extremes = [function.reduceat(samples, edges) for function in (np.minimum, np.maximum)]
    return np.stack(extremes, 1).astype(np.float32) / 32768


def packed_splats(avatar: "Avatar") -> np.ndarray:
    """The avatar's splats as `splats.js` reads them, (N, 24) float32: position and triangle, rotation, scale and
    opacity, and the spherical harmonics of degree 0 and 1 (RGB each)."""
    splats, count = avatar.splats, len(avatar.splats.position)
    harmonics = np.zeros((count, 4, 3), np.float32)
    stored = np.concatenate([splats.base.numpy(), splats.rest.numpy()], axis=1)[:, :4]
    harmonics[:, : stored.shape[1]] = stored
    rotation = splats.rotation.numpy()
    parts = [
        splats.position.numpy(),
        splats.triangle.numpy()[:, None],
        rotation / np.linalg.norm(rotation, axis=1, keepdims=True),
        splats.scale.exp().numpy(),
        splats.opacity.sigmoid().numpy()[:, None],
        harmonics.reshape(count, -1),
    ]
    return np.concatenate(parts, axis=1).astype("<f4")


def motion_of(animation: Animation, name: str) -> Motion:
    """Convert an animation to a motion."""
    return Motion(
        name=name,
        rows=animation.states,
        basis=animation.basis,
        rest=animation.template + animation.offset,
        topology=animation.topology,
        fps=animation.fps,
        mm_per_unit=animation.mm_per_unit,
        look=animation.look,
        follow=animation.follow,
    )
