"""Display names and colours of rows and students, in tables, pictures and the viewer."""

from collections.abc import Sequence

REFERENCES = {"truth": "Truth", "template": "Static template", "mean_motion": "Mean motion"}
STUDENTS = {"faceformer": "FaceFormer", "learn2talk": "Learn2Talk"}  # others keep their name in params.yaml
MEAN_STYLE = "_mean_style"  # suffix of the row of a student that is averaged over all styles
TRUTH, FIRST, SECOND = "#222222", "#d98a00", "#0072b2"
PALETTE = (FIRST, SECOND, "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#777777")  # safe for colour-blind readers


def row_title(name: str) -> str:
    """The display name of a row of the result table."""
    if name.endswith(MEAN_STYLE):
        return f"{row_title(name.removesuffix(MEAN_STYLE))}, all styles"
    return REFERENCES.get(name) or STUDENTS.get(name, name)


def row_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each of `names`: nearly black for `truth`, the palette's colours in order for the students."""
    others = [name for name in names if name != "truth"]
    return {"truth": TRUTH} | {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(others)}
