"""What every student network offers: speech and a speaking style in, motion of a face out.

A student makes d numbers a frame, its *states*. Where its last layer is affine, vertices are template + W state + b, so
that states are small to store and any region of the face is computed alone; where it is not, the states are the
displacements of the vertices themselves, d = 3V.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from torch import Tensor, nn

from learn2talk_core.models.linear import linear
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import save_weights


class StudentStream(Protocol):
    """One clip that a student goes on speaking while the sound comes in.

    Attributes:
        eps: added to the variance of the wave when it is normalised, as the student's speech encoder wants it.
    """

    eps: float

    def extend(self, wave: Tensor, skipped: int, wanted: int, frames: int) -> Tensor:
        """The next states (wanted, d).

        Args:
            wave: (samples,) normalised sound of `frames` motion frames: the past again, what is wanted, a look-ahead.
            skipped: frames of the past at its beginning, whose states were given before.
            wanted: frames whose states are wanted.
            frames: all of them.
        """
        ...


class Student(nn.Module, ABC):
    """Speech and style in, motion out. A network is one module of `models/students` with one class of this kind.

    Attributes:
        network: the name of its module, which `load_student` goes by.
    """

    network: ClassVar[str]

    @property
    @abstractmethod
    def vertex_count(self) -> int:
        """V, vertices of the face."""

    @property
    @abstractmethod
    def style_count(self) -> int:
        """S, the training speakers, in the order of the style one-hot."""

    @abstractmethod
    def predict_states(
        self, wave: np.ndarray, fps: float, styles: Tensor, frames: int, template: np.ndarray | None = None
    ) -> Tensor:
        """Speak a clip in one or more styles, without gradient, in evaluation mode.

        Args:
            wave: (samples,) 16 kHz mono.
            fps: frame rate of the motion.
            styles: (B, S) one-hot, or any mixture, over the training speakers.
            frames: T, how many frames to make.
            template: (V, 3) the face at rest, for networks that look at it.

        Returns:
            States (B, T, d); of published weights T may be a frame or two smaller, as in their own code.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs to rebuild the network, as JSON values."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """The network of these settings with fresh weights; `style_count` and `fps` are among them."""

    def affine_map(self) -> tuple[Tensor, Tensor] | None:
        """Weight (3V, d) and bias (3V,) from states to displacements; None where states are displacements."""
        return None

    def displacement(self, states: Tensor, region: Tensor | None = None) -> Tensor:
        """States (B, T, d) -> displacements from the template (B, T, n, 3) of the vertices `region` (n,), or of all."""
        affine = self.affine_map()
        if affine is None:
            moved = states.unflatten(-1, (-1, 3))
            return moved if region is None else moved[:, :, region]
        weight, bias = affine
        if region is not None:
            weight = weight.unflatten(0, (-1, 3))[region].flatten(0, 1)
            bias = bias.unflatten(0, (-1, 3))[region].flatten()
        return linear(states, weight, bias).unflatten(-1, (-1, 3))

    def map_arrays(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """`affine_map` as arrays, basis (d, 3V) and bias (3V,); None twice where states are displacements."""
        affine = self.affine_map()
        if affine is None:
            return None, None
        weight, bias = affine
        return weight.detach().T.numpy(), bias.detach().numpy()

    def open_stream(self, style: Tensor, fps: float, memory: int) -> StudentStream:
        """Begin a clip of which the sound comes in piece by piece.

        Args:
            style: (S,) weights of the training speakers.
            fps: frame rate of the motion.
            memory: frames that the network looks back on.

        Raises:
            BadInput: the network needs the whole clip at once.
        """
        raise BadInput(
            f"a stream of {self.network}",
            expected="a student that can speak while the sound comes in",
            found="one that needs the whole clip",
            fix="Use learn2talk animate, or another model.",
        )

    def __str__(self) -> str:
        return f"{self.network}, {self.vertex_count} vertices, {self.style_count} styles"


def save_student(folder: str | Path, student: Student, *, fps: float, speakers: tuple[str, ...], **notes: Any) -> None:
    """Write a student: weights, and what is needed to rebuild it.

    `notes` say where it comes from; `recipe` among them is that of its corpus, and `load_student` heeds it.
    """
    about = {"network": student.network, "fps": fps, "speakers": list(speakers), "notes": notes}
    save_weights(folder, student, {**student.settings(), **about})
