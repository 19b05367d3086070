import socket
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from learn2talk_core.animation.blend_shapes import ARKIT
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.export.arkit import eye_turns, head_turns
from learn2talk_core.export.livelink import Sender, livelink_packet, osc_bundle, play
from learn2talk_core.run.errors import BadInput
from tests.export.scene import speaking_character


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5)
        yield listening


def decoded(packet: bytes):
    """Written from the description of the packets, not from the sender."""
    assert packet[0] == 6
    place, texts = 1, []
    for _ in range(2):
        (length,) = struct.unpack_from(">i", packet, place)
        texts.append(packet[place + 4 : place + 4 + length].decode())
        place += 4 + length
    frame, share, numerator, denominator = struct.unpack_from(">ifii", packet, place)
    place += 16
    assert packet[place] == 61
    values = np.frombuffer(packet[place + 1 :], ">f4")
    assert len(values) == 61
    return texts, frame + share, numerator / denominator, values


def test_a_packet_has_the_size_of_the_apps():
    """312 bytes for the subject `iPhone` and a device of 36 characters."""
    packet = livelink_packet(np.zeros(52), np.zeros(9), 1.0, 60, subject="iPhone", device="x" * 36)
    assert len(packet) == 312


@pytest.mark.parametrize("fps", [30, 60, 29.97, 23.976])
def test_a_packet_tells_all(fps):
    weights, turns = np.random.default_rng(0).random(52), np.linspace(-0.4, 0.4, 9)
    names, frame, rate, values = decoded(livelink_packet(weights, turns, 3723.5, fps, subject="Ada"))
    assert names[1] == "Ada"
    assert rate == pytest.approx(fps, rel=1e-5)
    assert frame / fps == pytest.approx(3723.5, abs=1e-4)
    np.testing.assert_allclose(values, np.concatenate([weights, turns]), atol=1e-6)


def test_an_animation_is_played_in_real_time(receiver):
    """Every frame arrives, in order, with its timecode; the waits are those of the frame rate."""
    animation, waits, now = speaking_character(frames=6), [], [100.0]

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    host, port = receiver.getsockname()
    with Sender(f"{host}:{port}", "--to-livelink") as sender:
        sent = list(play(animation, sender, clock=lambda: now[0], wait=wait, start=3600.0))
    assert sent == list(range(6))
    np.testing.assert_allclose(waits, [0, *[1 / 30] * 5], atol=1e-9)
    weights = arkit_weights(animation)
    turns = np.concatenate([head_turns(animation), eye_turns(weights)], axis=1)
    for frame in range(6):
        _, number, rate, values = decoded(receiver.recv(1000))
        assert number == pytest.approx(3600 * 30 + frame, abs=1e-3)
        assert rate == 30
        np.testing.assert_allclose(values, np.concatenate([weights[frame], turns[frame]]), atol=1e-6)


def test_osc_has_a_message_for_each_shape(receiver):
    host, port = receiver.getsockname()
    weights = np.random.default_rng(0).random(52)
    with Sender(f"{host}:{port}", "--to-osc", osc_bundle) as sender:
        sender.send(weights, np.array([0.1, 0.2, 0.3, 0, 0, 0, 0, 0, 0]), 0.0, 30)
    bundle = receiver.recv(10000)
    assert bundle[:16] == b"#bundle\0" + (1).to_bytes(8, "big")
    place, found = 16, {}
    while place < len(bundle):
        (size,) = struct.unpack_from(">i", bundle, place)
        message = bundle[place + 4 : place + 4 + size]
        assert size % 4 == 0
        name = message[: message.index(b"\0")]
        start = (len(name) // 4 + 1) * 4
        assert message[start : start + 4] == b",f\0\0"
        found[name.decode()] = struct.unpack(">f", message[start + 4 :])[0]
        place += 4 + size
    assert list(found) == [*(f"/arkit/{name}" for name in ARKIT), "/head/yaw", "/head/pitch", "/head/roll"]
    np.testing.assert_allclose(list(found.values()), [*weights, 0.1, 0.2, 0.3], atol=1e-6)


def test_a_receiver_that_is_not_there_is_noticed():
    """The machine answers the first packet, so the second cannot be sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as once:
        once.bind(("127.0.0.1", 0))
        port = once.getsockname()[1]
    with Sender(f"127.0.0.1:{port}", "--to-livelink") as sender:
        with pytest.raises(
            BadInput, match=rf"--to-livelink: expected a receiver that listens, found 127.0.0.1:{port}: "
        ):
            for _ in range(20):
                sender.send(np.zeros(52), np.zeros(9), 0.0, 30)


@pytest.mark.parametrize("where", ["", ":11111", "host:port", "127.0.0.1:0", "127.0.0.1:99999"])
def test_addresses_that_are_none(where):
    with pytest.raises(BadInput, match=r"--to-livelink: expected HOST:PORT, found "):
        Sender(where, "--to-livelink")
