"""The students of a run: the groups `students` and `taught_students` of params.yaml."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from learn2talk_core.run.errors import BadInput

REFERENCE_ROWS = ("truth", "template", "mean_motion")  # rows of the result table that no student made
MEAN_STYLE = "_mean_style"  # suffix of the row of a student that is averaged over all styles


@dataclass(frozen=True)
class PlainStudent:
    """A student that is trained with the losses of its own paper, or imported from `checkpoint`."""

    network: str
    checkpoint: str


@dataclass(frozen=True)
class TaughtStudent:
    """A student that is also trained with Learn2Talk's two losses."""

    network: str


def student_names(students: Mapping[str, PlainStudent], taught: Mapping[str, TaughtStudent]) -> list[str]:
    """The names of all students in the order of the result table.

    Raises:
        BadInput: no student at all, a name in both groups, or a name that is not a plain file name.
    """
    names = [*students, *taught]
    fix = "Use letters, digits, - and _; use each name once."
    if not names:
        raise BadInput("params.yaml: students", expected="at least one student", found="none", fix="Add one.")
    for name in names:
        if names.count(name) > 1 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name.endswith(MEAN_STYLE):
            raise BadInput("params.yaml: students", expected="distinct plain names", found=repr(name), fix=fix)
    return names


def student_pairs(students: Mapping[str, PlainStudent], taught: Mapping[str, TaughtStudent]) -> list[tuple[str, str]]:
    """Pairs of a taught student and the plain student of the same network, if there is one."""
    own = {student.network: name for name, student in students.items()}
    return [(name, own[student.network]) for name, student in taught.items() if student.network in own]
