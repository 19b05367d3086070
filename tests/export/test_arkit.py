import csv
import json

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT, BlendShapes, load_shapes
from learn2talk_core.animation.curves import arkit_weights, solve_box, solve_curves
from learn2talk_core.animation.life import Life, gaze
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.export.arkit import (
    TURNS,
    eye_turns,
    head_turns,
    timecode,
    write_arkit_csv,
    write_arkit_json,
)
from learn2talk_core.run.errors import BadInput
from tests.export.scene import speaking_sphere, spoilt


def mixed_head(weights: np.ndarray, names: list[str]) -> Animation:
    """The embedded head moved by some of its face units, with states that are mixes of the units' weights."""
    face = load_face()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(len(names), len(names))))[0]
    units = np.stack([face.unit[name] for name in names]).reshape(len(names), -1)
    return Animation(
        states=(weights @ turn).astype(np.float32),
        basis=(turn.T @ units).reshape(-1, len(face.base), 3).astype(np.float32),
        offset=np.zeros_like(face.neutral),
        template=face.neutral,
        fps=30,
        mm_per_unit=1000,
        topology=face.topology,
        wave=np.zeros(16000, np.float32),
    )


def test_there_are_52_names():
    assert len(ARKIT) == len(set(ARKIT)) == 52
    assert ARKIT[:3] == ("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft")
    assert ARKIT[17:19] == ("jawOpen", "mouthClose")
    assert ARKIT[-1] == "tongueOut"
    assert set(load_face().unit) - set(ARKIT) == {"tongueTipUp"}


def test_units_of_the_embedded_head_are_found_again():
    names = ["jawOpen", "mouthFunnel", "mouthSmileLeft", "eyeBlinkRight", "tongueTipUp"]
    mixed = np.random.default_rng(0).uniform(0, 1, (9, len(names)))
    found = arkit_weights(mixed_head(mixed, names), cut_off=None, sparsity=0, whole_face=True)
    assert found.dtype == np.float32
    expected = np.zeros((9, 52))
    expected[:, [ARKIT.index(name) for name in names[:4]]] = mixed[:, :4]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_weights_stay_in_the_box_where_the_motion_leaves_it():
    found = arkit_weights(mixed_head(np.array([[1.7, -0.5]]), ["jawOpen", "mouthSmileLeft"]))
    assert found.min() >= 0
    assert found.max() <= 1
    assert found[0, ARKIT.index("jawOpen")] > 0.99


@pytest.mark.parametrize(("shapes", "alike"), [(3, 0.0), (20, 0.0), (20, 0.97), (47, 0.9)])
def test_solver_equals_scipy(shapes, alike):
    """`alike`: share of every shape that is common to all, which makes the problem ill-conditioned."""
    rng = np.random.default_rng(shapes)
    deltas = (1 - alike) * rng.normal(size=(150, shapes)) + alike * rng.normal(size=(150, 1))
    deltas *= 10 ** rng.uniform(-2, 0, shapes)
    wanted = deltas @ rng.uniform(-1, 2, (shapes, 12)) + 0.1 * rng.normal(size=(150, 12))
    found = solve_box(deltas.T @ deltas, (deltas.T @ wanted).T)
    for column, weights in zip(wanted.T, found, strict=True):
        expected = lsq_linear(deltas, column, (0, 1), method="bvls", tol=1e-14).x
        np.testing.assert_allclose(weights, expected, atol=1e-5)


def bending(frames):
    """Second differences of a curve that is mirrored at its ends, (frames, frames)."""
    mirrored = np.pad(np.eye(frames), ((1, 1), (0, 0)), mode="symmetric")
    return np.diff(mirrored, 2, axis=0)


def test_curves_equal_scipys_solution_of_the_whole_problem():
    rng = np.random.default_rng(0)
    frames, shapes, per_cut_off = 9, 4, 3.0
    deltas = rng.normal(size=(30, shapes)) * [1, 0.3, 2, 1] + rng.normal(size=(30, 1))
    wanted = rng.uniform(-0.5, 1.5, (frames, shapes)) @ deltas.T
    gram, right = deltas.T @ deltas, wanted @ deltas
    found = solve_curves(gram, right, [], per_cut_off, 0)
    size = np.sqrt(np.diag(gram))
    strength = 1 / (2 - 2 * np.cos(2 * np.pi / per_cut_off))
    fit = np.kron(np.eye(frames), deltas)
    bends = strength * np.kron(bending(frames), np.diag(size))
    aims = np.concatenate([wanted.ravel(), np.zeros(frames * shapes)])
    expected = lsq_linear(np.concatenate([fit, bends]), aims, (0, 1), method="bvls", tol=1e-14).x
    np.testing.assert_allclose(found, expected.reshape(frames, shapes), atol=2e-5)
    assert ((found == 0) | (found == 1)).any()


