"""The responses of the viewer's server, by address. `server` adds HTTP and access checks."""

import hashlib
import random
import re
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learn2talk.viewer.blind import QUESTIONS, BlindSessions
from learn2talk.viewer.live import LiveSpeech
from learn2talk.viewer.messages import BINARY, WAV, Refused, Request, Response, as_json, as_numbers, remember
from learn2talk.viewer.preference import Records
from learn2talk.viewer.scene import Motion, ViewerClip, as_wav, motion_of, packed_splats, peaks
from learn2talk_core.mesh.look import OTHER_ROUGHNESS, ROUGHNESS, TWO_SIDED, split_at_seams
from learn2talk_core.report.names import row_title

if TYPE_CHECKING:
    from learn2talk_core.animation.animator import Animator
    from learn2talk_core.avatar.avatar import Avatar

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
ASSETS = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}
UPLOAD = 64 << 20  # largest uploaded sound in bytes
LONGEST = 600.0  # its longest duration in seconds; the student encodes it as a whole
PIECE = 1 << 20  # bytes of live sound per request, half a minute
SMALL = 4 << 10  # largest body of any other request in bytes
KEPT = 16  # uploads that are kept


class App:
    """The state of the viewer.

    Args:
        clips: the clips to show.
        load: loads the student; called when the first sound is animated.
        out: folder for the preferences.
        style: style for animated sounds, if the page does not give one.
        avatar: a splat avatar, shown beside each motion of its mesh.
        chunk, look_ahead, live: settings of live speech, see `LiveSpeech`.
        rng: draws the blind trials.
    """

    def __init__(
        self,
        clips: Sequence[ViewerClip],
        load: "Callable[[], Animator]",
        *,
        out: Path = Path("out/view"),
        style: str | None = None,
        avatar: "Avatar | None" = None,
        chunk: float = 0.4,
        look_ahead: float = 0.4,
        rng: random.Random | None = None,
        **live: Any,
    ) -> None:
        self.clips, self._load, self._style, self._avatar = clips, load, style, avatar
        self._live = LiveSpeech(chunk, look_ahead, **live)
        self._blind = BlindSessions(Records(out), rng or random.SystemRandom())
        self._uploads: dict[str, ViewerClip] = {}
        self._arrays: dict[str, bytes] = {}
        self._animating, self._loading = threading.Lock(), threading.Lock()

    def answer(self, method: str, path: str, request: Request) -> Response:
        """Answer one request.

        Raises:
            Refused: unknown address, or wrong method.
            BadInput: the data sent cannot be used; the text says why.
        """
        for allowed, pattern, _, function in ROUTES:
            if match := re.fullmatch(pattern, path):
                if method != allowed:
                    raise Refused(405, f"This address accepts only {allowed}.")
                return function(self, request, *match.groups())
        raise Refused(404, "Nothing was found at this address.")

    def page(self, _: Request, name: str) -> Response:
        """Return a static file of the pages."""
        if name not in ASSETS:
            raise Refused(404, "Nothing was found at this address.")
        return Response(ASSETS[name].read_bytes(), TYPES[ASSETS[name].suffix])

    def clip_list(self, _: Request) -> Response:
        """List all clips and their methods, and the server settings that the pages need."""
        known = {str(number): clip for number, clip in enumerate(self.clips)} | self._uploads.copy()
        listed = [
            {"id": key, "title": clip.title, "group": clip.group, "methods": [motion.name for motion in clip.motions]}
            for key, clip in known.items()
        ]
        live = {"chunk": self._live.chunk, "look_ahead": self._live.look_ahead, "style": self._style or ""}
        limits = {"bytes": UPLOAD, "seconds": LONGEST}
        return as_json({"clips": listed, "questions": QUESTIONS, "live": live, "limits": limits})

    def describe(self, _: Request, key: str) -> Response:
        """Describe a clip, without its motion data."""
        clip = self._clip(key)
        return as_json(
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
        """Return the sound as a WAV file."""
        return Response(memoryview(self._clip(key).sound), WAV)

    def peaks(self, _: Request, key: str) -> Response:
        """Return the waveform outline: float32 pairs (minimum, maximum)."""
        return as_numbers(peaks(self._clip(key).samples))

    def opening(self, _: Request, key: str, number: str) -> Response:
        """Return the lip opening, float32, in mm per frame."""
        return as_numbers(self._motion(key, number).opening())

    def rows(self, _: Request, key: str, number: str, piece: str) -> Response:
        """Return a piece of a motion; see `Motion.packed`."""
        motion = self._motion(key, number)
        if int(piece) * motion.piece >= len(motion.rows):
            raise Refused(404, "This piece is after the end of the motion.")
        return Response(motion.packed(int(piece)), BINARY)

    def array(self, _: Request, name: str) -> Response:
        """Return an array that a description refers to."""
        if name not in self._arrays:
            raise Refused(404, "Unknown array.")
        return Response(self._arrays[name], BINARY, immutable=True)

    def animate(self, request: Request) -> Response:
        """Animate an uploaded sound; returns the id of the new clip."""
        name = request.query.get("name", "")[:80] or "sound"
        with tempfile.NamedTemporaryFile() as file:
            file.write(request.body)
            file.flush()
            clip = self._animated(Path(file.name), name, request)
        return as_json({"id": remember(self._uploads, clip, KEPT)})

    def live_start(self, request: Request) -> Response:
        """Start a live session; returns its key and the face that it moves."""
        key, face = self._live.start(self.animator, request.query.get("style") or self._style)
        moves = face.pivot is not None
        return as_json({"id": key, "motion": {**self._described(motion_of(face, self._title)), "head_moves": moves}})

    def live_face(self, _: Request) -> Response:
        """Describe the face at rest, which the live page shows before there is sound."""
        face = self._live.resting(self.animator, self._style)
        return as_json({"motion": {**self._described(motion_of(face, self._title)), "head_moves": False}})

    def live_feed(self, request: Request, key: str) -> Response:
        """Feed sound to a live session; returns the frames that are ready. The query `last` ends the session."""
        return as_numbers(self._live.feed(key, request.body, last="last" in request.query))

    def blind_start(self, request: Request) -> Response:
        """Start a session of blind trials."""
        return as_json(self._blind.start(request.object(), self.clips))

    def blind_answer(self, request: Request, key: str, number: str) -> Response:
        """Record the answer to one trial."""
        return as_json(self._blind.answer(key, int(number), request.object().get("choice")))

    def blind_result(self, _: Request, key: str) -> Response:
        """Return the result of a session."""
        return as_json(self._blind.result(key))

    @property
    def animator(self) -> "Animator":
        """The student, loaded on first use."""
        with self._loading:
            return self._animator

    @cached_property
    def _animator(self) -> "Animator":
        return self._load()

    @property
    def _title(self) -> str:
        """The model's own name."""
        return model_title(self.animator)

    def _animated(self, path: Path, name: str, request: Request) -> ViewerClip:
        from learn2talk_core.animation.animator import AUTO
        from learn2talk_core.audio.mono import Limit
        from learn2talk_core.audio.sound import read_sound

        limit = Limit(LONGEST, f"up to {LONGEST:g} s of sound", "Cut it, or use learn2talk animate.")
        wave = read_sound(path, allow_silence=True, limit=limit, name=name)
        while not self._animating.acquire(timeout=0.2):  # one at a time
            request.refuse_if_gone()
        try:
            request.refuse_if_gone()
            weights = self.animator.style_weights(request.query.get("style") or self._style or AUTO, wave)
            animation = self.animator.animate(wave, style=weights)
        finally:
            self._animating.release()
        request.refuse_if_gone()
        return ViewerClip(
            name, "Yours", (motion_of(animation, self._title),), as_wav(wave), note=f"Style {'+'.join(weights)}."
        )

    def _clip(self, key: str) -> ViewerClip:
        if key.isdecimal() and int(key) < len(self.clips):
            return self.clips[int(key)]
        clip = self._uploads.get(key) or self._blind.clips.get(key)
        if clip is None:
            raise Refused(404, "Unknown clip.")
        return clip

    def _motion(self, key: str, number: str) -> Motion:
        motions = self._clip(key).motions
        if int(number) >= len(motions):
            raise Refused(404, "Unknown motion.")
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
            "avatar": self._splats(motion),
            "look": self._look(motion),
            "follow": None if motion.follow is None else self._address(np.asarray(motion.follow, "<f4")),
        }

    def _look(self, motion: Motion) -> dict[str, Any] | None:
        """The texture (JPEG) and the parts of the mesh, if it has them."""
        look = motion.look
        if look is None:
            return None
        parts = []
        for number, name in enumerate(look.names):
            uv, vertices, indices = split_at_seams(motion.topology.faces, look, np.flatnonzero(look.part == number))
            parts.append(
                {
                    "name": name,
                    "roughness": ROUGHNESS.get(name, OTHER_ROUGHNESS),
                    "two_sided": name in TWO_SIDED,
                    "uv": self._address(np.asarray(uv, "<f4")),
                    "vertices": self._address(np.asarray(vertices, "<u4")),
                    "faces": self._address(np.asarray(indices, "<u4")),
                }
            )
        return {"texture": self._address(np.frombuffer(look.encoded, np.uint8)), "parts": parts}

    def _splats(self, motion: Motion) -> dict[str, Any] | None:
        """The avatar's splats for `splats.js`, if the motion moves the avatar's mesh."""
        avatar = self._avatar
        if avatar is None or not np.array_equal(motion.topology.faces, avatar.faces):
            return None
        change = avatar.template * np.float32(avatar.mm_per_unit / motion.mm_per_unit) - motion.rest
        splats = packed_splats(avatar)
        return {
            "count": len(splats),
            "local": avatar.local,
            "splats": self._address(splats),
            "change": self._address(np.asarray(change, "<f4")),
        }

    def _address(self, array: np.ndarray) -> str:
        """The name under which an array can be fetched: the hash of its bytes, so a browser fetches a basis once."""
        content = np.ascontiguousarray(array).tobytes()
        name = hashlib.sha256(content).hexdigest()
        self._arrays.setdefault(name, content)
        return name


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
    ("GET", r"api/live/face", 0, App.live_face),
    ("POST", r"api/live", SMALL, App.live_start),
    ("POST", rf"api/live/{_KEY}", PIECE, App.live_feed),
    ("POST", r"api/blind", SMALL, App.blind_start),
    ("POST", rf"api/blind/{_KEY}/(\d{{1,3}})", SMALL, App.blind_answer),
    ("GET", rf"api/blind/{_KEY}", 0, App.blind_result),
    ("GET", r"([\w.-]+)", 0, App.page),
]


def model_title(animator: "Animator") -> str:
    """The name of a model: that of its row in the result table, or of its network and its folder."""
    folder, network = Path(str(animator.about.get("folder", ""))).name, row_title(animator.student.network)
    if folder and row_title(folder) != folder:
        return row_title(folder)
    return f"{network} ({folder})" if folder else network


def largest_body(path: str) -> int:
    """The largest request body that this address accepts, in bytes."""
    return max((size for _, pattern, size, _ in ROUTES if re.fullmatch(pattern, path)), default=0)
