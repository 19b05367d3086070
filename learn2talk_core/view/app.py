"""What the viewer's server answers: addresses in, values out. `server` guards them and speaks HTTP."""

import hashlib
import json
import random
import re
import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.errors import BadInput
from learn2talk_core.view.preference import CHOICES, QUESTIONS, Preference, Records, Trial, trials, verdict
from learn2talk_core.view.scene import Clip, Motion, as_wav, motion_of, peaks

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
BINARY, JSON, WAV = "application/octet-stream", "application/json", "audio/wav"
UPLOAD = 64 << 20  # bytes of a sound that is dropped on the page
LONGEST = 600.0  # seconds of it, which the student encodes as a whole
PIECE = 1 << 20  # bytes of live sound at a time, half a minute
SMALL = 4 << 10  # bytes of any other request
KEPT = 16  # uploads, blind trials and live sessions that are remembered; the oldest goes first
MOST_TRIALS = 200


class Refused(Exception):
    """A request that is not answered: an HTTP status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        super().__init__(text)


class Response(NamedTuple):
    """What is sent back."""

    body: bytes | memoryview
    kind: str = JSON
    immutable: bool = False  # its address will never mean anything else


@dataclass(frozen=True)
class Request:
    """What was asked. `gone` says whether nobody waits for the answer any more."""

    query: Mapping[str, str]
    body: bytes = b""
    gone: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Live:
    """A stream that is being fed; `turn` is held while it is, since its pieces come in order."""

    stream: Any
    turn: threading.Lock = field(default_factory=threading.Lock)


class Session(NamedTuple):
    """Somebody's blind trials."""

    person: str
    question: str
    methods: tuple[str, str]
    trials: list[Trial]
    clips: list[str]  # under which they can be fetched
    answered: set[int]


