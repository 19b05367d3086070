"""Display names and colours of rows and students, in tables, pictures and the viewer."""

from collections.abc import Sequence

from learn2talk_core.run.students import MEAN_STYLE

REFERENCE_TITLES = {"truth": "Truth", "template": "Static template", "mean_motion": "Mean motion"}
STUDENT_TITLES = {  # others keep their name in params.yaml
    "faceformer": "FaceFormer", "learn2talk": "Learn2Talk", "selftalk": "SelfTalk", "codetalker": "CodeTalker",
    "voca": "VOCA", "meshtalk": "MeshTalk",
}  # fmt: skip
TRUTH, FIRST, SECOND = "#222222", "#d98a00", "#0072b2"
PALETTE = (FIRST, SECOND, "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#777777")  # safe for colour-blind readers


def row_title(name: str) -> str:
    """The display name of a row of the result table."""
    if name.endswith(MEAN_STYLE):
        return f"{row_title(name.removesuffix(MEAN_STYLE))}, all styles"
    return REFERENCE_TITLES.get(name) or STUDENT_TITLES.get(name, name)


def row_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each of `names`: nearly black for `truth`, the palette's colours in order for the students."""
    others = [name for name in names if name != "truth"]
    return {"truth": TRUTH} | {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(others)}
