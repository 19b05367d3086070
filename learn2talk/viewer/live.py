"""Live speech: receives sound piece by piece and returns states of a face."""

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from learn2talk.viewer.messages import Refused, remember
from learn2talk_core.audio.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learn2talk_core.animation.animation import Animation
    from learn2talk_core.animation.animator import Animator
    from learn2talk_core.animation.stream import Stream
    from learn2talk_core.export.livelink import Paced, Sender

MOST = 4  # sessions at a time; beyond that the oldest is ended


class Speech(NamedTuple):
    """A stream and its lock `turn`: hold it while feeding, since pieces must be fed in order."""

    stream: "Stream"
    turn: threading.Lock
    receivers: "Paced | None"


class LiveSpeech:
    """The sessions of the live page.

    Args:
        chunk, look_ahead: seconds; see `Animator.stream`.
        senders: receivers of the curves, as for `animate --to-livelink`.
        settings: other arguments of `Animator.stream`.
    """

    def __init__(self, chunk: float, look_ahead: float, *, senders: "Sequence[Sender]" = (), **settings: Any) -> None:
        self.chunk, self.look_ahead, self._settings, self._senders = chunk, look_ahead, settings, senders
        self._sessions: dict[str, Speech] = {}

    def start(self, animator: "Animator", style: str | None) -> tuple[str, "Animation"]:
        """Start a session; returns its key and the face that it moves."""
        first, stream = (
            animator.stream(style=style, chunk=self.chunk, look_ahead=self.look_ahead, states=True, **self._settings)
            for _ in range(2)
        )
        # Warm up with a throw-away stream: the first run is slow.
        first.feed(np.zeros(int((self.chunk + self.look_ahead + 0.2) * SAMPLE_RATE), np.int16))
        receivers = None
        if self._senders:
            from learn2talk_core.export.livelink import Paced

            receivers = Paced(self._senders)
        return remember(self._sessions, Speech(stream, threading.Lock(), receivers), MOST), stream.face

    def resting(self, animator: "Animator", style: str | None) -> "Animation":
        """The face without speech, as one frame at rest."""
        face = animator.stream(style=style, chunk=self.chunk, look_ahead=self.look_ahead, states=True).face
        still = np.zeros((1, face.basis.shape[0]), np.float32)
        return replace(face, states=still, offset=np.zeros_like(face.offset), pose=None, pivot=None)

    def feed(self, key: str, samples: bytes, *, last: bool) -> np.ndarray:
        """Feed 16-bit 16 kHz mono; returns the frames that are ready. `last` ends the session.

        A frame is its states (d,), followed by [R | t] (12 numbers, row by row) if the head moves.
        """
        speech = self._sessions.get(key)
        if speech is None:
            raise Refused(410, "This live session has ended.")
        if len(samples) % 2:
            raise Refused(400, "A sample is two bytes long; an odd number of bytes was sent.")
        with speech.turn:
            if key not in self._sessions:
                raise Refused(410, "This live session has ended.")
            frames = _told(speech, speech.stream.feed(np.frombuffer(samples, "<i2").astype(np.int16)))
            if last:
                self._sessions.pop(key, None)
                frames = np.concatenate([frames, _told(speech, speech.stream.finish())])
                if speech.receivers is not None:
                    speech.receivers.finish()
        return frames


def _told(speech: Speech, states: np.ndarray) -> np.ndarray:
    """The frames for the page; the receivers get their curves."""
    if speech.receivers is not None and len(states):
        speech.receivers.put(replace(speech.stream.face, states=states, pose=speech.stream.pose))
    return _posed(speech.stream, states)


def _posed(stream: "Stream", states: np.ndarray) -> np.ndarray:
    """The states that a stream returned last, with the head pose."""
    if stream.pose is None:
        return states
    rigid = replace(stream.face, states=states, pose=stream.pose).rigid()
    return np.concatenate([states, rigid.reshape(len(states), 12).astype(np.float32)], axis=1)