@dataclass(frozen=True)
class App:
    """The viewer's state: clips that were there from the start, and what came during the run.

    Attributes:
        clips: what is shown.
        load: loads the animator, when a sound is first to be animated.
        out: folder for the preferences.
        style: of live speech and uploads, where the page does not say.
        chunk, look_ahead: of live speech, in seconds.
        rng: draws the blind trials.
    """

    clips: Sequence[Clip]
    load: Callable[[], Any]
    out: Path = Path("out/view")
    style: str | None = None
    chunk: float = 0.4
    look_ahead: float = 0.4
    rng: random.Random = field(default_factory=random.SystemRandom)
    _uploads: "OrderedDict[str, Clip]" = field(default_factory=OrderedDict)
    _hidden: "OrderedDict[str, Clip]" = field(default_factory=OrderedDict)
    _sessions: "OrderedDict[str, Session]" = field(default_factory=OrderedDict)
    _live: "OrderedDict[str, Live]" = field(default_factory=OrderedDict)
    _arrays: dict[str, bytes] = field(default_factory=dict)
    _busy: threading.Lock = field(default_factory=threading.Lock)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, request: Request) -> Response:
        """The answer to one request.

        Raises:
            Refused: no such address, or one that is used wrongly.
            BadInput: what was sent cannot be used; the text says why.
        """
        for allowed, pattern, _, function in ROUTES:
            if match := re.fullmatch(pattern, path):
                if method != allowed:
                    raise Refused(405, f"Only {allowed} is possible here.")
                return function(self, request, *match.groups())
        raise Refused(404, "There is nothing at this address.")

    def page(self, _: Request, name: str) -> Response:
        """A file of the page."""
        if name not in ASSETS:
            raise Refused(404, "There is nothing at this address.")
        return Response(ASSETS[name].read_bytes(), TYPES[ASSETS[name].suffix])

    def clip_list(self, _: Request) -> Response:
        """Names of all clips that have a motion, and what can be compared."""
        known = {**{str(i): clip for i, clip in enumerate(self.clips)}, **dict(self._uploads)}
        listed = [
            {"id": key, "title": clip.title, "group": clip.group, "methods": [m.name for m in clip.motions]}
            for key, clip in known.items()
        ]
        return _json(
            {
                "clips": listed,
                "questions": QUESTIONS,
                "live": {"chunk": self.chunk, "look_ahead": self.look_ahead, "style": self.style or ""},
                "limits": {"bytes": UPLOAD, "seconds": LONGEST},
            }
        )

    def describe(self, _: Request, key: str) -> Response:
        """A clip, without its numbers."""
        clip = self._clip(key)
        return _json(
            {
                "id": key,
                "title": clip.title,
                "text": clip.text,
                "note": clip.note,
                "seconds": clip.seconds,
                "phonemes": [[one.start, one.end, one.name] for one in clip.phonemes],
                "truth": clip.truth,
                "motions": [self._described(motion) for motion in clip.motions],
            }
        )

    def sound(self, _: Request, key: str) -> Response:
        """The sound as a WAV file."""
        return Response(memoryview(self._clip(key).sound), WAV)

    def peaks(self, _: Request, key: str) -> Response:
        """The outline of the sound: float32 pairs."""
        return _numbers(peaks(self._clip(key).samples))

    def opening(self, _: Request, key: str, number: str) -> Response:
        """How far the lips are apart, float32 mm a frame."""
        return _numbers(self._motion(key, number).opening())

    def rows(self, _: Request, key: str, number: str, piece: str) -> Response:
        """A piece of a motion; see `Motion.packed`."""
        motion = self._motion(key, number)
        if int(piece) * motion.piece >= len(motion.rows):
            raise Refused(404, "The motion has ended before.")
        return Response(motion.packed(int(piece)), BINARY)

    def array(self, _: Request, name: str) -> Response:
        """An array that a description named."""
        if name not in self._arrays:
            raise Refused(404, "There is no such array.")
        return Response(self._arrays[name], BINARY, immutable=True)

    def animate(self, request: Request) -> Response:
        """A sound comes in, a new clip comes out."""
        name = request.query.get("name", "")[:80] or "sound"
        with tempfile.NamedTemporaryFile() as file:
            file.write(request.body)
            file.flush()
            try:
                clip = self._animated(Path(file.name), name, request)
            except BadInput as error:  # by the name that the user knows
                where = name if str(error.where) == file.name else error.where
                raise BadInput(where, expected=error.expected, found=error.found, fix=error.fix) from error
        return _json({"id": _remember(self._uploads, clip)})

    def live_start(self, request: Request) -> Response:
        """A live session begins: its address, and the face that it moves."""
        style = request.query.get("style") or self.style
        first, stream = (
            self.animator.stream(style=style, chunk=self.chunk, look_ahead=self.look_ahead, states=True)
            for _ in range(2)
        )
        # What runs for the first time is slow: have that behind us before somebody speaks.
        first.feed(np.zeros(int((self.chunk + self.look_ahead + 0.2) * SAMPLE_RATE), np.int16))
        description = self._described(motion_of(stream.face, "Learn2Talk"))
        return _json({"id": _remember(self._live, Live(stream)), "motion": description})

    def live_feed(self, request: Request, key: str) -> Response:
        """16 kHz mono of 16 bits comes in, states come out, float32; `last` ends the session."""
        live = self._live.get(key)
        if live is None:
            raise Refused(410, "This live session is over.")
        if len(request.body) % 2:
            raise Refused(400, "Samples have two bytes.")
        with live.turn:
            if self._live.get(key) is not live:
                raise Refused(410, "This live session is over.")
            states = live.stream.feed(np.frombuffer(request.body, "<i2").astype(np.int16))
            if "last" in request.query:
                states = np.concatenate([states, live.stream.finish()])
                self._live.pop(key, None)
        return _numbers(states)

    def blind_start(self, request: Request) -> Response:
        """Draw blind trials of two methods; the answer does not say which is on which side."""
        asked = _object(request.body)
        first, second, question = (str(asked.get(name)) for name in ("first", "second", "question"))
        person = str(asked.get("person", ""))
        if question not in QUESTIONS or first == second or not re.fullmatch(r"[\w .-]{0,40}", person):
            fix = "A name has up to 40 letters, digits, blanks, dots and hyphens."
            raise BadInput("comparison", expected="two methods and a question", found=str(asked)[:200], fix=fix)
        count = asked.get("trials")
        if not isinstance(count, int) or not 1 <= count <= MOST_TRIALS:
            fix = "Choose another number."
            raise BadInput("trials", expected=f"1 … {MOST_TRIALS}", found=str(count)[:20], fix=fix)
        shown = {str(i): clip for i, clip in enumerate(self.clips) if {first, second} <= _methods(clip)}
        if not shown:
            fix = "Choose two of the list."
            raise BadInput("comparison", expected="clips with both methods", found="none", fix=fix)
        drawn = trials(list(shown), first, second, count, self.rng)
        hidden = [_remember(self._hidden, _blind(shown[trial.clip], trial), MOST_TRIALS) for trial in drawn]
        named = [replace(trial, clip=shown[trial.clip].title) for trial in drawn]
        key = _remember(self._sessions, Session(person, question, (first, second), named, hidden, set()))
        return _json({"id": key, "clips": hidden, "question": QUESTIONS[question]})

    def blind_answer(self, request: Request, key: str, number: str) -> Response:
        """Record what somebody prefers."""
        session, choice = self._sessions.get(key), _object(request.body).get("choice")
        if session is None or int(number) >= len(session.trials):
            raise Refused(404, "There is no such trial.")
        if choice not in CHOICES:
            raise BadInput("choice", expected=", ".join(CHOICES), found=str(choice)[:40], fix="Choose one of them.")
        trial = session.trials[int(number)]
        preferred = {"left": trial.left, "right": trial.right, "tie": ""}[choice]
        when = datetime.now(UTC).isoformat(timespec="seconds")
        with self._busy:
            if int(number) in session.answered:
                raise Refused(409, "This trial is answered.")
            self._records.add(
                Preference(
                    when, key, session.person, session.question, trial.clip, trial.left, trial.right, choice, preferred
                )
            )
            session.answered.add(int(number))
        return _json({"answered": len(session.answered), "of": len(session.trials)})

    def blind_result(self, _: Request, key: str) -> Response:
        """The share and its p-value, of this session and of all that the folder holds."""
        session = self._sessions.get(key)
        if session is None:
            raise Refused(404, "There is no such session.")
        all_of_them = self._records.read()
        own = [one for one in all_of_them if one.session == key]
        here, there = (asdict(verdict(some, *session.methods, session.question)) for some in (own, all_of_them))
        return _json({"session": here, "all": there, "file": str(self._records.path)})

    @property
    def animator(self) -> Any:
        """The student; loaded when it is first asked for."""
        with self._loading:
            return self._animator

    @cached_property
    def _animator(self) -> Any:
        return self.load()

    @cached_property
    def _records(self) -> Records:
        return Records(self.out)

    def _animated(self, path: Path, name: str, request: Request) -> Clip:
        from learn2talk_core.animator import AUTO
        from learn2talk_core.audio.sound import read_sound

        wave = read_sound(path, longest=LONGEST)
        while not self._busy.acquire(timeout=0.2):  # one at a time
            _refuse_if_gone(request)
        try:
            _refuse_if_gone(request)
            weights = self.animator.style_weights(request.query.get("style") or self.style or AUTO, wave)
            animation = self.animator.animate(wave, style=weights)
        finally:
            self._busy.release()
        _refuse_if_gone(request)
        styles = "+".join(weights)
        return Clip(name, "Yours", (motion_of(animation, "Learn2Talk"),), as_wav(wave), note=f"Style {styles}.")

    def _clip(self, key: str) -> Clip:
        if key.isdecimal() and int(key) < len(self.clips):
            return self.clips[int(key)]
        clip = self._uploads.get(key) or self._hidden.get(key)
        if clip is None:
            raise Refused(404, "There is no such clip.")
        return clip

    def _motion(self, key: str, number: str) -> Motion:
        motions = self._clip(key).motions
        if int(number) >= len(motions):
            raise Refused(404, "There is no such motion.")
        return motions[int(number)]

    def _described(self, motion: Motion) -> dict[str, Any]:
        return {
            "name": motion.name,
            "fps": motion.fps,
            "frames": len(motion.rows),
            "columns": int(np.prod(motion.rows.shape[1:])),
            "piece": motion.piece,
            "mm_per_unit": motion.mm_per_unit,
            "has_opening": len(motion.topology.lip_pairs) > 0,
            "rest": self._address(np.asarray(motion.rest, "<f4")),
            "basis": None if motion.basis is None else self._address(np.asarray(motion.basis, "<f4")),
            "faces": self._address(np.asarray(motion.topology.faces, "<u4")),
            "colours": self._address(np.round(255 * np.clip(motion.topology.colours, 0, 1)).astype("u1")),
        }

    def _address(self, array: np.ndarray) -> str:
        """Under which an array can be fetched: the hash of its bytes, so that a browser fetches a basis once."""
        content = np.ascontiguousarray(array).tobytes()
        name = hashlib.sha256(content).hexdigest()
        self._arrays.setdefault(name, content)
        return name


