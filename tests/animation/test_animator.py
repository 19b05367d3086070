from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from learn2talk_core.animation import animator as module
from learn2talk_core.animation.animator import Animator
from learn2talk_core.animation.blend_shapes import BlendShapes
from learn2talk_core.animation.head_motion import neck
from learn2talk_core.animation.life import Life
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.audio.voice import voice_of
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.run.errors import BadInput
from tests.models.students.test_student import Nodding
from tests.toy_student import toy_animator, toy_student


@pytest.fixture(scope="module")
def animator(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    return toy_animator(tmp_path_factory.mktemp("toy"))


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    count = int(16000 * seconds)
    loudness = np.interp(np.arange(count), np.linspace(0, count, 9), rng.uniform(0, 1, 9))
    return (0.2 * loudness * rng.normal(size=count)).clip(-1, 1).astype(np.float32)


def test_an_animation_is_what_the_student_says(animator: Animator) -> None:
    wave = speech(1.3)
    face = animator.animate(wave, style="B")
    with torch.no_grad():
        states = animator.student.predict_states(wave, 30, torch.tensor([[0.0, 1.0]]), 39)
        expected = animator.templates["B"] + animator.student.displacement(states)[0].numpy()
    np.testing.assert_allclose(face.vertices(), expected, atol=1e-6)
    assert np.ptp(face.vertices(), axis=0).max() > 1e-4
    assert (face.fps, face.mm_per_unit, len(face.wave)) == (30, 1000, len(wave))


def test_files_and_waves_of_any_kind_give_the_same(animator: Animator, tmp_path: Path) -> None:
    wave = (np.round(speech(1.0) * 32767) / 32768).astype(np.float32)
    write_wave(tmp_path / "a.wav", wave)
    expected = animator.animate(wave, style="A").states
    np.testing.assert_allclose(animator.animate(tmp_path / "a.wav", style="A").states, expected, atol=1e-6)
    integers = np.round(wave * 32768).astype(np.int16)
    np.testing.assert_allclose(animator.animate(integers, style="A").states, expected, atol=1e-6)


@pytest.mark.parametrize("life", [Life(), Life(head=1)])
def test_a_student_without_an_affine_map_is_animated(animator: Animator, life: Life) -> None:
    wave, nodding = speech(1.3), replace(animator, student=Nodding(64, 2))
    face = nodding.animate(wave, style="B", life=life)
    states = nodding.student.predict_states(wave, 30, torch.tensor([[0.0, 1.0]]), 39, animator.templates["B"])
    expected = animator.templates["B"] + states[0].detach().numpy().reshape(39, 64, 3)
    np.testing.assert_allclose(face.unposed().vertices(), expected, atol=1e-6)
    with pytest.raises(BadInput, match="a stream of nodding"):
        nodding.stream()


@pytest.mark.parametrize("fps", [24, 25, 30, 60, 120])
def test_another_frame_rate_shows_the_same_motion_at_the_same_times(animator: Animator, fps: float) -> None:
    own, other = animator.animate(speech(1.3), style="A"), animator.animate(speech(1.3), style="A", fps=fps)
    assert len(other.states) == int(1.3 * fps)
    times = np.arange(len(other.states)) / fps
    expected = [np.interp(times, np.arange(39) / 30, column) for column in own.states.T]
    np.testing.assert_allclose(other.states, np.stack(expected, 1), atol=1e-5)


def test_silence_and_noise_move_a_face_a_finite_way(animator: Animator) -> None:
    for wave in (np.zeros(16000, np.float32), np.random.default_rng(0).uniform(-1, 1, 16000)):
        assert np.isfinite(animator.animate(wave, style="A").vertices()).all()


@pytest.mark.parametrize("fps", [-1, 0, np.nan, np.inf])
def test_a_rate_that_is_none_is_refused(animator: Animator, fps: float) -> None:
    with pytest.raises(BadInput, match="fps: expected 1 … 1000 frames per second"):
        animator.animate(speech(1), fps=fps)


def test_styles(animator: Animator) -> None:
    assert animator.style_weights("B") == {"B": 1.0}
    assert animator.style_weights("A=1, B=3") == animator.style_weights({"A": 2, "B": 6}) == {"A": 0.25, "B": 0.75}
    wave = speech(1)
    one, other, mixed = (animator.animate(wave, style=style).states for style in ("A", "B", "A=1,B=1"))
    assert not np.allclose(one, other)
    assert not np.allclose(mixed, one)
    np.testing.assert_array_equal(animator.animate(wave, style="A=1,B=1").template, animator.templates["A"])
    for style, text in (
        ("C", "style: expected one or a mixture of A, B, found C. Choose one, or auto."),
        ("A=x", "expected a mixture such as S00=0.5,S03=0.5, found A=x"),
        ("A=1,B=1,A=3", "expected a mixture such as S00=0.5,S03=0.5, found A=1,B=1,A=3"),
        ("A=-1,B=2", "expected weights ≥ 0 with a positive sum, found A=-1, B=2"),
        ("A=nan", "expected weights ≥ 0 with a positive sum"),
        ({}, "expected weights ≥ 0 with a positive sum, found none"),
    ):
        with pytest.raises(BadInput) as refused:
            animator.style_weights(style)
        assert text in str(refused.value)


def test_auto_is_the_training_speaker_with_the_nearest_voice(animator: Animator) -> None:
    assert animator.corpus is not None
    clips = [clip for clip in animator.corpus.split("train") if clip.speaker == "B"]
    wave = np.concatenate([animator.corpus.audio(clip) for clip in clips])
    np.testing.assert_array_equal(animator.voices["B"], voice_of(wave))
    assert animator.style_weights("auto", wave) == {"B": 1.0}
    np.testing.assert_array_equal(animator.animate(wave).states, animator.animate(wave, style="B").states)


# ---- head, eyelids, eyes


@pytest.fixture(scope="module")
def lively(animator: Animator) -> Animator:
    """With blend shapes for eyelids and eyes that do not move the mouth."""
    names = Life(blinks=1, gaze=1).shapes()
    deltas = 1e-3 * np.random.default_rng(0).normal(size=(len(names), 64, 3))
    deltas[:, animator.topology.regions["mouth"]] = 0
    return replace(animator, blend_shapes=BlendShapes(names, deltas.astype(np.float32)))


def test_life_leaves_the_lips_alone(animator: Animator, lively: Animator) -> None:
    wave, life = speech(5.3), Life(head=1, blinks=1, gaze=1, seed=2)
    still, alive = animator.animate(wave, style="B"), lively.animate(wave, style="B", life=life)
    width = still.states.shape[1]
    np.testing.assert_array_equal(alive.states[:, :width], still.states)
    np.testing.assert_array_equal(alive.states[:, width:], life.weights(np.arange(159) / 30))
    assert alive.shapes == life.shapes()
    unposed, mouth = alive.unposed().vertices(), animator.topology.regions["mouth"]
    np.testing.assert_allclose(unposed[:, mouth], still.vertices()[:, mouth], atol=1e-8)
    assert np.abs(unposed - still.vertices()).max() > 1e-4
    turn, shift = alive.rigid()[:, :, :3], alive.rigid()[:, None, :, 3]
    np.testing.assert_allclose((alive.vertices() - shift) @ turn, unposed, atol=1e-7)
    assert np.ptp(alive.vertices() - unposed, axis=0).max() > 1e-4


def test_head_motion_alone_leaves_every_vertex_alone_to_the_bit(animator: Animator) -> None:
    still, moved = (animator.animate(speech(2.1), style="A", life=life) for life in (Life(), Life(head=1, seed=5)))
    np.testing.assert_array_equal(moved.unposed().vertices(), still.vertices())
    half = animator.animate(speech(2.1), style="A", life=Life(head=0.5, seed=5))
    np.testing.assert_allclose(half.pose, moved.pose / 2, atol=1e-7)
    other = animator.animate(speech(2.1), style="A", life=Life(head=1, seed=6))
    assert not np.allclose(other.pose, moved.pose)
    np.testing.assert_allclose(moved.pivot, neck(still.template, animator.topology, 1000))


def test_what_cannot_live_says_so(animator: Animator, lively: Animator, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"life: expected a mesh with blend shapes for eyelids and eyes, found none\. Give"
    ):
        animator.animate(speech(1), style="A", life=Life(blinks=1))
    with pytest.raises(BadInput, match="--head works with any mesh"):
        animator.stream(life=Life(gaze=1))
    shapes = lively.blend_shapes
    assert shapes is not None
    blind = replace(animator, blend_shapes=BlendShapes(shapes.names[:2], shapes.deltas[:2]))
    assert blind.animate(speech(1), style="A", life=Life(blinks=1)).shapes == ("eyeBlinkLeft", "eyeBlinkRight")
    with pytest.raises(BadInput, match="expected a blend shape for each motion of the eyes, found no eyeLookInLeft"):
        blind.animate(speech(1), style="A", life=Life(gaze=1))
    other = replace(animator, blend_shapes=BlendShapes(shapes.names, shapes.deltas[:, :60]))
    with pytest.raises(BadInput, match="expected shapes of 64 vertices, found 60"):
        other.animate(speech(1), style="A", life=Life(blinks=1))
    with pytest.raises(BadInput, match=r"look_ahead: expected at least 1\.655 seconds for head motion, found 0\.4"):
        animator.stream(life=Life(head=1))
    student, corpus = tmp_path / "student", tmp_path / "corpus"
    toy_student(tmp_path)
    (tmp_path / "w.pth").write_text("no weights")
    wrong = load_animator(student, corpus=corpus, head_model=tmp_path / "w.pth")
    with pytest.raises(BadInput, match=r"w\.pth: expected a complete file that torch.save wrote"):
        wrong.animate(speech(1), style="A", life=Life(head=1))


def test_the_embedded_head_has_lids_and_another_one_gets_them_with_its_lips(lively: Animator) -> None:
    """The embedded head is used as the model's face; the correspondence doubles its size."""
    face = load_face()
    topology = face.topology
    corpus = SimpleNamespace(topology=topology)
    embedded = replace(lively, blend_shapes=None, topology=topology, corpus=corpus)
    np.testing.assert_array_equal(embedded._deltas(["eyeBlinkLeft"])[0], face.unit["eyeBlinkLeft"])
    twice = SimpleNamespace(move=lambda deltas: 2 * deltas)
    other = replace(embedded, correspondence=twice)
    np.testing.assert_array_equal(other._deltas(["eyeBlinkLeft"])[0], 2 * face.unit["eyeBlinkLeft"])
    for name in Life(blinks=1, gaze=1).shapes():
        assert not face.unit[name][topology.regions["mouth"]].any()


def test_long_speech_goes_in_chunks(animator: Animator, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = speech(3)
    expected = animator.animate(wave, style="A", chunk=1.0).states
    monkeypatch.setattr(module, "WHOLE", 32000)
    monkeypatch.setattr(module, "LONG_CHUNK", 1.0)
    np.testing.assert_array_equal(animator.animate(wave, style="A").states, expected)
