"""Interface of all student networks: speech and a speaking style in, motion of a face out.

A student outputs d numbers per frame, its *states*. If its last layer is affine, vertices are template + W state + b,
so states are small to store and any region of the face can be computed alone. Otherwise the states are the
displacements of the vertices themselves, d = 3V.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np
from torch import Tensor, nn

from learn2talk_core.models.linear import linear
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.recipe import refuse_other_recipe
from learn2talk_core.run.weights import load_network, save_weights

# How `predict_states` aligns speech features with motion frames: by their time stamps; or as in the code of FaceFormer
# and those that followed it, for weights published for that dataset.
AudioAlignment = Literal["time", "vocaset", "biwi"]


class StudentStream(Protocol):
    """One clip that a student animates while the audio is still arriving."""

    def extend(self, wave: np.ndarray, new: int, skipped: int, wanted: int, frames: int) -> Tensor:
        """The next states (wanted, d).

        Args:
            wave: (samples,) audio of `frames` motion frames, as recorded: past, wanted frames, look-ahead.
            new: number of samples at its end that no earlier call contained.
            skipped: number of past frames at its beginning, whose states were returned before.
            wanted: number of frames whose states are wanted.
            frames: total number of frames.
        """
        ...


class Student(nn.Module, ABC):
    """Speech and style in, motion out. Each network is one module of `models/students` with one subclass.

    Attributes:
        network: the name of its module, by which `load_student` finds it.
        has_styles: whether the style changes the motion.
        not_streamed: why a network without `open_stream` has none; it completes "found …".
    """

    network: ClassVar[str]
    has_styles: ClassVar[bool] = True
    not_streamed: ClassVar[str] = "one that needs the whole clip at once"

    @property
    @abstractmethod
    def vertex_count(self) -> int:
        """V, number of vertices of the face."""

    @property
    @abstractmethod
    def style_count(self) -> int:
        """S, number of training speakers, the length of the style one-hot."""

    @abstractmethod
    def predict_states(
        self, wave: np.ndarray, fps: float, styles: Tensor, frames: int, template: np.ndarray | None = None
    ) -> Tensor:
        """Predict a clip in one or more styles, without gradient, in evaluation mode.

        Args:
            wave: (samples,) 16 kHz mono.
            fps: frame rate of the motion.
            styles: (B, S) one-hot, or any mixture, over the training speakers, on any device.
            frames: T, number of frames to predict.
            template: (V, 3) the face at rest, for networks that use it.

        Returns:
            States (B, T, d) on the network's device; with published weights T may be one or two frames less, as in
            their original code.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs to rebuild the network, as JSON values."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """An untrained network with these settings, which include `style_count` and `fps`."""

    def affine_map(self) -> tuple[Tensor, Tensor] | None:
        """Weight (3V, d) and bias (3V,) from states to displacements; None if states are displacements."""
        return None

    def displacement(self, states: Tensor, region: Tensor | None = None) -> Tensor:
        """States (B, T, d) -> displacements from the template (B, T, n, 3) of the vertices `region` (n,), or of all."""
        affine = self.affine_map()
        if affine is None:
            moved = states.unflatten(-1, (-1, 3))
            return moved if region is None else moved[:, :, region]
        weight, bias = affine if region is None else _rows(*affine, region)
        return linear(states, weight, bias).unflatten(-1, (-1, 3))

    def projection(self, states: Tensor, region: Tensor, onto: Tensor) -> Tensor:
        """States (B, T, d) -> displacements of the vertices `region` (n,) times `onto` (3n, k), (B, T, k): without
        computing these displacements if the map to them is affine."""
        affine = self.affine_map()
        if affine is None:
            return self.displacement(states, region).flatten(2) @ onto
        weight, bias = _rows(*affine, region)
        return linear(states, onto.T @ weight, bias @ onto)

    def map_arrays(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """`affine_map` as arrays, basis (d, 3V) and bias (3V,); both None if states are displacements."""
        affine = self.affine_map()
        if affine is None:
            return None, None
        weight, bias = affine
        return weight.detach().T.cpu().numpy(), bias.detach().cpu().numpy()

    @property
    def can_stream(self) -> bool:
        """Whether this network can animate speech while it arrives."""
        return type(self).open_stream is not Student.open_stream

    def open_stream(self, style: Tensor, fps: float, memory: int) -> StudentStream:
        """Start a clip whose audio arrives piece by piece.

        Args:
            style: (S,) weights of the training speakers.
            fps: frame rate of the motion.
            memory: number of past frames that the network uses.

        Raises:
            BadInput: the network cannot, see `not_streamed`.
        """
        raise BadInput(
            f"a stream of {self.network}",
            expected="a student that can animate speech while it arrives",
            found=self.not_streamed,
            fix="Use learn2talk animate, or another model.",
        )

    def __str__(self) -> str:
        return f"{self.network}, {self.vertex_count} vertices, {self.style_count} styles"


def _rows(weight: Tensor, bias: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (3n, d) and bias (3n,) of the vertices `region` in an affine map."""
    # the gradient of index_select is added up several times as fast as that of an index
    weight, bias = (x.unflatten(0, (-1, 3)).index_select(0, region).flatten(0, 1) for x in (weight, bias))
    return weight, bias


def save_student(folder: str | Path, student: Student, *, fps: float, speakers: tuple[str, ...], **notes: Any) -> None:
    """Write a student: its weights, and the settings needed to rebuild it.

    `notes` document its origin; `recipe` among them is that of its corpus, which `load_student` checks.
    """
    about = {"network": student.network, "fps": fps, "speakers": list(speakers), "notes": notes}
    save_weights(folder, student, {**student.settings(), **about})


Network = TypeVar("Network", bound=Student)


def load_as(
    network: type[Network], folder: str | Path, *, made_by: str, recipe: str | None = None
) -> tuple[Network, tuple[str, ...]]:
    """`loading.load_student` where the network is known, without the code of any other network."""

    def build(config: dict[str, Any]) -> Network:
        if recipe is not None:
            refuse_other_recipe(folder, config["notes"].get("recipe"), recipe)
        return network.from_settings({**config, "style_count": len(config["speakers"])})

    student, config = load_network(folder, build, made_by=made_by)
    return student, tuple(config["speakers"])