ASSETS = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.suffix in TYPES}
_KEY = r"([\w-]{1,40})"
ROUTES: list[tuple[str, str, int, Callable[..., Response]]] = [  # method, address, largest body, function
    ("GET", r"api/clips", 0, App.clip_list),
    ("GET", rf"api/clips/{_KEY}", 0, App.describe),
    ("GET", rf"api/clips/{_KEY}/sound", 0, App.sound),
    ("GET", rf"api/clips/{_KEY}/peaks", 0, App.peaks),
    ("GET", rf"api/clips/{_KEY}/(\d{{1,3}})/opening", 0, App.opening),
    ("GET", rf"api/clips/{_KEY}/(\d{{1,3}})/rows/(\d{{1,9}})", 0, App.rows),
    ("GET", r"api/arrays/([0-9a-f]{64})", 0, App.array),
    ("POST", r"api/animate", UPLOAD, App.animate),
    ("POST", r"api/live", SMALL, App.live_start),
    ("POST", rf"api/live/{_KEY}", PIECE, App.live_feed),
    ("POST", r"api/blind", SMALL, App.blind_start),
    ("POST", rf"api/blind/{_KEY}/(\d{{1,3}})", SMALL, App.blind_answer),
    ("GET", rf"api/blind/{_KEY}", 0, App.blind_result),
    ("GET", r"([\w.-]+)", 0, App.page),
]


