"""FLAME's head, its motion in a folder of VHAP, imported GaussianAvatars, and ARKit's weights as FLAME's parameters."""

import copy
import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from learn2talk.cli import main
from learn2talk_core.animation.animation import Animation
from learn2talk_core.animation.blend_shapes import ARKIT
from learn2talk_core.avatar.arkit_to_flame import arkit_to_flame, read_arkit
from learn2talk_core.avatar.avatar import WHITE, Avatar, load_avatar
from learn2talk_core.avatar.binding import BoundSplats, in_world, triangle_frames
from learn2talk_core.avatar.driving import driver, gaze_apart, within
from learn2talk_core.avatar.flame_head import FlameMotion, flame_vertices, load_flame_rig, read_flame_motion
from learn2talk_core.avatar.make import AvatarInputs, import_avatar, train_avatar
from learn2talk_core.avatar.refining import RefinedMotion
from learn2talk_core.avatar.splat_files import write_splat_ply
from learn2talk_core.avatar.training import shortened
from learn2talk_core.avatar.views import View, read_picture, read_views
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.render.splats import draw_splats
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training.scratch import Scratch
from tests.avatar.scene import some_splats, write_small_views
from tests.export.test_flame import EXPRESSIONS, VERTICES, model_file, skinned

TRIANGLES = np.random.default_rng(5).permuted(np.tile(np.arange(VERTICES), (30, 1)), axis=1)[:, :3].astype(np.uint32)
FRAMES = 6


@pytest.fixture
def model(tmp_path):
    return model_file(tmp_path / "flame.pkl", f=TRIANGLES)


def parameters(seed: int = 0, teeth: int = 120) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "shape": 0.5 * np.random.default_rng(9).normal(size=300),
        "expr": rng.normal(size=(1, EXPRESSIONS)),
        "rotation": 0.2 * rng.normal(size=(1, 3)),
        "neck_pose": 0.1 * rng.normal(size=(1, 3)),
        "jaw_pose": np.array([[0.2 * rng.random(), 0, 0]]),
        "eyes_pose": 0.1 * rng.normal(size=(1, 6)),
        "translation": 0.02 * rng.normal(size=(1, 3)),
        "static_offset": 0.001 * np.random.default_rng(8).normal(size=(1, VERTICES + teeth, 3)),
    }


def vhap(folder, moments: int = 4) -> list[dict[str, np.ndarray]]:
    """A folder of pictures whose motion is FLAME's."""
    write_small_views(folder, moments=moments)
    (folder / "motion.npz").unlink()
    (folder / "flame_param").mkdir()
    rows = [parameters(time) for time in range(moments)]
    for time, row in enumerate(rows):
        np.savez(folder / "flame_param" / f"{time:05d}.npz", **{k: v.astype(np.float32) for k, v in row.items()})
    return rows


def animation(model, template: np.ndarray, expression: np.ndarray, jaw: np.ndarray) -> Animation:
    """The motion of FLAME on a face, as a sum of its principal directions."""
    motion = np.stack([skinned(model, template, *row) for row in zip(expression, jaw, strict=True)]) - template
    left, size, right = np.linalg.svd(motion.reshape(len(motion), -1), full_matrices=False)
    colours = np.full((VERTICES, 3), 0.5, np.float32)
    return Animation(
        states=(left * size).astype(np.float32),
        basis=right.reshape(-1, VERTICES, 3).astype(np.float32),
        offset=np.zeros((VERTICES, 3), np.float32),
        template=template.astype(np.float32),
        fps=25.0,
        mm_per_unit=1000.0,
        topology=Topology(TRIANGLES.astype(np.int32), {}, np.zeros((0, 2), np.int64), colours),
        wave=np.zeros(640 * len(motion), np.float32),
    )