def test_a_lone_shape_is_halved_at_the_cut_off():
    """Cosines along time are the modes of the mirrored curve, so the response is exact."""
    times = (np.arange(300) + 0.5) / 30
    for hertz, response in ((1, 0.99809), (5, 0.5), (10, 0.1)):  # 1 / (1 + (1 - cos 2πf/30)² / (1 - cos 2π5/30)²)
        wave = np.cos(2 * np.pi * hertz * times)
        found = solve_curves(np.array([[4.0]]), 4 * (0.5 + 0.4 * wave)[:, None], [], 30 / 5, 0)
        np.testing.assert_allclose(found[:, 0], 0.5 + 0.4 * response * wave, atol=1e-4)


def test_sparsity_rests_what_explains_little_and_keeps_the_rest():
    """Shapes at right angles, so that each has its own solution: w = max(a - σ ε / (v + ε), 0), v = max(a - σ, 0)."""
    wanted = np.tile([0.8, 0.05, 0.015], (5, 1))
    found = solve_curves(np.diag([1.0, 4, 9]), wanted * [1, 4, 9], [], 4, 0.02)
    first = np.maximum(wanted - 0.02, 0)
    np.testing.assert_allclose(found, np.maximum(wanted - 0.02 * 0.01 / (first + 0.01), 0), atol=1e-5)
    assert (found[:, 2] == 0).all()


def test_of_opposing_shapes_only_one_is_used_in_a_frame():
    names = ["mouthSmileLeft", "mouthFrownLeft", "jawOpen"]
    slow = (1 + np.sin(np.arange(90) / [[9], [7], [5]]).T) / 2
    noisy = mixed_head(slow, names)
    both = arkit_weights(noisy, cut_off=None)
    pair = [ARKIT.index(name) for name in names[:2]]
    assert (both[:, pair].min(axis=1) > 0.1).any()
    found = arkit_weights(noisy)
    assert (found[:, pair].min(axis=1) == 0).all()


def test_speech_moves_neither_eyes_nor_brows_unless_they_are_alive():
    names = ["jawOpen", "eyeBlinkLeft", "browInnerUp", "noseSneerLeft"]
    head = mixed_head(np.random.default_rng(0).uniform(0.2, 0.8, (30, 4)), names)
    upper = [number for number, name in enumerate(ARKIT) if name.startswith(("eye", "brow", "nose"))]
    assert (arkit_weights(head)[:, upper] == 0).all()
    assert arkit_weights(head)[:, ARKIT.index("jawOpen")].min() > 0.1
    blink = np.linspace(0, 1, 30, dtype=np.float32)[:, None]
    alive = spoilt(
        head,
        states=np.concatenate([head.states, blink], axis=1),
        basis=np.concatenate([head.basis, load_face().unit["eyeBlinkRight"][None]]),
        shapes=("eyeBlinkRight",),
    )
    found = arkit_weights(alive)
    np.testing.assert_array_equal(found[:, ARKIT.index("eyeBlinkRight")], blink[:, 0])
    assert found[:, ARKIT.index("browInnerUp")].max() > 0.1
    eyes = [number for number in upper if ARKIT[number].startswith("eye") and ARKIT[number] != "eyeBlinkRight"]
    assert (found[:, eyes] == 0).all()


def test_noise_of_the_mesh_does_not_make_the_curves_shimmer():
    """Scan noise on a slow motion: the curves turn around less often than those fitted by frame, and are nearer."""
    face = load_face()
    names = ["jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower"]
    slow = 0.4 + 0.4 * np.sin(np.arange(120)[:, None] / [8, 9, 11, 13, 17])
    clean = mixed_head(slow, names)
    noise = np.random.default_rng(0).normal(size=(120, 40)).astype(np.float32)
    noisy = spoilt(
        clean,
        states=np.concatenate([clean.states, noise], axis=1),
        basis=np.concatenate([clean.basis, face.basis[-40:]]),
    )
    columns = [ARKIT.index(name) for name in names]

    def turns(weights):
        return (np.diff(np.diff(weights[:, columns], axis=0) > 0, axis=0)).sum()

    before, after = arkit_weights(noisy, cut_off=None), arkit_weights(noisy)
    assert turns(after) < 0.6 * turns(before)
    apart = [np.abs(found[:, columns] - slow).mean() for found in (before, after)]
    assert apart[1] < apart[0]


