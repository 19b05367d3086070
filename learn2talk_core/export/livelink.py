"""The curves over the network while they are played: packets of Live Link Face, and OSC.

Live Link Face sends a UDP packet a frame to port 11111. All numbers are big-endian: the version 6 as a byte; device and
subject, each as its length (int32) and UTF-8; the frame's time as frame number (int32), share of a frame (float32), and
the frame rate's numerator and denominator (int32); the number of values, 61, as a byte; the values as float32: the 52
shapes in ARKit's order, then the angles of head, left eye and right eye as in the app's CSV (docs/export.md).

OSC 1.0 (Wright 2002): one bundle a frame, with a message `/arkit/NAME` of one float for each shape and
`/head/yaw`, `/head/pitch`, `/head/roll` in radians.
"""

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.export.arkit import eye_turns, head_turns
from learn2talk_core.export.receiver import receiver_address
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import log

SUBJECT, DEVICE = "Learn2Talk", "learn2talk-0000-0000-0000-000000000000"
DAY = 24 * 3600
CONTEXT = 30  # frames before a burst that its curves are solved with
Packet = Callable[[np.ndarray, np.ndarray, float, float], bytes]  # weights (52,), turns (9,), seconds of the day, fps


def livelink_packet(
    weights: np.ndarray, turns: np.ndarray, seconds: float, fps: float, *, subject: str = SUBJECT, device: str = DEVICE
) -> bytes:
    """A packet of Live Link Face.

    Args:
        weights: (52,) of the shapes.
        turns: (9,) yaw, pitch and roll of head, left eye and right eye in radians.
        seconds: timecode, seconds since midnight.
        fps: frame rate.
        subject: name under which Unreal shows the source.
        device: name of the sender.
    """
    rate = Fraction(fps).limit_denominator(1001)
    frame = seconds * fps
    whole = int(frame + 1e-6)
    names = b"".join(struct.pack(">i", len(text)) + text for text in (device.encode(), subject.encode()))
    stamp = struct.pack(">ifii", whole, max(frame - whole, 0.0), rate.numerator, rate.denominator)
    values = np.concatenate([weights, turns]).astype(">f4")
    return struct.pack(">B", 6) + names + stamp + struct.pack(">B", len(values)) + values.tobytes()


def osc_bundle(weights: np.ndarray, turns: np.ndarray, seconds: float, fps: float) -> bytes:
    """An OSC bundle that is due at once; arguments as for `livelink_packet`."""
    named = [(f"/arkit/{name}", weight) for name, weight in zip(ARKIT, weights, strict=True)]
    named += [(f"/head/{name}", turn) for name, turn in zip(("yaw", "pitch", "roll"), turns, strict=False)]
    messages = [_padded(name.encode()) + _padded(b",f") + struct.pack(">f", value) for name, value in named]
    parts = b"".join(struct.pack(">i", len(message)) + message for message in messages)
    return _padded(b"#bundle") + struct.pack(">Q", 1) + parts


def _padded(text: bytes) -> bytes:
    """A string of OSC: ended by at least one zero byte, of a multiple of 4 bytes."""
    return text + bytes(4 - len(text) % 4)


class Sender:
    """A UDP socket to a receiver.

    Args:
        where: HOST:PORT, or HOST for the port of Live Link Face.
        option: how the user gave it, for errors.
        packet: makes a packet: `livelink_packet` or `osc_bundle`.

    Raises:
        BadInput: not such an address, or a host that is not known.
    """

    def __init__(self, where: str, option: str, packet: Packet = livelink_packet) -> None:
        self._option, self._where, self._packet = option, where, packet
        family, kind, proto, _, address = receiver_address(where, option)
        try:
            self._socket = socket.socket(family, kind, proto)
            self._socket.connect(address)
        except OSError as error:
            raise BadInput(
                option, expected="a host that is known", found=f"{where}: {error}", fix="Check it."
            ) from error

    def send(self, weights: np.ndarray, turns: np.ndarray, seconds: float, fps: float) -> None:
        """Send one frame.

        Raises:
            BadInput: the receiver's machine says that nothing listens there, or there is no way to it.
        """
        try:
            self._socket.send(self._packet(weights, turns, seconds, fps))
        except OSError as error:
            found = f"{self._where}: {error.strerror or error}"
            fix = "Start the receiver first, and check its port and the firewall."
            raise BadInput(self._option, expected="a receiver that listens", found=found, fix=fix) from error

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Paced:
    """Sends frames that arrive in bursts, at their frame rate, from a thread of its own.

    The curves of a burst are solved together with the frames before it, so that they have no seam.

    Args:
        senders: where to. If one fails, that is logged once and the rest of the frames is not sent.
    """

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = senders
        self._before: Animation | None = None
        self._frames: queue.SimpleQueue[tuple[np.ndarray, np.ndarray, float] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, animation: Animation) -> None:
        """Add the next frames."""
        before = self._before
        states = animation.states if before is None else np.concatenate([before.states, animation.states])
        pose = animation.pose
        if pose is not None and before is not None and before.pose is not None:
            pose = np.concatenate([before.pose, pose])
        joined = replace(animation, states=states, pose=pose)
        weights = arkit_weights(joined)
        turns = turns_of(joined, weights)
        for frame in range(len(states) - len(animation.states), len(states)):
            self._frames.put((weights[frame], turns[frame], animation.fps))
        kept = slice(max(0, len(states) - CONTEXT), None)
        self._before = replace(joined, states=states[kept], pose=None if pose is None else pose[kept])

    def finish(self) -> None:
        """No frame follows."""
        self._frames.put(None)

    def _run(self) -> None:
        due = time.monotonic()
        while (frame := self._frames.get()) is not None:
            weights, turns, fps = frame
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1 / fps) + 1 / fps
            now = time.localtime()
            seconds = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec + time.time() % 1
            try:
                for sender in self._senders:
                    sender.send(weights, turns, seconds, fps)
            except BadInput as error:
                log.warning("%s", error)
                return


def turns_of(animation: Animation, weights: np.ndarray) -> np.ndarray:
    """Angles (T, 9) of head, left eye and right eye in radians."""
    head = np.zeros((len(weights), 3)) if animation.pose is None else head_turns(animation)
    return np.concatenate([head, eye_turns(weights)], axis=1)


def play(
    animation: Animation,
    sender: Sender,
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
    start: float | None = None,
) -> Iterator[int]:
    """Send an animation in real time, from its first frame on; yields the number of each frame when it is sent.

    Args:
        animation: what to send.
        sender: where to.
        clock, wait: seconds that pass, and how to wait.
        start: timecode of the first frame, seconds since midnight; None is the time of the day.
    """
    weights = arkit_weights(animation)
    turns = turns_of(animation, weights)
    now = time.localtime()
    start = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec if start is None else start
    began = clock()
    for frame in range(len(weights)):
        wait(max(0.0, began + frame / animation.fps - clock()))
        sender.send(weights[frame], turns[frame], (start + frame / animation.fps) % DAY, animation.fps)
        yield frame