def largest_body(path: str) -> int:
    """Bytes that a request to this address may bring."""
    return max((size for _, pattern, size, _ in ROUTES if re.fullmatch(pattern, path)), default=0)


def _blind(clip: Clip, trial: Trial) -> Clip:
    """A clip with two nameless motions."""
    by_name = {motion.name: motion for motion in clip.motions}
    motions = tuple(replace(by_name[name], name=side) for name, side in ((trial.left, "Left"), (trial.right, "Right")))
    return replace(clip, motions=motions, truth=None, note="")


def _methods(clip: Clip) -> set[str]:
    return {motion.name for motion in clip.motions}


def _remember(shelf: "OrderedDict[str, Any]", thing: Any, kept: int = KEPT) -> str:
    key = secrets.token_urlsafe(9)
    shelf[key] = thing
    while len(shelf) > kept:
        shelf.popitem(last=False)
    return key


def _refuse_if_gone(request: Request) -> None:
    if request.gone():
        raise Refused(499, "Cancelled.")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(400, "A JSON object is expected.")
    return value


def _json(value: Any) -> Response:
    return Response(json.dumps(value, allow_nan=False).encode())


def _numbers(array: np.ndarray) -> Response:
    return Response(np.ascontiguousarray(array, "<f4").tobytes(), BINARY)
