"""Blind comparison of two methods: preferences and their significance, as in the paper's user study, Tab. IV.

Ties are recorded but not tested: the sign test counts only answers with a preference (Dixon & Mood 1946).
"""

import csv
import io
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from scipy.stats import binomtest

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file

CHOICES = ("left", "right", "tie")


@dataclass(frozen=True)
class Trial:
    """A clip shown with one method on the left and another on the right."""

    clip: str
    left: str
    right: str


@dataclass(frozen=True)
class Preference:
    """The answer to one trial; `choice` is one of `CHOICES`, `preferred` the method, empty for a tie."""

    when: str
    session: str
    person: str
    question: str
    clip: str
    left: str
    right: str
    choice: str
    preferred: str


@dataclass(frozen=True)
class Verdict:
    """How often each of two methods was preferred.

    Attributes:
        share: share of `first` among the answers with a preference, 0.5 if there are none.
        p_value: p-value of the exact two-sided binomial test against one half.
    """

    first: str
    second: str
    first_wins: int
    second_wins: int
    ties: int
    share: float
    p_value: float


def trials(clips: Sequence[str], first: str, second: str, count: int, rng: random.Random) -> list[Trial]:
    """Up to `count` clips in random order, none twice; each method is on the left in half of them, in random order."""
    chosen = rng.sample(list(clips), min(count, len(clips)))
    sides = [(first, second), (second, first)]
    rng.shuffle(sides)  # which method is on the left once more, if the number is odd
    sides = (sides * len(chosen))[: len(chosen)]
    rng.shuffle(sides)
    return [Trial(clip, left, right) for clip, (left, right) in zip(chosen, sides, strict=True)]


def count_preferences(preferences: Sequence[Preference], first: str, second: str, question: str) -> Verdict:
    """Count those of `preferences` that are about these two methods and this question."""
    own = [one for one in preferences if {one.left, one.right} == {first, second} and one.question == question]
    wins, losses = (sum(one.preferred == name for one in own) for name in (first, second))
    decided = wins + losses
    return Verdict(
        first=first,
        second=second,
        first_wins=wins,
        second_wins=losses,
        ties=len(own) - decided,
        share=wins / decided if decided else 0.5,
        p_value=float(binomtest(wins, decided).pvalue) if decided else 1.0,
    )


class Records:
    """The table of all preferences in a folder, `preferences.csv`; it is replaced atomically."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "preferences.csv"
        self._lock = threading.Lock()

    def read(self) -> list[Preference]:
        """Read all recorded preferences."""
        if not self.path.is_file():
            return []
        names = [column.name for column in fields(Preference)]
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file, strict=True)
                rows = list(reader)
            if reader.fieldnames != names or any(None in (*row, *row.values()) for row in rows):
                raise ValueError("other columns")
        except (ValueError, csv.Error) as error:
            fix = "Move the file away; a new one will be created."
            raise BadInput(self.path, expected=f"a table of {', '.join(names)}", found=str(error), fix=fix) from error
        return [Preference(**row) for row in rows]

    def add(self, preference: Preference) -> None:
        """Append one preference."""
        with self._lock:
            rows: list[Mapping[str, str]] = [asdict(one) for one in (*self.read(), preference)]
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            with whole_file(self.path) as partial:
                partial.write_text(text.getvalue(), encoding="utf-8", newline="")
