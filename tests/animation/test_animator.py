from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from learn2talk_core.animation import animator as module
from learn2talk_core.animation.animator import Animator, frame_count, load_animator
from learn2talk_core.animation.blend_shapes import BlendShapes
from learn2talk_core.animation.head_motion import neck
from learn2talk_core.animation.life import Life
from learn2talk_core.audio.voice import voice_of
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.checkpoints.faceformer import PUBLISHED, import_faceformer
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.files import write_mesh
from learn2talk_core.run.errors import BadInput
from tests.checkpoints.test_faceformer import small
from tests.toy import sheet, topology
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
    with pytest.raises(BadInput, match="fps: expected 1 … 1000 frames a second"):
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
        ("A=x", "expected such as S00=0.5,S03=0.5, found A=x"),
        ("A=1,B=1,A=3", "expected such as S00=0.5,S03=0.5, found A=1,B=1,A=3"),
        ("A=-1,B=2", "expected weights that are positive, found A=-1, B=2"),
        ("A=nan", "expected weights that are positive"),
        ({}, "expected weights that are positive, found none"),
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


def test_templates(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    assert np.array_equal(load_animator(student, corpus=corpus, template="D").face({"A": 1.0}), sheet(1.1))
    with pytest.raises(
        BadInput, match=r"template: expected a speaker of the corpus, or a file, found X. Choose one of A"
    ):
        load_animator(student, corpus=corpus, template="X")
    head, faces = sheet(0.9), topology().faces
    write_mesh(tmp_path / "head.obj", head, faces)
    own = load_animator(student, corpus=corpus, template=tmp_path / "head.obj")
    np.testing.assert_allclose(own.animate(speech(1), style="A").template, head, atol=1e-7)

    write_mesh(tmp_path / "small.obj", head[:50], faces[(faces < 50).all(axis=1)])
    write_mesh(tmp_path / "other.obj", head, faces[:, ::-1][:-1])
    write_mesh(tmp_path / "large.obj", 1000 * head, faces)
    write_mesh(tmp_path / "z up.PLY", head[:, [0, 2, 1]] * [1, -1, 1], faces)
    for name, text in (
        ("small.obj", "small.obj: expected 64 vertices, as the model, found 50. Export the head in the model's"),
        ("other.obj", "other.obj: expected the 98 triangles of the model, found 97, of which 97 are the model's"),
        ("large.obj", "Scale it by 0.001"),
        ("z up.PLY", "z up.PLY: expected a head whose left is x, up is y, and which looks along z, as the model's, "),
        ("z up.PLY", "found one that is rotated by 90° about x: left is x, up is z, the face looks along -y. Export"),
    ):
        with pytest.raises(BadInput) as refused:
            load_animator(student, corpus=corpus, template=tmp_path / name)
        assert text in str(refused.value)


def test_a_head_of_another_topology(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    head, faces = trimesh.remesh.subdivide(sheet().astype(np.float64), topology().faces)
    write_mesh(tmp_path / "head.obj", 2 * head, faces)
    given = {"corpus": corpus, "template": tmp_path / "head.obj", "transfer": tmp_path / "head.npz"}
    other = load_animator(student, **given)
    assert other.mm_per_unit == pytest.approx(500, rel=0.01)
    own = load_animator(student, corpus=corpus).animate(speech(1), style="A")
    found = other.animate(speech(1), style="A")
    np.testing.assert_array_equal(found.states, own.states)
    moved = np.linalg.norm(np.ptp(found.vertices(), axis=0), axis=-1)
    assert moved.mean() == pytest.approx(2 * np.linalg.norm(np.ptp(own.vertices(), axis=0), axis=-1).mean(), rel=0.3)
    assert len(found.topology.regions["lips"]) > 16
    before = (tmp_path / "head.npz").read_bytes()
    assert load_animator(student, **given).correspondence is not None
    assert (tmp_path / "head.npz").read_bytes() == before


def test_a_published_file_animates_a_head_of_its_topology(tmp_path: Path) -> None:
    weights, names = small(tmp_path, styles=8), PUBLISHED["vocaset"][2]
    head = np.random.default_rng(0).uniform(-0.1, 0.1, (5, 3)).astype(np.float32)
    write_mesh(tmp_path / "head.obj", head, np.array([[0, 1, 2], [2, 3, 4]]))
    animator = load_animator(weights, corpus=None, template=tmp_path / "head.obj")
    assert animator.speakers == names
    wave = speech(1.2)
    face = animator.animate(wave, style=names[3])
    student = import_faceformer(weights)[0].eval()
    with torch.no_grad():
        states = student.predict_states(wave, 30, torch.eye(8)[3:4], 36)
        expected = head + student.displacement(states)[0].numpy()
    assert face.vertices().shape == (36, 5, 3)
    assert len(expected) == 35  # FaceFormer's alignment: features of two make a frame, and the last one is half
    np.testing.assert_allclose(face.vertices()[:35], expected, atol=1e-5)
    with pytest.raises(BadInput, match="expected a face, found neither a corpus nor a template"):
        load_animator(weights, corpus=None)


def test_without_a_corpus_a_template_and_a_style_are_needed(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    with pytest.raises(BadInput, match=r"corpus.json: expected a file, found nothing"):
        load_animator(student, corpus=tmp_path / "nowhere")
    with pytest.raises(BadInput, match="expected a face, found neither a corpus nor a template"):
        load_animator(student, corpus=None)
    write_mesh(tmp_path / "head.ply", sheet(), topology().faces)
    alone = load_animator(student, corpus=tmp_path / "nowhere", template=tmp_path / "head.ply", mm_per_unit=1.0)
    assert alone.animate(speech(1), style="A").mm_per_unit == 1
    with pytest.raises(BadInput, match=r"expected a corpus to compare the voice with, found none. Choose one of A, B"):
        alone.animate(speech(1))
    with pytest.raises(BadInput, match=r"model.json: expected a file, found nothing. Make it first: make repro."):
        load_animator(tmp_path / "no model", corpus=corpus)
    with pytest.raises(BadInput, match=r"mm_per_unit: expected a positive number, found nan. 1000 is metres"):
        load_animator(student, corpus=None, template=tmp_path / "head.ply", mm_per_unit=float("nan"))


# ---- streams


def feeding(wave: np.ndarray, seed: int) -> list[np.ndarray]:
    """Cut anywhere, also into nothing."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(wave), 40))
    return np.split(wave, np.concatenate([[0], cuts, cuts[-1:]]))


@pytest.mark.parametrize("fps", [24, 30, 60, 10])
@pytest.mark.parametrize(("chunk", "look_ahead"), [(0.5, 0.2), (1.0, 0.0), (2.0, 1.0)])
def test_a_stream_is_the_offline_mode_bit_for_bit(
    animator: Animator, fps: float, chunk: float, look_ahead: float
) -> None:
    wave = speech(5.23)
    offline = animator.animate(wave, style="B", fps=fps, chunk=chunk, look_ahead=look_ahead)
    assert len(offline.states) == frame_count(len(wave), fps)
    for seed in range(2):
        stream = animator.stream(fps, style="B", chunk=chunk, look_ahead=look_ahead)
        frames = [*(stream.feed(piece) for piece in feeding(wave, seed)), stream.finish()]
        assert sum(len(part) > 0 for part in frames) > 1
        np.testing.assert_array_equal(np.concatenate(frames), offline.vertices())


def test_one_chunk_with_all_the_sound_is_the_whole(animator: Animator) -> None:
    wave = speech(2.3)
    whole, chunked = (animator.animate(wave, style="A", chunk=chunk).states for chunk in (None, 5.0))
    np.testing.assert_allclose(chunked, whole, atol=1e-4)


def test_frames_come_in_time_and_never_change(animator: Animator) -> None:
    """After s seconds all frames up to s - chunk - look-ahead are there; what is fed later changes none of them."""
    wave, other = speech(4), speech(4, seed=1)
    one, two = (animator.stream(60, chunk=0.5, look_ahead=0.3) for _ in range(2))
    given = 0
    for start in range(0, 48000, 1600):
        given += len(one.feed(wave[start : start + 1600]))
        assert given >= int(60 * ((start + 1600) / 16000 - 0.8) + 1e-6)
    before = np.concatenate([two.feed(wave[:48000]), two.feed(other[48000:])])
    expected = animator.animate(wave, style="A", fps=60, chunk=0.5, look_ahead=0.3).vertices()
    np.testing.assert_array_equal(before[:given], expected[:given])


def test_a_stream_holds_no_more_than_it_hears(animator: Animator) -> None:
    stream = animator.stream(chunk=0.5, look_ahead=0.2, past=0.5, memory=1.0)
    held = []
    for _ in range(60):
        stream.feed(speech(0.25))
        held.append(len(stream._held))
    assert max(held) <= (0.5 + 0.5 + 0.2 + 0.25) * 16000 + 1100
    assert stream._roll_out._keys.shape[1] == 30


def test_a_stream_refuses(animator: Animator) -> None:
    stream = animator.stream()
    with pytest.raises(BadInput, match="stream: expected finite samples, found NaN or infinity"):
        stream.feed(np.array([0.0, np.nan]))
    with pytest.raises(BadInput, match=r"stream: expected float or int16 \(samples,\), found float64 \(2, 3\)"):
        stream.feed(np.zeros((2, 3)))
    assert stream.finish().shape == stream.finish().shape == (0, 64, 3)
    with pytest.raises(ValueError, match="finished"):
        stream.feed(np.zeros(3))
    with pytest.raises(BadInput, match="style: expected a style by name, found auto"):
        animator.stream(style="auto")
    with pytest.raises(BadInput, match=r"chunk: expected 0\.0333 … 60 seconds, found 0"):
        animator.stream(chunk=0)
    short = animator.stream(30)
    short.feed(np.zeros(10, np.int16))
    assert short.finish().shape == (1, 64, 3)


# ---- head, eyelids, eyes


@pytest.fixture(scope="module")
def lively(animator: Animator) -> Animator:
    """With shapes for lids and eyes, which move no vertex of the mouth."""
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


@pytest.mark.parametrize("fps", [24, 60])
def test_a_stream_is_as_alive_as_the_offline_mode_bit_for_bit(lively: Animator, fps: float) -> None:
    wave, life = speech(6.41), Life(head=0.7, blinks=2, gaze=1, seed=3)
    offline = lively.animate(wave, style="B", fps=fps, chunk=1.0, look_ahead=1.7, life=life)
    for seed in range(2):
        stream = lively.stream(fps, style="B", chunk=1.0, look_ahead=1.7, life=life)
        frames = [*(stream.feed(piece) for piece in feeding(wave, seed)), stream.finish()]
        assert sum(len(part) > 0 for part in frames) > 2
        np.testing.assert_array_equal(np.concatenate(frames), offline.vertices())
    whole = lively.animate(wave, style="B", fps=fps, life=life)
    np.testing.assert_array_equal(whole.pose, offline.pose)
    np.testing.assert_array_equal(whole.states[:, -10:], offline.states[:, -10:])


def test_what_cannot_live_says_so(animator: Animator, lively: Animator, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"life: expected a mesh with shapes for eyelids and eyes, found none\. Give"):
        animator.animate(speech(1), style="A", life=Life(blinks=1))
    with pytest.raises(BadInput, match="--head moves any mesh"):
        animator.stream(life=Life(gaze=1))
    shapes = lively.blend_shapes
    assert shapes is not None
    blind = replace(animator, blend_shapes=BlendShapes(shapes.names[:2], shapes.deltas[:2]))
    assert blind.animate(speech(1), style="A", life=Life(blinks=1)).shapes == ("eyeBlinkLeft", "eyeBlinkRight")
    with pytest.raises(BadInput, match="expected a blend shape for each eye's motion, found no eyeLookInLeft"):
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
    with pytest.raises(BadInput, match=r"w\.pth: expected a whole file that torch.save wrote"):
        wrong.animate(speech(1), style="A", life=Life(head=1))


def test_the_embedded_head_has_lids_and_another_one_gets_them_with_its_lips(lively: Animator) -> None:
    """Faces of the embedded head stand for the model's; a correspondence of each vertex with itself, twice as large."""
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


def test_the_corpus_must_be_the_models(tmp_path: Path) -> None:
    student, corpus = toy_student(tmp_path)
    text = (student / "model.json").read_text()
    (student / "model.json").write_text(text.replace('"toy"', '"vocaset"'))
    with pytest.raises(BadInput, match="expected one made for the recipe toy"):
        load_animator(student, corpus=corpus)
    assert open_corpus(corpus).recipe == "toy"