def test_weights_equal_least_squares_over_the_vertices():
    animation = speaking_sphere(4)
    rng = np.random.default_rng(5)
    names = ("jawOpen", "mouthPucker", "mouthSmileLeft", "extra")
    shapes = BlendShapes(names, (0.1 * rng.normal(size=(4, 642, 3)) + animation.basis[:4]).astype(np.float32))
    found = arkit_weights(animation, shapes, cut_off=None, sparsity=0)
    for frame, vertices in enumerate(animation.vertices()):
        displacement = (vertices - animation.template).ravel()
        expected = lsq_linear(shapes.deltas.reshape(4, -1).T.astype(float), displacement, (0, 1), method="bvls").x
        np.testing.assert_allclose(found[frame, [ARKIT.index(n) for n in names[:3]]], expected[:3], atol=1e-4)
    assert np.count_nonzero(found.any(axis=0)) <= 3


def test_a_shape_that_moves_nothing_gets_nothing():
    animation = speaking_sphere(3)
    deltas = np.concatenate([animation.basis[:1], np.zeros((1, 642, 3), np.float32)])
    found = arkit_weights(animation, BlendShapes(("jawOpen", "tongueOut"), deltas))
    assert np.isfinite(found).all()
    assert (found[:, ARKIT.index("tongueOut")] == 0).all()


def test_csv_has_the_columns_of_live_link_face(tmp_path):
    weights = np.random.default_rng(0).random((75, 52)).astype(np.float32)
    assert write_arkit_csv(tmp_path / "a.csv", weights, 30) == tmp_path / "a.csv"
    header, *rows = csv.reader((tmp_path / "a.csv").read_text().splitlines())
    assert header[:4] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft", "EyeLookDownLeft"]
    assert header[19] == "JawOpen"
    assert header[53:57] == ["TongueOut", "HeadYaw", "HeadPitch", "HeadRoll"]
    assert len(header) == 2 + 52 + 9
    assert [len(row) for row in rows] == [63] * 75
    assert [rows[i][0] for i in (0, 29, 30, 74)] == [
        "00:00:00:00.000", "00:00:00:29.000", "00:00:01:00.000", "00:00:02:14.000",
    ]  # fmt: skip
    assert {row[1] for row in rows} == {"61"}
    np.testing.assert_allclose(np.array([row[2:54] for row in rows], float), weights, atol=6e-7)
    assert {cell for row in rows for cell in row[54:57]} == {"0.000000"}, "the head stands still"
    np.testing.assert_allclose(np.array([row[57:] for row in rows], float), eye_turns(weights), atol=6e-7)


def test_eyes_turn_as_the_embedded_heads_do():
    """A frame of gaze to the speaker's left and up: both eyes of the mesh, and both pairs of angles."""
    face, life = load_face(), Life(gaze=1, seed=4)
    wide = np.abs(gaze(life.seed, times := np.arange(600) / 30)).argmax(axis=0)[0]
    weights = np.zeros((1, 52), np.float32)
    for name, weight in zip(life.shapes(), life.weights(times[wide : wide + 1])[0], strict=True):
        weights[0, ARKIT.index(name)] = weight
    left, up = np.radians(gaze(life.seed, times)[wide])
    np.testing.assert_allclose(eye_turns(weights)[0], [-left, -up, 0, -left, -up, 0], atol=1e-6)
    assert abs(left) > 0.05
    for side, sign in (("Left", 1), ("Right", -1)):  # x goes to the speaker's left
        moved = np.linalg.norm(face.unit[f"eyeBlink{side}"], axis=1)
        assert sign * np.average(face.neutral[:, 0], weights=moved) > 0.01


def test_eyes_have_the_signs_of_a_recording():
    """In Live Link Face's own stream, an eye that looks towards the nose has the sign of its side; down is positive."""
    weights = np.zeros((2, 52), np.float32)
    weights[0, [ARKIT.index("eyeLookInLeft"), ARKIT.index("eyeLookInRight")]] = 1
    weights[1, [ARKIT.index("eyeLookDownLeft"), ARKIT.index("eyeLookUpRight")]] = 1
    turns = np.degrees(eye_turns(weights))
    np.testing.assert_allclose(turns, [[14.8, 0, 0, -14.8, 0, 0], [0, 11.0, 0, 0, -9.7, 0]], atol=1e-4)