def test_vertices_equal_the_published_skinning(model):
    rig, rng = load_flame_rig(model), np.random.default_rng(2)
    face, expression, jaw, root = rig.template, rng.normal(size=EXPRESSIONS), rng.normal(size=3), rng.normal(size=3)
    pose = np.zeros(15)
    pose[6:9], pose[:3] = jaw, root
    found = flame_vertices(rig, np.zeros(300), np.zeros((VERTICES, 3)), expression, pose)
    np.testing.assert_allclose(found, skinned(model, face, expression, jaw, root), atol=1e-9)


def test_the_folder_of_vhap_is_read(model, tmp_path):
    rows = vhap(tmp_path / "vhap")
    rig = load_flame_rig(model)
    motion = read_flame_motion(tmp_path / "vhap", read_views(tmp_path / "vhap"), rig)
    row = rows[2]
    pose = np.concatenate([row[name][0] for name in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")])
    offset = row["static_offset"][0, :VERTICES]  # without the teeth
    expected = flame_vertices(rig, row["shape"], offset, row["expr"][0], pose) + row["translation"]
    np.testing.assert_allclose(motion.vertices(2), expected, atol=1e-6)
    assert motion.weights.shape == (4, EXPRESSIONS + 3)
    with Scratch(tmp_path / "scratch") as scratch:
        inputs = AvatarInputs(str(tmp_path / "vhap"), str(model))
        avatar, metrics, _ = train_avatar(inputs, shortened(3, most=100, seed=0), scratch)
    assert (avatar.rig, avatar.about["flame_model"]) == ("FLAME", rig.fingerprint)
    assert metrics["views"]["psnr_db"] > 0
    np.testing.assert_allclose(avatar.seen, motion.weights[:3], atol=0.02)  # refined a little


def test_parameters_are_where_the_list_says(model, tmp_path):
    """In unions of several sequences, pictures and parameters lie in folders beside the list's."""
    rows = vhap(tmp_path / "union")
    (tmp_path / "union" / "flame_param").rename(tmp_path / "sequence")
    for split in ("train", "val", "test"):
        path = tmp_path / "union" / f"transforms_{split}.json"
        told = json.loads(path.read_text())
        for frame in told["frames"]:
            frame["flame_param_path"] = f"../sequence/{frame['timestep_index']:05d}.npz"
        path.write_text(json.dumps(told))
    motion = read_flame_motion(tmp_path / "union", read_views(tmp_path / "union"), load_flame_rig(model))
    np.testing.assert_allclose(motion.tables["expr"][2], rows[2]["expr"][0], atol=1e-6)


def test_bad_parameters_are_refused(model, tmp_path):
    folder, rig = tmp_path / "vhap", load_flame_rig(model)
    vhap(folder)
    with pytest.raises(BadInput, match="expected FLAME's model file, for this folder, found none"):
        train_avatar(AvatarInputs(str(folder)), shortened(1, most=100, seed=0), Scratch(tmp_path / "s"))
    views, path = read_views(folder), folder / "flame_param" / "00001.npz"
    for change, text in [
        ({"expr": np.full((1, EXPRESSIONS), np.nan)}, "expr: expected finite numbers, found NaN"),
        ({"jaw_pose": np.zeros((1, 4))}, "jaw_pose: expected 3 numbers, found 4"),
        ({"static_offset": np.zeros((1, 7, 3))}, f"expected {VERTICES} offsets"),
    ]:
        np.savez(path, **{**parameters(1), **change})
        with pytest.raises(BadInput, match=text):
            read_flame_motion(folder, views, rig)
    path.unlink()
    with pytest.raises(BadInput, match="expected FLAME's parameters, found no such file"):
        read_flame_motion(folder, views, rig)


def drawn_by_a_tracked_head(model, folder, wrong: float) -> tuple[FlameMotion, FlameMotion, BoundSplats, list[View]]:
    """Pictures that known splats draw on FLAME's moving head. Returns the true motion, a tracker's with errors in
    expression (root mean square `wrong`) and jaw, the splats, and the pictures."""
    rig, rows = load_flame_rig(model), vhap(folder, moments=3)
    for row in rows:
        row |= {"rotation": np.zeros((1, 3)), "translation": np.zeros((1, 3))}
    for time, row in enumerate(rows):
        np.savez(folder / "flame_param" / f"{time:05d}.npz", **row)
    views = [view for view in read_views(folder) if view.split != "test"]
    truth = read_flame_motion(folder, views, rig)
    splats, triangles = some_splats(120, len(TRIANGLES)), torch.from_numpy(TRIANGLES.astype(np.int64))
    for view in views:
        frames = triangle_frames(torch.from_numpy(truth.vertices(view.time)), triangles)
        image = draw_splats(in_world(splats, frames, view.camera, degree=1), view.camera, WHITE).image
        picture = np.rint(255 * image.clamp(0, 1).numpy()).astype(np.uint8)
        Image.fromarray(picture).save(view.picture)
    rng = np.random.default_rng(4)
    tables = dict(truth.tables)
    tables["expr"] = tables["expr"] + wrong * rng.normal(size=tables["expr"].shape)
    tables["jaw_pose"] = tables["jaw_pose"] + [0.05, 0, 0]
    return truth, replace(truth, tables=tables), splats, views


def test_tracking_errors_are_refined_away(model, tmp_path):
    """With the true splats, the pictures pull the vertices back to where they were; other moments stay."""
    truth, tracked, splats, views = drawn_by_a_tracked_head(model, tmp_path / "vhap", wrong=0.5)
    refined, triangles = RefinedMotion(tracked, share=20.0), torch.from_numpy(TRIANGLES.astype(np.int64))

    def error(motion: FlameMotion, time: int) -> float:
        return float(np.abs(motion.vertices(time) - truth.vertices(time)).mean())

    shown = [(view, torch.from_numpy(read_picture(view)).float() / 255) for view in views if view.time == 1]
    for step in range(150):
        view, target = shown[step % len(shown)]
        frames = triangle_frames(refined.vertices(1), triangles)
        drawn = draw_splats(in_world(splats, frames, view.camera, degree=1), view.camera, WHITE)
        (drawn.image - target).abs().mean().backward()
        refined.step()
    assert error(refined.motion, 1) < 0.5 * error(tracked, 1)
    for name, table in refined.motion.tables.items():
        np.testing.assert_array_equal(np.delete(table, refined.motion.row[1], 0), np.delete(tracked.tables[name], 1, 0))


def test_the_gradient_of_the_parameters_equals_finite_differences(model, tmp_path):
    vhap(tmp_path / "vhap")
    views = read_views(tmp_path / "vhap")
    motion = read_flame_motion(tmp_path / "vhap", views, load_flame_rig(model))
    refined = RefinedMotion(motion, share=1.0)
    weights = torch.randn(VERTICES, 3, generator=torch.Generator().manual_seed(0))
    (refined.vertices(2) * weights).sum().backward()
    for name, table in refined._tables.items():
        gradient = table.weight.grad.to_dense()[motion.row[2]]
        step = torch.randn(len(gradient), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        ends = []
        for size in (1e-3, -1e-3):
            moved = {**motion.tables, name: motion.tables[name] + size * step.numpy()}
            ends.append((replace(motion, tables=moved).vertices(2) * weights.numpy()).sum())
        assert float(gradient @ step) == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=0.02, abs=2e-3), name


@pytest.mark.parametrize("refine", [0.0, 1.0])
def test_a_training_refines_by_parameter(model, tmp_path, refine):
    vhap(tmp_path / "vhap")
    motion = read_flame_motion(tmp_path / "vhap", read_views(tmp_path / "vhap"), load_flame_rig(model))
    with Scratch(tmp_path / "scratch") as scratch:
        inputs = AvatarInputs(str(tmp_path / "vhap"), str(model))
        avatar, _, _ = train_avatar(inputs, shortened(12, most=100, seed=0, refine=refine), scratch)
    moved = np.abs(avatar.seen - motion.weights[:3]).max(axis=0)
    assert (moved[:-3].max() > 1e-4) == (refine > 0)  # expressions
    assert moved[-3:].max() < 1e-3  # the jaw's rate is a hundredth of theirs
    if not refine:
        assert moved.max() == 0


def test_a_saved_refinement_goes_on(model, tmp_path):
    """Two steps, saved, and one more: as three steps."""
    vhap(tmp_path / "vhap")
    motion = read_flame_motion(tmp_path / "vhap", read_views(tmp_path / "vhap"), load_flame_rig(model))

    def step(refined: RefinedMotion) -> None:
        refined.vertices(1).square().sum().backward()
        refined.step()

    whole, resumed = RefinedMotion(motion, 1.0), RefinedMotion(motion, 1.0)
    step(whole)
    step(whole)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    step(whole)
    step(resumed)
    for name, table in whole.motion.tables.items():
        np.testing.assert_array_equal(table, resumed.motion.tables[name])


def imported(model, tmp_path, seen: int = 40) -> Avatar:
    splats = some_splats(60, len(TRIANGLES) + 168)
    write_splat_ply(tmp_path / "point_cloud.ply", splats, bound=True)
    rows = [parameters(seed) for seed in range(seen)]
    table = {name: np.concatenate([row[name] for row in rows]) for name in ("expr", "jaw_pose")}
    np.savez(tmp_path / "flame_param.npz", shape=rows[0]["shape"], static_offset=rows[0]["static_offset"], **table)
    return import_avatar(tmp_path / "point_cloud.ply", model, tmp_path / "flame_param.npz", tmp_path / "avatar")


def test_an_imported_avatar_is_driven_by_offsets(model, tmp_path):
    """The motion of another face, with the avatar's expression and jaw within what was trained: found again."""
    avatar = imported(model, tmp_path)
    assert (avatar.local, avatar.rig) == (False, "FLAME")
    assert int(avatar.splats.triangle.max()) < len(TRIANGLES)  # those of the teeth are left out
    again, rig = load_avatar(tmp_path / "avatar"), load_flame_rig(model)
    assert torch.equal(again.splats.position, avatar.splats.position)
    expression, jaw = avatar.seen[:FRAMES, :-3], avatar.seen[:FRAMES, -3:]
    own = flame_vertices(rig, avatar.flame["shape"], avatar.flame["static_offset"])
    place = driver(again, animation(model, own, expression, jaw), rig)
    for frame in range(FRAMES):
        np.testing.assert_allclose(place(frame), skinned(model, own, expression[frame], jaw[frame]), atol=2e-4)


def test_flames_head_and_eyes_follow_pose_and_gaze(model, tmp_path):
    """The head turns about the pivot; the left eye looks up and out, to the speaker's left, and no expression tries to
    move the eyeballs' vertices instead."""
    avatar, rig = imported(model, tmp_path), load_flame_rig(model)
    own = flame_vertices(rig, avatar.flame["shape"], avatar.flame["static_offset"])
    speech = animation(model, own, avatar.seen[:FRAMES, :-3], avatar.seen[:FRAMES, -3:])
    pose = np.zeros((FRAMES, 6), np.float32)
    pose[:, 1], pose[:, 4] = 0.3, 0.01
    pivot = np.array([0, -0.1, 0], np.float32)
    looks = ("eyeLookUpLeft", "eyeLookOutLeft")
    weights = np.tile(np.array([[0.5, 0.25]], np.float32), (FRAMES, 1))
    shaken = 0.002 * np.random.default_rng(0).normal(size=(2, VERTICES, 3)).astype(np.float32)
    moved = replace(
        speech, states=np.concatenate([speech.states, weights], axis=1), pose=pose, pivot=pivot, shapes=looks,
        basis=np.concatenate([speech.basis, shaken]),
    )  # fmt: skip
    place, turn = driver(avatar, moved, rig), Rotation.from_euler("y", 0.3).as_matrix()
    angles = np.zeros(15)
    angles[9:12] = -np.radians(0.5 * 9.7), np.radians(0.25 * 14.3), 0
    for frame in range(FRAMES):
        angles[6:9] = avatar.seen[frame, -3:]
        expression = avatar.seen[frame, :-3].astype(float)
        still = flame_vertices(rig, avatar.flame["shape"], avatar.flame["static_offset"], expression, angles)
        expected = (still - pivot) @ turn.T + pivot + [0, 0.01, 0]
        np.testing.assert_allclose(place(frame), expected, atol=3e-4)
    eyes, rest = gaze_apart(moved)
    left = Rotation.from_rotvec(eyes[0, :3]).apply([0, 0, 1])
    np.testing.assert_allclose(np.degrees(np.arcsin(left[:2])), [0.25 * 14.3, 0.5 * 9.7], atol=0.02)
    assert np.abs(eyes[:, 3:]).max() == 0
    assert rest.shapes == ()
    np.testing.assert_array_equal(rest.states, speech.states)


def test_motion_beyond_the_training_is_clamped(model, tmp_path):
    avatar, rig = imported(model, tmp_path), load_flame_rig(model)
    wild = 5 * avatar.seen[:FRAMES, :-3]
    own = flame_vertices(rig, avatar.flame["shape"], avatar.flame["static_offset"])
    place = driver(avatar, animation(model, own, wild, avatar.seen[:FRAMES, -3:]), rig)
    tame = [np.abs(place(frame) - own).max() for frame in range(FRAMES)]
    free = [np.abs(skinned(model, own, wild[frame], np.zeros(3)) - own).max() for frame in range(FRAMES)]
    assert max(tame) < 0.75 * max(free)


def test_within_projects_and_clamps():
    """Two components, along (1, 1, 0) up to 3 and along (1, −1, 0) up to 1; the third parameter never changed."""
    directions = np.array([[1.0, 1, 0], [1, -1, 0]])
    seen = np.random.default_rng(0).uniform(-1, 1, (2000, 2)) * [3, 1] @ directions
    inside = np.array([[1.0, 0.5]]) @ directions
    np.testing.assert_allclose(within(seen, inside), inside, atol=1e-9)
    wild = np.array([[30.0, -9]]) @ directions + [0, 0, 7]
    np.testing.assert_allclose(within(seen, wild), np.array([[3.0, -1]]) @ directions, atol=0.2)


def test_parameters_of_another_flame_are_refused(model, tmp_path):
    """FLAME 2020 on a 2023 head: the same sizes, another basis."""
    avatar = imported(model, tmp_path)
    data = pickle.loads(model.read_bytes())
    data["shapedirs"] = np.random.default_rng(77).normal(size=data["shapedirs"].shape) * 0.003
    (tmp_path / "other.pkl").write_bytes(pickle.dumps(data, protocol=2))
    other = load_flame_rig(tmp_path / "other.pkl")
    own = flame_vertices(other, avatar.flame["shape"], avatar.flame["static_offset"])
    spoken = animation(model, own, np.zeros((FRAMES, EXPRESSIONS)), np.full((FRAMES, 3), 0.1))
    with pytest.raises(BadInput, match="the parameters of FLAME 2020 and 2023 differ"):
        driver(avatar, spoken, other)
    with pytest.raises(BadInput, match="expected FLAME's model file, which moves it, found none"):
        driver(avatar, spoken)


def test_bad_imports_are_refused(model, tmp_path):
    imported(model, tmp_path)
    cloud, flame_param = tmp_path / "point_cloud.ply", tmp_path / "flame_param.npz"
    with pytest.raises(BadInput, match="expected FLAME's parameters of the head, found no such file"):
        import_avatar(cloud, model, tmp_path / "none.npz", tmp_path / "b")
    with np.load(flame_param) as stored:
        arrays = dict(stored)
    np.savez(flame_param, **{**arrays, "expr": arrays["expr"] * np.nan})
    with pytest.raises(BadInput, match="found NaN or infinity"):
        import_avatar(cloud, model, flame_param, tmp_path / "b")
    np.savez(flame_param, **{**arrays, "jaw_pose": arrays["jaw_pose"][:2]})
    with pytest.raises(BadInput, match="40 expressions, 2 jaws"):
        import_avatar(cloud, model, flame_param, tmp_path / "b")
    write_splat_ply(cloud, some_splats(5, 8), bound=False)
    with pytest.raises(BadInput, match="splats without binding_0"):
        import_avatar(cloud, model, flame_param, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def embedded_flame(tmp_path):
    """A FLAME whose mesh is the embedded head and whose expressions are six of its own face units."""
    face = load_face()
    names = ("mouthSmileLeft", "mouthSmileRight", "mouthPucker", "browInnerUp", "eyeBlinkLeft", "eyeBlinkRight")
    count = len(face.neutral)
    expression = np.stack([face.unit[name] for name in names], axis=-1).astype(np.float64)
    weights = np.zeros((count, 5))
    weights[:, 1] = 1
    weights[face.part["lower_teeth"]] = [0, 0, 1, 0, 0]
    regressor = np.zeros((5, count))
    regressor[:, face.part["tongue"]] = 1 / face.part["tongue"].sum()
    data = {
        "v_template": face.neutral.astype(np.float64),
        "shapedirs": np.concatenate([np.zeros((count, 3, 300)), expression], axis=2),
        "posedirs": np.zeros((count, 3, 36)),
        "weights": weights,
        "J_regressor": regressor,
        "f": face.faces.astype(np.uint32),
    }
    (tmp_path / "head.pkl").write_bytes(pickle.dumps(data, protocol=2))
    return tmp_path / "head.pkl", names


def test_arkit_weights_become_flame_parameters(tmp_path, capsys):
    """On a FLAME with the same shapes, the expression is the weights."""
    path, names = embedded_flame(tmp_path)
    weights = np.zeros((4, len(ARKIT)))
    wanted = np.random.default_rng(3).uniform(0, 1, (4, 6))
    weights[:, [ARKIT.index(name) for name in names]] = wanted
    expression, jaw = arkit_to_flame(weights, load_flame_rig(path))
    np.testing.assert_allclose(expression, wanted, atol=0.06)
    assert np.abs(jaw).max() < 0.02
    rows = [{name: row[i] for i, name in enumerate(ARKIT)} for row in weights]
    header = ["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in ARKIT)]
    lines = [["00:00:00:00.000", "61", *(str(row[name]) for name in ARKIT)] for row in rows]
    recording = tmp_path / "take.csv"
    recording.write_text("\n".join(",".join(line) for line in [header, *lines]))
    words = ["avatar", "flame", str(recording), "--flame", str(path), "-o", str(tmp_path / "motion.npz")]
    assert main(words) == 0
    with np.load(tmp_path / "motion.npz") as stored:
        np.testing.assert_allclose(stored["expr"], expression, atol=1e-4)
        assert stored["fps"] == 60
        assert stored["eyes_pose"].shape == (4, 6)


def test_recordings_are_read_or_refused(tmp_path):
    told = {"fps": 25.0, "names": list(ARKIT), "frames": np.full((3, 52), 0.25).tolist()}
    (tmp_path / "a.json").write_text(json.dumps(told))
    weights, fps = read_arkit(tmp_path / "a.json")
    assert (weights.shape, fps, weights[1, 7]) == ((3, 52), 25.0, 0.25)
    for name, content in [("b.json", "{}"), ("c.csv", "a,b\n1,2\n"), ("d.csv", ""), ("e.csv", "JawOpen\nnan\n")]:
        (tmp_path / name).write_text(content)
        with pytest.raises(BadInput, match="expected weights of ARKit's blend shapes"):
            read_arkit(tmp_path / name)


def test_the_imported_avatar_by_the_command(model, tmp_path, capsys):
    imported(model, tmp_path)
    shutil.rmtree(tmp_path / "avatar")
    words = ["avatar", "import", str(tmp_path / "point_cloud.ply"), "--flame", str(model)]
    assert main([*words, "--parameters", str(tmp_path / "flame_param.npz"), "-o", str(tmp_path / "avatar")]) == 0
    assert load_avatar(tmp_path / "avatar").rig == "FLAME"
