"""The sessions of the blind comparison: their trials, hidden sides and answers."""

import random
import re
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from learn2talk.viewer.messages import Refused, remember
from learn2talk.viewer.preference import CHOICES, Preference, Records, Trial, count_preferences, trials
from learn2talk.viewer.scene import ViewerClip
from learn2talk_core.run.errors import BadInput

QUESTIONS = {"lips": "Whose lips fit the sound better?", "natural": "Which face looks more natural?"}
MOST = 200  # largest number of trials per session, of trial clips kept, and of sessions kept
PERSON = r"[\w .-]{0,40}"


class Session(NamedTuple):
    """The trials of one person; `clips` are the keys under which they can be fetched."""

    person: str
    question: str
    methods: tuple[str, str]
    trials: list[Trial]
    clips: list[str]
    answered: set[int]


class BlindSessions:
    """The sessions of the blind page.

    Args:
        records: stores the answers.
        rng: draws the trials.

    Attributes:
        clips: the trials by key, as clips with two anonymous motions.
    """

    def __init__(self, records: Records, rng: random.Random) -> None:
        self.clips: dict[str, ViewerClip] = {}
        self._records, self._rng = records, rng
        self._sessions: dict[str, Session] = {}
        self._turn = threading.Lock()

    def start(self, asked: dict[str, Any], clips: Sequence[ViewerClip]) -> dict[str, Any]:
        """Draw trials from `clips`; the result does not reveal which method is on which side."""
        first, second, question = (str(asked.get(name)) for name in ("first", "second", "question"))
        person, count = str(asked.get("person", "")), asked.get("trials")
        if question not in QUESTIONS or first == second or not re.fullmatch(PERSON, person):
            fix = "A name has up to 40 letters, digits, spaces, dots and hyphens."
            raise BadInput(
                "comparison",
                expected="two different methods, a known question and a valid name",
                found=str(asked)[:200],
                fix=fix,
            )
        if not isinstance(count, int) or not 1 <= count <= MOST:
            raise BadInput("trials", expected=f"1 … {MOST}", found=str(count)[:20], fix="Choose another number.")
        shown = [clip for clip in clips if {first, second} <= {motion.name for motion in clip.motions}]
        if not shown:
            fix = "Choose two methods from the list."
            raise BadInput("comparison", expected="clips with both methods", found="none", fix=fix)
        drawn = trials([str(number) for number in range(len(shown))], first, second, count, self._rng)
        keys = [remember(self.clips, _nameless(shown[int(trial.clip)], trial), MOST) for trial in drawn]
        titled = [replace(trial, clip=shown[int(trial.clip)].title) for trial in drawn]
        session = Session(person, question, (first, second), titled, keys, set())
        return {"id": remember(self._sessions, session, MOST), "clips": keys, "question": QUESTIONS[question]}

    def answer(self, key: str, number: int, choice: object) -> dict[str, Any]:
        """Record the choice for one trial."""
        session = self._session(key)
        if number >= len(session.trials):
            raise Refused(404, "Unknown trial.")
        if choice not in CHOICES:
            raise BadInput("choice", expected=", ".join(CHOICES), found=str(choice)[:40], fix="Choose one of them.")
        trial = session.trials[number]
        answer = Preference(
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            session=key,
            person=session.person,
            question=session.question,
            clip=trial.clip,
            left=trial.left,
            right=trial.right,
            choice=str(choice),
            preferred={"left": trial.left, "right": trial.right, "tie": ""}[str(choice)],
        )
        with self._turn:
            if number in session.answered:
                raise Refused(409, "This trial has already been answered.")
            self._records.add(answer)
            session.answered.add(number)
        return {"answered": len(session.answered), "of": len(session.trials)}

    def result(self, key: str) -> dict[str, Any]:
        """Shares and p-values of this session and of all recorded answers."""
        session, everything = self._session(key), self._records.read()
        own = [one for one in everything if one.session == key]
        here, there = (
            asdict(count_preferences(some, *session.methods, session.question)) for some in (own, everything)
        )
        return {"session": here, "all": there, "file": str(self._records.path)}

    def _session(self, key: str) -> Session:
        session = self._sessions.get(key)
        if session is None:
            raise Refused(404, "Unknown session.")
        return session


def _nameless(clip: ViewerClip, trial: Trial) -> ViewerClip:
    by_name = {motion.name: motion for motion in clip.motions}
    sides = ((trial.left, "Left"), (trial.right, "Right"))
    motions = tuple(replace(by_name[name], name=side) for name, side in sides)
    return replace(clip, motions=motions, truth=None, note="")