@pytest.mark.parametrize(
    ("axis", "column"),
    [(1, "HeadYaw"), (0, "HeadPitch"), (2, "HeadRoll")],
)
def test_the_heads_angles_have_their_columns(tmp_path, axis, column):
    """0.2 about y turns the face to its left, about x lowers it, about z tilts it to the right shoulder."""
    still = speaking_sphere(4)
    pose = np.zeros((4, 6), np.float32)
    pose[2, axis] = 0.2
    head = head_turns(spoilt(still, pose=pose))
    write_arkit_csv(tmp_path / "a.csv", np.zeros((4, 52), np.float32), 30, head)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert float(rows[2][column]) == pytest.approx(-0.2 if axis == 0 else 0.2)
    rest = [float(row[name]) for row in rows for name in TURNS if (row, name) != (rows[2], column)]
    np.testing.assert_allclose(rest, 0, atol=1e-6)
    write_arkit_json(tmp_path / "a.json", np.zeros((4, 52), np.float32), 30, head)
    np.testing.assert_allclose(json.loads((tmp_path / "a.json").read_text())["head"], head, atol=1e-6)


@pytest.mark.parametrize(
    ("frame", "fps", "expected"),
    [
        (3 * 3600 * 60 + 61 * 60 + 7, 60, "03:01:01:07.000"),
        (1, 23.976, "00:00:00:01.000"),
        (24, 23.976, "00:00:01:00.024"),
        (119, 120, "00:00:00:119.000"),
    ],
)
def test_timecode_tells_the_time(frame, fps, expected):
    assert timecode(frame, fps) == expected
    hours, minutes, seconds, frames = (float(part) for part in expected.split(":"))
    assert 3600 * hours + 60 * minutes + seconds + frames / fps == pytest.approx(frame / fps, abs=1e-3 / fps)


def test_json_is_read_back(tmp_path):
    weights = np.random.default_rng(0).random((3, 52)).astype(np.float32)
    write_arkit_json(tmp_path / "a.json", weights, 25)
    content = json.loads((tmp_path / "a.json").read_text())
    assert content.keys() == {"fps", "names", "frames"}
    assert (content["fps"], tuple(content["names"])) == (25, ARKIT)
    np.testing.assert_allclose(content["frames"], weights, atol=6e-7)


def test_names_of_other_programs_are_understood(tmp_path):
    deltas = np.zeros((3, 642, 3), np.float32)
    np.savez(tmp_path / "shapes.npz", names=["JawOpen", "mouthSmile_L", "myOwn"], deltas=deltas)
    assert load_shapes(tmp_path / "shapes.npz").names == ("jawOpen", "mouthSmileLeft", "myOwn")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"names": ["jawOpen"]},
            r"s\.npz: expected an \.npz with names \(K,\) and deltas \(K, V, 3\), found no deltas",
        ),
        ({"names": ["jawOpen"], "deltas": np.zeros((2, 5, 3))}, r"found 1 names and deltas of shape \(2, 5, 3\)"),
        ({"names": ["jawOpen"], "deltas": np.full((1, 5, 3), np.nan)}, r"expected as many deltas as names"),
        ({"names": ["a", "b"], "deltas": np.zeros((2, 5, 3))}, r"expected ARKit's names, each once, found none of"),
        ({"names": ["jawOpen", "JawOpen"], "deltas": np.zeros((2, 5, 3))}, r"found a duplicate name"),
        ({"names": ["jawOpen"], "deltas": np.array([None])}, r"found ValueError: an array of object"),
    ],
)
def test_broken_blend_shapes_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(BadInput, match=message):
        load_shapes(tmp_path / "s.npz")


def test_another_mesh_needs_its_own_shapes():
    with pytest.raises(BadInput, match=r"expected the embedded head, or a file .* found another mesh, of 642 vertices"):
        arkit_weights(speaking_sphere())
    shapes = BlendShapes(("jawOpen",), np.zeros((1, 600, 3), np.float32))
    with pytest.raises(BadInput, match=r"expected blend shapes of 642 vertices, as the animation has, found 600"):
        arkit_weights(speaking_sphere(), shapes)


def test_a_long_animation_is_solved_as_its_parts():
    animation = speaking_sphere(600)
    rng = np.random.default_rng(5)
    shapes = BlendShapes(("jawOpen", "mouthPucker"), rng.normal(size=(2, 642, 3)).astype(np.float32))
    whole = arkit_weights(animation, shapes, cut_off=None)
    part = arkit_weights(spoilt(animation, states=animation.states[500:]), shapes, cut_off=None)
    np.testing.assert_allclose(whole[500:], part, atol=1e-6)
