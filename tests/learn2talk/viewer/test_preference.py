import math
import random
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats import binomtest

from learn2talk.viewer.preference import Preference, Records, count_preferences, trials
from learn2talk_core.run.errors import BadInput


def said(choice: str, left: str = "A", right: str = "B", question: str = "lips") -> Preference:
    preferred = {"left": left, "right": right, "tie": ""}[choice]
    return Preference("2026-01-01T00:00:00+00:00", "s", "", question, "clip", left, right, choice, preferred)


def test_trials_are_of_different_clips_and_sides_are_even() -> None:
    clips = [str(number) for number in range(20)]
    drawn = trials(clips, "A", "B", 12, random.Random(1))
    assert len({trial.clip for trial in drawn}) == 12
    assert Counter(trial.left for trial in drawn) == {"A": 6, "B": 6}
    assert all({trial.left, trial.right} == {"A", "B"} for trial in drawn)
    assert drawn == trials(clips, "A", "B", 12, random.Random(1))
    assert drawn != trials(clips, "A", "B", 12, random.Random(2))
    assert len(trials(clips, "A", "B", 50, random.Random(1))) == 20


def test_every_order_is_drawn_and_the_odd_one_falls_on_either_side() -> None:
    rng = random.Random(0)
    sides = Counter(tuple(trial.left for trial in trials(["x", "y", "z"], "A", "B", 3, rng)) for _ in range(600))
    assert set(sides) == {
        ("A", "A", "B"),
        ("A", "B", "A"),
        ("B", "A", "A"),
        ("A", "B", "B"),
        ("B", "A", "B"),
        ("B", "B", "A"),
    }
    assert min(sides.values()) > 60


@pytest.mark.parametrize(
    ("wins", "losses", "ties"), [(9, 1, 0), (1, 9, 2), (5, 5, 1), (7, 6, 0), (24, 8, 3), (1, 0, 0)]
)
def test_p_is_the_exact_binomial_one(wins: int, losses: int, ties: int) -> None:
    answers = [said("left")] * wins + [said("left", "B", "A")] * losses + [said("tie")] * ties
    found = count_preferences(answers, "A", "B", "lips")
    n = wins + losses
    chances = [math.comb(n, k) / 2**n for k in range(n + 1)]
    expected = sum(chance for chance in chances if chance <= chances[wins] * (1 + 1e-9))
    assert found.p_value == pytest.approx(expected)
    assert found.p_value == pytest.approx(binomtest(wins, n).pvalue)
    assert (found.first_wins, found.second_wins, found.ties) == (wins, losses, ties)
    assert found.share == wins / n


def test_nobody_preferring_one_is_no_evidence() -> None:
    found = count_preferences(
        [said("tie")] * 4 + [said("left", question="natural"), said("left", "A", "C")], "A", "B", "lips"
    )
    assert (found.ties, found.share, found.p_value) == (4, 0.5, 1.0)


def test_records_grow_and_come_back(tmp_path: Path) -> None:
    records = Records(tmp_path / "out")
    assert records.read() == []
    records.add(said("left"))
    Records(tmp_path / "out").add(said("tie", 'a "b", c', "d"))
    assert records.read() == [said("left"), said("tie", 'a "b", c', "d")]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["preferences.csv"]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "when,session\n1,2,3\n", "\x00", 'when,"\n'])
def test_another_table_is_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "preferences.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"preferences\.csv: expected a table of when, session, person"):
        Records(tmp_path).add(said("left"))
    assert path.read_text() == text
