"""One thing that is wrong with a corpus or a dataset."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: file, clip, speaker or setting.
        what: what is wrong.
        severity: error (it will not work, or the results are wrong), warning (something is lost or doubtful), or note.
        fix: what to do.
    """

    where: str
    what: str
    severity: Severity
    fix: str
