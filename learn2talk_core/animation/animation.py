"""The animation of a speaking face as data: produced by `Animator`, consumed by all export formats."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from learn2talk_core.animation.blend_shapes import BlendShapes
from learn2talk_core.audio.waveform import whole_frames
from learn2talk_core.corpus.phonemes import Phoneme
from learn2talk_core.mesh.look import Look
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.resample import interpolated

BLOCK = 512  # frames from which `directions_of` finds new directions at once
LEFT_OUT = 1e-6  # share of a block's squared displacements that its directions may leave out


@dataclass(frozen=True)
class Animation:
    """A speaking face: u = template + offset + states · basis, exactly (the student's output map is affine).

    With a pose the head is then rotated by R about the neck and translated by d: v = R (u − pivot) + pivot + d. Frame t
    shows the time t / fps; sound and motion start together.

    Attributes:
        states: (T, d) float32.
        basis: (d, V, 3) float32, in the unit of the template.
        offset: (V, 3) float32, the constant part of the displacement.
        template: (V, 3) float32, the face at rest.
        fps: frame rate.
        mm_per_unit: millimetres per unit of the template.
        topology: faces, regions, lip pairs, colours.
        wave: (samples,) float32 in [-1, 1], 16 kHz mono.
        shapes: names of the blend shapes (blinks, gaze, edits) in the last rows of `basis`; the rows before are the
            student's.
        pose: (T, 6) float32: angles about x, y and z in radians, R = R_z R_y R_x, then d in the unit of the template;
            None if the head does not move.
        pivot: (3,) float32, the point about which the head rotates.
        follow: (V,) float32, the share of the head's motion that each vertex takes: 0 for shoulders; None is 1.
        look: parts and texture of the mesh, if it has them.
        arkit: ARKit's blend shapes of the mesh, if they are known.
        phonemes: what is said, with times, if it is known.
    """

    states: np.ndarray
    basis: np.ndarray
    offset: np.ndarray
    template: np.ndarray
    fps: float
    mm_per_unit: float
    topology: Topology
    wave: np.ndarray
    shapes: tuple[str, ...] = ()
    pose: np.ndarray | None = None
    pivot: np.ndarray | None = None
    follow: np.ndarray | None = None
    look: Look | None = None
    arkit: BlendShapes | None = None
    phonemes: tuple[Phoneme, ...] = ()

    def vertices(self, frames: slice = slice(None)) -> np.ndarray:
        """Positions (t, V, 3) float32 of these frames. An hour takes 6 GB: request a part of the frames at a time.

        A frame is byte-identical whichever other frames are requested with it.
        """
        # A stack of one-row products: in a product of several rows, rounding depends on a row's position.
        moved = self.states[frames, None] @ self.basis.reshape(len(self.basis), -1)
        moved = moved.reshape(-1, *self.template.shape)
        moved += self.template + self.offset
        if self.pose is None:
            return moved
        rigid = self.rigid(frames).astype(np.float32)
        turned = moved @ rigid[:, :, :3].transpose(0, 2, 1)
        turned += rigid[:, None, :, 3]
        if self.follow is None:
            return turned
        turned -= moved
        turned *= self.follow[:, None]
        turned += moved
        return turned

    def rigid(self, frames: slice = slice(None)) -> np.ndarray:
        """The pose of these frames as matrices [R | p + d − R p] (t, 3, 4) float64, p the pivot."""
        pose = (np.zeros((len(self.states), 6)) if self.pose is None else self.pose)[frames].astype(np.float64)
        pivot = np.zeros(3) if self.pivot is None else self.pivot.astype(np.float64)
        turn = Rotation.from_euler("xyz", pose[:, :3]).as_matrix()
        return np.concatenate([turn, (pivot + pose[:, 3:] - turn @ pivot)[:, :, None]], axis=2)

    def unposed(self) -> "Animation":
        """The same animation without head motion."""
        return replace(self, pose=None, pivot=None)


def resample_states(states: np.ndarray, from_fps: float, to_fps: float, frames: range, first: int = 0) -> np.ndarray:
    """Resample states to another frame rate: linear interpolation at t / to_fps seconds; the last state is held.

    The vertices are affine in the states, so this equals resampling the vertices, with a thousandth of the work.

    Args:
        states: (n, d); its first row is frame number `first` at `from_fps`.
        from_fps: frame rate of `states`.
        to_fps: frame rate of the result.
        frames: frames of the result to compute.
        first: see `states`.

    Returns:
        (len(frames), d) float32.
    """
    return interpolated(states, np.asarray(frames, np.float64) * (from_fps / to_fps) - first)


def directions_of(displacements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacements as states times fixed directions, for a student without an affine map.

    Block by block of frames, so that no matrix is T x T. What the directions so far leave of a block, X, gives new
    ones, Xᵀ u_i / s_i with the eigenvectors u_i of X Xᵀ. The smallest are left out: those that have a millionth of the
    block's squared displacements together, so that the error is a thousandth of the motion (1 µm for speech).

    Args:
        displacements: (T, 3V) from the template.

    Returns:
        States (T, r) float32 and directions (r, 3V) float32, r ≤ T and at least 1.
    """
    directions: np.ndarray = np.zeros((0, displacements.shape[1]), np.float32)
    for start in range(0, len(displacements), BLOCK):
        block = displacements[start : start + BLOCK].astype(np.float32)
        rest: np.ndarray = block
        for _ in range(2):  # the first leaves rounding errors along the directions
            rest = rest - (rest @ directions.T) @ directions
        squares, vectors = np.linalg.eigh(rest.astype(np.float64) @ rest.T)
        small = np.cumsum(squares.clip(0)) <= LEFT_OUT * np.square(block, dtype=np.float64).sum()
        small[-1] &= len(directions) > 0
        new = vectors[:, ~small].T @ rest / np.sqrt(squares[~small].clip(1e-30))[:, None]
        directions = np.concatenate([directions, new.astype(np.float32)])
    return displacements @ directions.T, directions


def frame_count(samples: int, fps: float) -> int:
    """Number of frames that fit completely into a sound of `samples` samples at 16 kHz, at least one."""
    return max(1, whole_frames(samples, fps))
