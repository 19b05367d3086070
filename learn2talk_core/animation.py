"""A face that speaks, as values: what an `Animator` makes and every writer of a format takes."""

from dataclasses import dataclass

import numpy as np

from learn2talk_core.mesh.topology import Topology


@dataclass(frozen=True)
class Animation:
    """A face that speaks: vertices = template + offset + states · basis, exactly (the student's output map is affine).

    Frame t shows the time t / fps; sound and motion start together.

    Attributes:
        states: (T, d) float32.
        basis: (d, V, 3) float32, in the unit of the template.
        offset: (V, 3) float32, the part of the displacement that does not move.
        template: (V, 3) float32, the face at rest.
        fps: frames a second.
        mm_per_unit: millimetres per unit of the template.
        topology: faces, regions, lip pairs, colours.
        wave: (samples,) float32 in [-1, 1], 16 kHz mono.
    """

    states: np.ndarray
    basis: np.ndarray
    offset: np.ndarray
    template: np.ndarray
    fps: float
    mm_per_unit: float
    topology: Topology
    wave: np.ndarray

    def vertices(self, frames: slice = slice(None)) -> np.ndarray:
        """Positions (t, V, 3) float32 of these frames; an hour of all frames would not fit into memory."""
        moved = self.states[frames] @ self.basis.reshape(len(self.basis), -1)
        return (self.template + self.offset) + moved.reshape(-1, *self.template.shape)
