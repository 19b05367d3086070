import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learn2talk.cli import main
from learn2talk.viewer.live import LiveSpeech
from learn2talk_core.animation.blend_shapes import ARKIT, BlendShapes
from learn2talk_core.animation.curves import arkit_weights
from learn2talk_core.animation.life import Life
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.audio.waveform import to_int16
from learn2talk_core.export.livelink import Sender
from tests.animation.test_animator import speech
from tests.toy_student import toy_animator, toy_student


def test_a_live_face_is_as_alive_as_that_of_animate(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    life = Life(head=1, blinks=1, gaze=1, seed=3)
    deltas = 1e-3 * np.random.default_rng(0).normal(size=(len(life.shapes()), 64, 3)).astype(np.float32)
    animator = replace(load_animator(student, corpus=corpus), blend_shapes=BlendShapes(life.shapes(), deltas))
    samples = to_int16(speech(4.3))
    speeches = LiveSpeech(0.4, 1.7, life=life)
    key, face = speeches.start(animator, "A")
    parts = np.split(samples, [1600, 30000, 40000])
    frames = np.concatenate([speeches.feed(key, part.tobytes(), last=number == 3) for number, part in enumerate(parts)])
    expected = animator.animate(samples, style="A", chunk=0.4, look_ahead=1.7, life=life)
    columns = expected.states.shape[1]
    np.testing.assert_array_equal(frames[:, :columns], expected.states)
    rigid = frames[:, columns:].reshape(-1, 3, 4)
    still = face.template + face.offset + np.tensordot(frames[:, :columns], face.basis, 1)
    turned = np.einsum("tij,tvj->tvi", rigid[:, :, :3], still) + rigid[:, None, :, 3]
    np.testing.assert_allclose(turned, expected.vertices(), atol=1e-6)
    assert np.abs(turned - still).max() > 1e-3


def test_what_cannot_live_is_said_before_the_page_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    student, corpus = toy_student(tmp_path)
    words = ["live", "--model", str(student), "--corpus", str(corpus)]
    for more, text in (
        (["--head", "1"], "look_ahead: expected at least 1.655 seconds for head motion, found 0.4. Raise it"),
        (["--blinks", "1"], "life: expected a mesh with blend shapes for eyelids and eyes, found none"),
        (["--gaze", "4"], "gaze: expected a strength of 0 … 3, found 4"),
    ):
        assert main([*words, *more]) == 1
        assert text in capsys.readouterr().err


def test_the_curves_of_live_speech_are_sent(tmp_path: Path) -> None:
    """All frames arrive, with the curves of the same frames solved as a whole, to within what their ends differ."""
    animator = toy_animator(tmp_path)
    rng = np.random.default_rng(0)
    shapes = BlendShapes(("jawOpen", "mouthPucker"), 0.005 * rng.normal(size=(2, 64, 3)).astype(np.float32))
    animator = replace(animator, blend_shapes=shapes)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        with Sender(f"127.0.0.1:{receiver.getsockname()[1]}", "--to-livelink") as sender:
            live = LiveSpeech(0.4, 0.4, senders=[sender])
            key, face = live.start(animator, "A")
            wave = (20000 * speech(1.5)).astype("<i2")
            parts = [live.feed(key, part.tobytes(), last=False) for part in np.array_split(wave, 5)]
            states = np.concatenate([*parts, live.feed(key, b"", last=True)])
            packets = [receiver.recv(1000) for _ in range(len(states))]
    found = np.stack([np.frombuffer(packet[-244:], ">f4")[:52] for packet in packets])
    expected = arkit_weights(replace(face, states=states))
    assert expected.max() > 0.02
    assert np.abs(found - expected).max() < 0.3 * expected.max()
    assert np.corrcoef(found[:, ARKIT.index("jawOpen")], expected[:, ARKIT.index("jawOpen")])[0, 1] > 0.9
