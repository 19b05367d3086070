"""What rows and students are called, and which colour they have, in tables, pictures and the viewer."""

from collections.abc import Sequence

REFERENCES = {"truth": "Truth", "template": "Static template", "mean_motion": "Mean motion"}
STUDENTS = {"faceformer": "FaceFormer", "learn2talk": "Learn2Talk"}  # others are called as params.yaml names them
MEAN_STYLE = "_mean_style"  # ends the row of a student that is averaged over all styles
TRUTH, FIRST, SECOND = "#222222", "#d98a00", "#0072b2"
PALETTE = (FIRST, SECOND, "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#777777")  # told apart by the colour-blind too


def row_title(name: str) -> str:
    """The name of a row of the result table for people."""
    if name.endswith(MEAN_STYLE):
        return f"{row_title(name.removesuffix(MEAN_STYLE))}, all styles"
    return REFERENCES.get(name) or STUDENTS.get(name, name)


def row_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each of `names`: `truth` is nearly black, the students take the palette in their order."""
    others = [name for name in names if name != "truth"]
    return {"truth": TRUTH} | {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(others)}
