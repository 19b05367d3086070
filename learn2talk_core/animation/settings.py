"""The settings of an artist, which `control.controlled` applies. Light to import: checked before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass

from learn2talk_core.animation.blend_shapes import ARKIT, OCULUS
from learn2talk_core.animation.edits import GROUPS, Edit
from learn2talk_core.run.errors import BadInput

LARGEST = 4.0  # gain


@dataclass(frozen=True)
class Control:
    """Settings that change a motion.

    Attributes:
        gains: factors by group (`edits.GROUPS`), ARKit shape or viseme (`OCULUS`).
        smooth: cut-off in hertz of a low pass without delay (Butterworth of order 2, forwards and backwards: a quarter
            of the power at the cut-off); None for none.
        rest: bring the face to rest in pauses of the sound.
        edits: from `edits.read_edits` and `edits.expression`, in the order in which they are applied.

    Raises:
        BadInput: a gain that is unknown, or outside 0 … 4; a cut-off that is not positive.
    """

    gains: Mapping[str, float]
    smooth: float | None = None
    rest: bool = False
    edits: tuple[Edit, ...] = ()

    def __post_init__(self) -> None:
        known = {*GROUPS, *ARKIT, *OCULUS}
        for name, gain in self.gains.items():
            if name not in known:
                expected = f"one of {', '.join(GROUPS)}, an ARKit shape or a viseme"
                raise BadInput("--gain", expected=expected, found=name, fix="docs/animate.md lists them.")
            if not 0 <= gain <= LARGEST:
                raise BadInput(
                    "--gain", expected=f"0 … {LARGEST:g} for {name}", found=f"{gain:g}", fix="1 is no change."
                )
        if self.smooth is not None and not 0.1 <= self.smooth <= 1000:
            raise BadInput(
                "--smooth", expected="0.1 … 1000 hertz", found=f"{self.smooth:g}", fix="8 is a usual cut-off of curves."
            )


NO_CONTROL = Control({})


def parse_gains(text: str) -> dict[str, float]:
    """Parse `jaw=1.3,lips=1.1`."""
    gains: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            gains[name] = float(number)
        except ValueError:
            found = part if equals else f"{part} without a number"
            raise BadInput("--gain", expected="NAME=NUMBER, such as jaw=1.3", found=found, fix="Correct it.") from None
    return gains
